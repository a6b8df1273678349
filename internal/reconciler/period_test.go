package reconciler

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/bus"
)

func TestParseSchedule(t *testing.T) {
	for spec, good := range map[string]bool{
		"@every 5m": true, "@daily": true, "*/5 * * * *": true, "30 5 * * 1-5": true, " @every 24h ": true,
		"": false, "TZ=UTC": false, "CRON_TZ=Asia/Shanghai 0 5 * * *": false, "TZ=UTC 0 5 * * *": false, "@every": false, "@every 0s": false,
		"@every -5m": false, "@every 500ms": false, "61 * * * *": false, "* * * *": false, "0 0 30 2 *": false, "soon": false, "@every 1x": false,
	} {
		if _, err := ParseSchedule(spec); err == nil != good {
			t.Errorf("%q: %v", spec, err)
		}
	}
}

func mustSchedule(t testing.TB, spec string) Schedule {
	t.Helper()
	s, err := ParseSchedule(spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDue(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for name, c := range map[string]struct {
		spec, done, now string
		settle, most    time.Duration
		want            string
	}{
		"not ended":              {"@hourly", "2026-01-15 10:00", "2026-01-15 10:59", 0, 0, ""},
		"just ended":             {"@hourly", "2026-01-15 10:00", "2026-01-15 11:00", 0, 0, "10:00-11:00"},
		"ended, not settled":     {"@hourly", "2026-01-15 10:00", "2026-01-15 11:09", 10 * time.Minute, 0, ""},
		"settled":                {"@hourly", "2026-01-15 10:00", "2026-01-15 11:10", 10 * time.Minute, 0, "10:00-11:00"},
		"missed, all at once":    {"@hourly", "2026-01-15 10:00", "2026-01-15 15:20", 0, 0, "10:00-15:00"},
		"missed, two at most":    {"@hourly", "2026-01-15 10:00", "2026-01-15 15:20", 0, 2 * time.Hour, "10:00-12:00"},
		"one is longer than two": {"@daily", "2026-01-14 00:00", "2026-01-15 15:20", 0, 2 * time.Hour, "00:00-00:00"},
		"every, aligned":         {"@every 7m", "2026-01-15 10:00", "2026-01-15 10:20", 0, 0, "10:00-10:16"},
		"the clock went back":    {"@hourly", "2026-01-15 10:00", "2026-01-15 08:00", 0, 0, ""},
		"off a boundary":         {"@hourly", "2026-01-15 10:20", "2026-01-15 11:30", 0, 0, "10:20-11:00"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if s, ok := Due(mustSchedule(t, c.spec), at(c.done), at(c.now), c.settle, c.most); ok {
				got = s.From.Format("15:04") + "-" + s.To.Format("15:04")
			}
			if got != c.want {
				t.Errorf("due %q, want %q", got, c.want)
			}
		})
	}
}

// zones lists the zone database.
func zones(t *testing.T) []string {
	t.Helper()
	const dir = "/usr/share/zoneinfo"
	var out []string
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		name, relErr := filepath.Rel(dir, path)
		if err != nil || relErr != nil || d.IsDir() || strings.HasPrefix(name, "posix") || strings.HasPrefix(name, "right") {
			return nil
		}
		if _, err := time.LoadLocation(name); err == nil && strings.Contains(name, "/") {
			out = append(out, name)
		}
		return nil
	})
	if len(out) > 0 {
		return out
	}
	return []string{ // the machine has no zone database; the test binary has its own
		"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Shanghai", "Africa/Casablanca", "Pacific/Apia", "America/Sao_Paulo", "Asia/Tehran"}
}

// TestPeriodsAroundEveryChangeOfEveryZone: whatever zone a time comes in, the days
// of 23 and 25 hours (and the skipped ones) of ten years cut no period differently.
func TestPeriodsAroundEveryChangeOfEveryZone(t *testing.T) {
	begin := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	end := begin.AddDate(10, 0, 0)
	daily, every := mustSchedule(t, "30 2 * * *"), mustSchedule(t, "@every 25h")
	changes := 0
	for _, name := range zones(t) {
		loc, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := begin.In(loc).ZoneBounds(); !change.IsZero() && change.Before(end); _, change = change.ZoneBounds() {
			changes++
			for k := -36; k <= 36; k += 3 {
				at := change.Add(time.Duration(k) * time.Hour)
				want := at.UTC().Truncate(24 * time.Hour).Add(150 * time.Minute)
				if !want.After(at) {
					want = want.Add(24 * time.Hour)
				}
				if got := daily.Next(at); !got.Equal(want) || got.Location() != time.UTC {
					t.Fatalf("daily in %s: after %s comes %s, want %s", name, at, got, want)
				}
				want = time.Unix((at.Unix()/90000+1)*90000, 0)
				if got := every.Next(at); !got.Equal(want) || got.Location() != time.UTC {
					t.Fatalf("every 25h in %s: after %s comes %s, want %s", name, at, got, want)
				}
			}
		}
	}
	if changes < 100 {
		t.Fatalf("only %d changes of a zone's offset were found", changes)
	}
}

// memory is progress and locks of a simulated cluster.
type memory struct {
	mu       sync.Mutex
	progress map[string]Progress
	revision map[string]uint64
	held     map[string]bool
}

func newMemory() *memory {
	return &memory{progress: map[string]Progress{}, revision: map[string]uint64{}, held: map[string]bool{}}
}

func (m *memory) Load(_ context.Context, job string) (Progress, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.progress[job], m.revision[job], nil
}

func (m *memory) Save(_ context.Context, job string, p Progress, revision uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revision[job] != revision {
		return 0, ErrMoved
	}
	m.progress[job], m.revision[job] = p, revision+1
	return revision + 1, nil
}

