package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/simline/simline/internal/e2e"
)

// binaries holds the built orderer for all tests.
var binaries string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "simline-chaos-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaries = filepath.Join(dir, "bin")
	code := m.Run()
	_ = os.RemoveAll(dir) // at worst something is left in the temporary directory
	os.Exit(code)
}

// start builds the orderer and starts a site whose replicas must end cleanly.
func start(t *testing.T, cfg Config) *Site {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs real processes")
	}
	cfg.Dir = t.TempDir()
	cfg.Bin = binaries
	begin := time.Now()
	cfg.Say = func(what string) { t.Logf("%6.1fs  %s", time.Since(begin).Seconds(), what) }
	if err := e2e.Build(t.Context(), cfg.Bin, "orderer"); err != nil {
		t.Fatal(err)
	}
	cfg.Say("orderer is built")
	s, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return s
}

// long says whether this is make chaos-real: 2,000 orders and minutes.
func long() bool { return os.Getenv("CHAOS_REAL") != "" }

func seed(t *testing.T) uint64 {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if v := os.Getenv("CHAOS_SEED"); v != "" {
		var err error
		if n, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("CHAOS_SEED: %v", err)
		}
	}
	t.Logf("seed %d (of what happens when; a run of real processes never repeats)", n)
	return n
}

// Whatever happens to processes, to NATS and to the suppliers' answers: each order
// is bought once, none is lost, and the ledger says what the suppliers' books say.
func TestOrdersSurvive(t *testing.T) {
	cfg := Config{Replicas: 3, Orders: 180, Every: 35 * time.Millisecond, AckWait: 3 * time.Second}
	list, between, after := []misfortune{killed, stopped, cutOff}, 500*time.Millisecond, 0*time.Second
	if long() {
		cfg.Orders, cfg.Every, cfg.AckWait = 2000, 40*time.Millisecond, 5*time.Second
		list, between, after = []misfortune{killed, killed, cutOff, killed, stopped, killed}, time.Second, 5*time.Second
	}
	rng := rand.New(rand.NewPCG(seed(t), 0))
	s := start(t, cfg)
	s.badDay()
	suffering, enough := context.WithCancel(t.Context())
	defer enough()
	type outcome struct {
		n   map[string]int
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		n, err := s.suffer(suffering, rng, list, between)
		done <- outcome{n, err}
	}()
	all, err := s.ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.cfg.Say("every order is asked for")
	if err := pause(t.Context(), after); err != nil {
		t.Fatal(err)
	}
	enough()
	suffered := <-done
	if suffered.err != nil {
		t.Fatal(suffered.err)
	}
	s.cfg.Say(fmt.Sprintf("misfortunes are over: %v", suffered.n))
	s.goodDay()
	resolved, err := s.quiet(t.Context(), 5*time.Minute)
	if err != nil {
		t.Errorf("%v\n%s", err, s.Tail(15))
	}
	s.cfg.Say(fmt.Sprintf("quiet; %d orders were held and settled by a person", resolved))
	figures, err := s.books(t.Context(), all)
	t.Log("\n" + e2e.RenderFigures(figures))
	if err != nil {
		t.Errorf("%v\n%s", err, s.Tail(15))
	}
}

// A rollout under load costs nothing: every purchase arrives once, and no order
// waits for AckWait, which is what one waits for that a replica took and dropped.
func TestRollOutUnderLoad(t *testing.T) {
	cfg := Config{Replicas: 3, Orders: 300, Every: 10 * time.Millisecond, AckWait: 45 * time.Second}
	if long() {
		cfg.Orders = 2000
	}
	s := start(t, cfg)
	// Calls take a while, so that each replica has some under way when it must go.
	s.latency(150 * time.Millisecond)
	rolling, enough := context.WithCancel(t.Context())
	defer enough()
	type outcome struct {
		rounds int
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		n := 0
		for ; rolling.Err() == nil; n++ {
			if err := s.rollOut(context.WithoutCancel(rolling)); err != nil {
				done <- outcome{n, err}
				return
			}
		}
		done <- outcome{n, nil}
	}()
	all, err := s.ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	enough()
	rolled := <-done
	if rolled.err != nil {
		t.Fatal(rolled.err)
	}
	if _, err := s.quiet(t.Context(), 3*time.Minute); err != nil {
		t.Errorf("%v\n%s", err, s.Tail(15))
	}
	figures, err := s.books(t.Context(), all)
	if err != nil {
		t.Error(err)
	}
	histories, err := s.histories(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	figures = append(figures, e2e.Equal("purchases that arrived = orders", int64(len(all)), int64(s.doors[0].all()+s.doors[1].all())))
	took := waits(all, histories)
	t.Logf("%d restarts of %d replicas\n%s", rolled.rounds*cfg.Replicas, cfg.Replicas, e2e.RenderFigures(figures))
	if len(took) == 0 {
		t.Fatal("nothing was bought")
	}
	longest := took[len(took)-1]
	t.Logf("from stored to accepted: median %s, 99 of 100 within %s, longest %s; AckWait is %s", took[len(took)/2].Round(time.Millisecond),
		took[len(took)*99/100].Round(time.Millisecond), longest.Round(time.Millisecond), cfg.AckWait)
	if longest >= cfg.AckWait {
		t.Errorf("an order took %s: it waited for AckWait", longest)
	}
	if n := s.doors[0].all() + s.doors[1].all(); n != len(all) {
		t.Errorf("%d purchases arrived for %d orders", n, len(all))
	}
}
