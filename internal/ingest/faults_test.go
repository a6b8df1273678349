package ingest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/simline/simline/internal/bus"
)

const path = "/webhooks/eiotclub/default"

func spooled(t *testing.T) (dir string, change func(*Config)) {
	dir = filepath.Join(t.TempDir(), "spool")
	return dir, func(c *Config) { c.SpoolDir = dir }
}

// ids lists the notification ids on WEBHOOKS, in order.
func (r *rig) ids() []string {
	r.t.Helper()
	var out []string
	for _, m := range r.stored(bus.StreamWebhooks) {
		out = append(out, strings.TrimPrefix(m.Header.Get(bus.HeaderMsgID), "eiotclub:default:"))
	}
	return out
}

// until polls for what another goroutine does.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("not in time: %s\n%s", what, r.logs)
		}
	}
}

func (r *rig) mustTake(id string) {
	r.t.Helper()
	if status, answer := r.post(path, notice(r.t, id, "FlowAlert")); status != 200 || answer != `{"status":"SUCCESS"}` {
		r.t.Fatalf("%s: %d %s\n%s", id, status, answer, r.logs)
	}
}

// untilStored waits for a notification on WEBHOOKS, by whichever way it came there.
func (r *rig) untilStored(id string) {
	r.t.Helper()
	r.until(id+" is stored", func() bool { return slices.Contains(r.ids(), id) })
}

func (r *rig) untilDrained() {
	r.t.Helper()
	r.until("drained", func() bool { return r.w.spool.count.Load() == 0 && !r.w.away.Load() })
}

func TestSpoolTakesOverAndDrainsInOrder(t *testing.T) {
	cases := []struct {
		name       string
		fail, heal func(r *rig)
	}{
		{"broker hangs", func(r *rig) { r.nats.Pause() }, func(r *rig) { r.nats.Resume() }},
		{"broker stopped", func(r *rig) { r.nats.Stop() }, func(r *rig) { r.nats.Restart() }},
		{"stream full", func(r *rig) { r.limit(1) }, func(r *rig) { r.limit(-1) }},
		{"stream gone", func(r *rig) { _ = r.bus.JS.DeleteStream(r.t.Context(), bus.StreamWebhooks) }, func(r *rig) { r.provision() }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir, change := spooled(t)
			r := startWith(t, change, hasty)
			if c.name != "stream gone" {
				r.mustTake("before")
				r.untilStored("before")
				r.untilDrained()
			}
			spooled, drained, sent := testutil.ToFloat64(r.w.m.spooled), testutil.ToFloat64(r.w.m.drained), r.bus.NC.Stats().OutMsgs
			c.fail(r)
			for i := range 20 {
				r.mustTake(fmt.Sprint(i))
			}
			// One finds out, and drain probes once a second: nobody else asks the broker.
			if n := r.bus.NC.Stats().OutMsgs - sent; c.name == "broker hangs" && n >= 20 {
				t.Errorf("%d messages went out to a broker that is known to hang", n)
			}
			if n := r.w.spool.count.Load(); n != 20 {
				t.Errorf("%d in the spool, want 20", n)
			}
			gauges := func(want ...float64) { // what the alarms go by
				t.Helper()
				m := r.w.m
				got := []float64{testutil.ToFloat64(m.brokerAway), testutil.ToFloat64(m.spoolMessages), testutil.ToFloat64(m.spoolBytes)}
				if got[2] > 0 {
					got[2] = 1
				}
				if !slices.Equal(got, want) {
					t.Errorf("broker away, messages and bytes in the spool are told as %v, want %v", got, want)
				}
			}
			gauges(1, 20, 1)
			c.heal(r)
			r.untilDrained()
			r.mustTake("after")
			r.untilStored("after")
			got := strings.Join(r.ids(), " ")
			want := "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 after"
			if strings.TrimPrefix(got, "before ") != want {
				t.Errorf("stored: %s\n%s", got, r.logs)
			}
			r.until("files removed", func() bool { f, _ := filepath.Glob(filepath.Join(dir, "*"+spoolExt)); return len(f) == 0 })
			r.until("the spool is told to be empty", func() bool { return testutil.ToFloat64(r.w.m.spoolBytes) == 0 })
			gauges(0, 0, 0)
			if in, out := testutil.ToFloat64(r.w.m.spooled)-spooled, testutil.ToFloat64(r.w.m.drained)-drained; in < 20 || in != out {
				t.Errorf("%.0f spooled and %.0f drained are counted", in, out)
			}
		})
	}
}

func (r *rig) provision() {
	r.t.Helper()
	if err := r.bus.Provision(r.t.Context(), bus.DefaultSettings()); err != nil {
		r.t.Fatal(err)
	}
}