func (m *memory) Lock(ctx context.Context, job string) (context.Context, func(), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held[job] {
		return nil, nil, bus.ErrLeaseHeld
	}
	m.held[job] = true
	return ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.held[job] = false
	}, nil
}

func (m *memory) Sit(_ context.Context, job string, dry bool, see SeeFunc) (*Sitting, error) {
	return &Sitting{job: job, known: map[string]*note{}, about: map[string][]string{}}, nil
}

func (m *memory) runner(now func() time.Time) *Runner {
	return &Runner{Periods: m, Locks: m, Book: m, Log: slog.New(slog.DiscardHandler), Metrics: NewMetrics(prometheus.NewRegistry()),
		Now: now, RetryMin: time.Second, RetryMax: time.Minute}
}

// TestTenYearsEachPeriodOnce runs three replicas through ten simulated years with
// failures, panics, long passes, restarts, and clocks that jump.
func TestTenYearsEachPeriodOnce(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for _, c := range []struct {
		spec string
		most time.Duration
	}{{"@every 3h", 0}, {"30 2 * * *", 24 * time.Hour}, {"@every 25h", 100 * time.Hour}} {
		t.Run(c.spec, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { tenYears(t, rand.New(rand.NewPCG(seed, 1)), c.spec, c.most, seed) })
		})
	}
}

func tenYears(t *testing.T, rng *rand.Rand, spec string, most time.Duration, seed uint64) {
	m := newMemory()
	begin := time.Now().UTC()
	end := begin.AddDate(10, 0, 0)
	schedule := mustSchedule(t, spec)
	var mu sync.Mutex
	var done []Span
	cursors := 0
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	job := &Job{Name: "job", Schedule: schedule, Settle: 10 * time.Minute, Most: most, Lookback: 24 * time.Hour}
	job.Look = func(ctx context.Context, run *Run, _ *Sitting) error {
		if run.Cursor != "" {
			mu.Lock()
			cursors++
			mu.Unlock()
		}
		switch draw(40) {
		case 0:
			return errors.New("the supplier is busy")
		case 1:
			panic("a bug")
		case 2:
			if err := run.Mark(ctx, "half"); err != nil {
				return err
			}
			return errors.New("cut off in the middle")
		case 3: // longer than a period
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Duration(draw(40)) * time.Hour):
			}
		}
		mu.Lock()
		defer mu.Unlock()
		done = append(done, run.Span)
		return nil
	}
	var replicas sync.WaitGroup
	for range 3 {
		replicas.Go(func() {
			var jump time.Duration
			for time.Now().Before(end) {
				ctx, stop := context.WithTimeout(t.Context(), time.Duration(1+draw(24*60))*time.Hour)
				r := m.runner(func() time.Time { return time.Now().Add(jump) })
				wait := r.Start(ctx, ctx, []*Job{job})
				<-ctx.Done()
				stop()
				wait()
				switch draw(6) {
				case 0: // the clock is set, forward or back
					jump = time.Duration(draw(120)-60) * time.Minute
				case 1: // down for a while
					time.Sleep(time.Duration(draw(72)) * time.Hour)
				}
			}
		})
	}
	replicas.Wait()
	// A span may be looked at twice when its end could not be kept; then it is the
	// very same span.
	done = slices.Compact(done)
	if len(done) < 1000 || cursors == 0 {
		t.Fatalf("seed %d: only %d spans, %d taken up in the middle", seed, len(done), cursors)
	}
	for i, s := range done {
		if i > 0 && !s.From.Equal(done[i-1].To) {
			t.Fatalf("seed %d: %s follows %s", seed, s, done[i-1])
		}
		if !schedule.Next(s.To.Add(-time.Second)).Equal(s.To) {
			t.Fatalf("seed %d: %s does not end on a boundary", seed, s)
		}
		if whole := schedule.Next(s.From); most > 0 && s.To.Sub(s.From) > most && !whole.Equal(s.To) {
			t.Fatalf("seed %d: %s is longer than %s", seed, s, most)
		}
	}
	if last := done[len(done)-1].To; end.Sub(last) > 6*24*time.Hour {
		t.Fatalf("seed %d: ended at %s, %s before the end", seed, last, end.Sub(last))
	}
}

// TestAPanicStaysItsOwn: a job that panics at most runs keeps neither its own next
// run nor the other jobs from theirs, and one that hangs keeps nobody.
func TestAPanicStaysItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		var mu sync.Mutex
		done := map[string]int{}
		tried := 0
		job := func(name string, look func(context.Context) error) *Job {
			return &Job{Name: name, Schedule: mustSchedule(t, "@every 1h"), Look: func(ctx context.Context, _ *Run, _ *Sitting) error {
				if err := look(ctx); err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				done[name]++
				return nil
			}}
		}
		jobs := []*Job{
			job("panics", func(context.Context) error {
				mu.Lock()
				tried++
				bad := tried%3 != 0
				mu.Unlock()
				if bad {
					panic("a bug")
				}
				return nil
			}),
			job("hangs", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }),
			job("works", func(context.Context) error { return nil }),
		}
		ctx, stop := context.WithTimeout(t.Context(), 24*time.Hour+time.Minute)
		defer stop()
		wait := m.runner(time.Now).Start(ctx, ctx, jobs)
		<-ctx.Done()
		wait()
		// The first run is due at once, then one each hour.
		if done["works"] < 24 || done["panics"] < 24 || tried < 3*24 || done["hangs"] != 0 {
			t.Errorf("in a day: done %v, %d tries of the one that panics", done, tried)
		}
	})
}
