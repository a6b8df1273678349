package soak

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/simline/simline/internal/e2e"
)

var (
	length = flag.Duration("soak.for", 0, "how long business goes on at least; 0 is one round of misfortunes")
	seed   = flag.Uint64("soak.seed", 0, "of the choices; 0 takes one from the clock")
	settle = flag.Duration("soak.settle", 3*time.Minute, "how long the books may take to agree")
	every  = flag.Duration("soak.every", 250*time.Millisecond, "time between two orders")
)

// One round of misfortunes under steady business; with -soak.for, rounds until the
// time is over. All books agree at the end.
func TestSoak(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("minutes of a whole cluster: make soak")
	}
	run(t, trial{Config: Config{Replicas: 2, Pace: minutes, Lull: 4 * time.Second}, misfortunes: misfortunes,
		length: *length, settle: *settle, every: *every, files: time.Second})
}

// The same in seconds: a node and workers killed, everything restarted.
func TestShortSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs all binaries on three NATS nodes")
	}
	run(t, trial{Config: Config{Replicas: 2, Pace: seconds, Lull: 1500 * time.Millisecond}, misfortunes: shortMisfortunes,
		walk: true, settle: 3 * time.Minute, steady: 4 * time.Second, every: 100 * time.Millisecond, files: 300 * time.Millisecond})
}

// trial is a soak: how hard, how long, and what goes wrong.
type trial struct {
	Config
	misfortunes    []misfortune
	length         time.Duration // of business at least; one round in any case
	walk           bool          // the page for operators, at the end
	settle, steady time.Duration // for the books to agree, and to stay so
	every, files   time.Duration // between two orders, two files of records
}

func run(t *testing.T, try trial) {
	seed := *seed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	begin := time.Now()
	say := func(what string) { t.Logf("%6.1fs  %s", time.Since(begin).Seconds(), what) }
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	say("building the workers")
	if err := e2e.Build(t.Context(), bin); err != nil {
		t.Fatal(err)
	}
	keepEnv(t)
	try.Dir, try.Bin, try.Root, try.Say = dir, bin, root, say
	s, err := NewSite(t.Context(), try.Config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	s.Steady = try.steady
	if err := s.Plant(); err != nil {
		t.Fatal(err)
	}
	say("business begins")
	started := time.Now()
	requested, err := s.business(t.Context(), try.every, try.files, func(ctx context.Context) error {
		for round := 1; round == 1 || time.Since(begin) < try.length; round++ {
			for _, m := range try.misfortunes {
				if err := pause(ctx, try.Lull/2); err != nil {
					return err
				}
				say(m.name)
				if err := m.do(ctx, s, rng); err != nil {
					return fmt.Errorf("%s: %w", m.name, err)
				}
			}
		}
		return pause(ctx, try.Lull/2)
	})
	if err != nil {
		t.Fatal(err)
	}
	used := s.Used(time.Since(started))
	say(fmt.Sprintf("business ends after %d orders; waiting for the books to agree", len(requested)))
	figures, err := s.Settle(t.Context(), requested, try.settle, true)
	say("all books:\n" + e2e.RenderFigures(figures) + used)
	if err != nil {
		t.Logf("what lies where:\n%s", s.Diagnose(context.WithoutCancel(t.Context())))
		for _, name := range e2e.Workers {
			for i, p := range s.Replicas[name] {
				t.Logf("%s-%d:\n%s", name, i, p.Tail(10))
			}
		}
		t.Fatal(err)
	}
	if try.walk {
		say("walking docs/operate.md")
		walkThePage(t, s, root, bin)
	}
}

// keepEnv puts back the variables that the nodes' configuration reads.
func keepEnv(t *testing.T) {
	t.Helper()
	before := os.Environ()
	t.Cleanup(func() {
		os.Clearenv()
		for _, kv := range before {
			for i := range kv {
				if kv[i] == '=' && i > 0 {
					_ = os.Setenv(kv[:i], kv[i+1:])
					break
				}
			}
		}
	})
}