// limit sets how many messages WEBHOOKS takes.
func (r *rig) limit(n int64) {
	r.t.Helper()
	for _, sc := range bus.NewTopology(bus.DefaultSettings()).Streams {
		if sc.Name == bus.StreamWebhooks {
			sc.MaxMsgs, sc.Discard = n, jetstream.DiscardNew
			if _, err := r.bus.JS.UpdateStream(r.t.Context(), sc); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func TestSpoolOutlivesTheProcess(t *testing.T) {
	dir, change := spooled(t)
	r := startWith(t, change, hasty)
	r.nats.Pause()
	for i := range 5 {
		r.mustTake(fmt.Sprint(i))
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	// What a crash in the middle of a write leaves behind the last whole frame.
	files, _ := filepath.Glob(filepath.Join(dir, "*"+spoolExt))
	if len(files) == 0 {
		t.Fatal("no file in the spool")
	}
	f, err := os.OpenFile(files[len(files)-1], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(frameMagic + "\x10\x00"); err != nil {
		t.Fatal(err)
	}
	f.Close()

	r.nats.Resume()
	r.reg = prometheus.NewRegistry()
	r.serve(config(t, change), slog.New(slog.NewJSONHandler(r.logs, nil)))
	r.until("drained", func() bool { return len(r.ids()) == 5 && r.w.spool.count.Load() == 0 })
	if got := strings.Join(r.ids(), " "); got != "0 1 2 3 4" {
		t.Errorf("stored: %s", got)
	}
	r.until("damaged file kept", func() bool { f, _ := filepath.Glob(filepath.Join(dir, "*"+damagedExt)); return len(f) == 1 })
}

// A message that timed out may be stored all the same; the spool's copy of it is
// known by its id.
func TestTimedOutPublishIsNotStoredTwice(t *testing.T) {
	_, change := spooled(t)
	r := startWith(t, change, hasty)
	r.nats.Pause()
	r.mustTake("1")
	r.nats.Resume()
	r.untilDrained()
	r.mustTake("2")
	r.untilStored("2")
	if got := strings.Join(r.ids(), " "); got != "1 2" {
		t.Errorf("stored: %s", got)
	}
}

func TestStaleNoticeIsSpooledAndDrainedToDead(t *testing.T) {
	_, change := spooled(t)
	r := startWith(t, change, hasty)
	r.nats.Stop()
	if status, answer := r.post(path, sign(t, `{"id":"old","event":"Refund","timestamp":1716860580,"sign":"SIGN"}`, secret)); status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	r.mustTake("1")
	r.nats.Restart()
	r.until("drained", func() bool { return r.w.spool.count.Load() == 0 })
	if dead := r.stored(bus.StreamDead); len(dead) != 1 || dead[0].Header.Get(bus.HeaderReason) != "stale" || dead[0].Header.Get(bus.HeaderOriginID) != "eiotclub:default:old" {
		t.Errorf("dead letters: %+v", dead)
	}
	if got := strings.Join(r.ids(), " "); got != "1" {
		t.Errorf("stored: %s", got)
	}
}

func TestBrokerAndSpoolGoneIs503(t *testing.T) {
	dir, change := spooled(t)
	r := startWith(t, func(c *Config) { change(c); c.SpoolMax = MaxBody }, hasty)
	r.nats.Pause()
	full := false
	for i := range 3000 {
		body := padded(t, fmt.Sprint(i), 64<<10)
		resp, err := http.Post(r.url+path, "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == 503 {
			full = true
			if resp.Header.Get("Retry-After") == "" || bytes.Contains(answer, []byte("SUCCESS")) {
				t.Errorf("503 with %v: %s", resp.Header, answer)
			}
			break
		}
		if resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, answer)
		}
	}
	if bytes, limit := testutil.ToFloat64(r.w.m.spoolBytes), testutil.ToFloat64(r.w.m.spoolLimit); limit != MaxBody || bytes < limit/2 || bytes > limit {
		t.Errorf("a full spool is told as %.0f of %.0f bytes", bytes, limit)
	}
	if n := testutil.ToFloat64(r.w.m.spoolFailures); n < 1 {
		t.Errorf("%.0f failures of the spool are counted", n)
	}
	if !full {
		t.Fatalf("a spool of %d bytes never filled; %s", MaxBody, dir)
	}
	n := r.w.spool.count.Load()
	r.nats.Resume()
	r.until("drained", func() bool { return r.w.spool.count.Load() == 0 })
	if got := len(r.ids()); int64(got) < n { // what was refused may be stored: it had been sent already
		t.Errorf("%d stored of %d that were spooled", got, n)
	}
}

// Under load, with the broker going away and coming back, every SUCCESS is
// stored, once.
func TestNoSuccessIsLostUnderLoad(t *testing.T) {
	_, change := spooled(t)
	r := startWith(t, change, hasty)
	var mu sync.Mutex
	taken := map[string]bool{}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", w, i)
				resp, err := http.Post(r.url+path, "application/json", bytes.NewReader(notice(t, id, "FlowAlert")))
				if err != nil {
					continue
				}
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if strings.Contains(string(b), "SUCCESS") {
					mu.Lock()
					taken[id] = true
					mu.Unlock()
				}
			}
		})
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(taken) }
	step := func() { n := count(); r.until("progress", func() bool { return count() > n+100 }) }
	step()
	r.nats.Pause()
	step()
	r.nats.Resume()
	step()
	r.nats.Stop()
	step()
	r.nats.Restart()
	step()
	cancel()
	wg.Wait()
	r.until("drained", func() bool { return r.w.spool.count.Load() == 0 && r.bus.Ready() == nil })
	stored := map[string]int{}
	for _, id := range r.ids() {
		stored[id]++
	}
	for id, n := range stored {
		if n != 1 {
			t.Errorf("%s stored %d times", id, n)
		}
	}
	for id := range taken {
		if stored[id] == 0 {
			t.Errorf("%s was answered with SUCCESS and is not stored", id)
		}
	}
}
