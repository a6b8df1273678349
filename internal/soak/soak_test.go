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
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 0))
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
	s, err := NewSite(t.Context(), Config{Dir: dir, Bin: bin, Root: root, Replicas: 2, Say: say})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if err := s.Plant(); err != nil {
		t.Fatal(err)
	}
	say("business begins")
	requested, err := s.business(t.Context(), *every, func(ctx context.Context) error {
		for round := 1; round == 1 || time.Since(begin) < *length; round++ {
			for _, m := range misfortunes {
				if err := pause(ctx, 2*time.Second); err != nil {
					return err
				}
				say(m.name)
				if err := m.do(ctx, s, rng); err != nil {
					return fmt.Errorf("%s: %w", m.name, err)
				}
			}
		}
		return pause(ctx, 2*time.Second)
	})
	if err != nil {
		t.Fatal(err)
	}
	say(fmt.Sprintf("business ends after %d orders; waiting for the books to agree", len(requested)))
	figures, err := s.Settle(t.Context(), requested, *settle, true)
	say("all books:\n" + e2e.RenderFigures(figures))
	if err != nil {
		t.Logf("what lies where:\n%s", s.Diagnose(context.WithoutCancel(t.Context())))
		for _, name := range e2e.Workers {
			for i, p := range s.Replicas[name] {
				t.Logf("%s-%d:\n%s", name, i, p.Tail(10))
			}
		}
		t.Fatal(err)
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
