package e2e_test

import (
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/simline/simline/internal/e2e"
)

// load is the demonstration's, as long as it takes to kill every worker in it.
var load = e2e.Load{Orders: 120, OrderEvery: 100 * time.Millisecond, Windows: 30, PushEvery: 400 * time.Millisecond, Settle: 3 * time.Minute}

// binaries are built once for all tests of this package.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "simline-bin-")
	if err != nil {
		return "", err
	}
	made = dir
	return dir, e2e.Build(context.Background(), dir)
})

var made string // what TestMain removes

func built(t *testing.T) string {
	t.Helper()
	dir, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(made) // "" if nothing was built: that removes nothing
	os.Exit(code)
}

// TestBooksAgreeAfterEachWorkerWasKilled ends every worker once with SIGKILL in
// the middle of the business and starts it again, as Kubernetes would.
func TestBooksAgreeAfterEachWorkerWasKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs all binaries")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	s, err := e2e.NewStage(t.Context(), e2e.StageConfig{
		Dir: t.TempDir(), Bin: built(t), Progress: func(what string) { t.Log(what) },
		NotifyRetries: 100, Since: time.Duration(load.Windows+4) * 30 * time.Minute,
	})
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
	requested, err := s.Feed(t.Context(), load, func(ctx context.Context) error { return killEach(ctx, t, s, rng) })
	if err != nil {
		t.Fatal(err)
	}
	figures, err := s.Settle(t.Context(), requested, load.Settle, true)
	t.Log("\n" + e2e.RenderFigures(append(figures, s.Memory()...)))
	everyMessageFitsItsSchema(t, s)
	cardinalityIsBounded(t, s)
	if err != nil {
		for _, name := range e2e.Workers {
			t.Logf("%s:\n%s", name, s.Workers[name].Tail(15))
		}
		t.Fatal(err)
	}
	for _, f := range s.Memory() {
		if !f.OK {
			t.Errorf("%s: %s, want %s", f.What, f.Got, f.Want)
		}
	}
}

func killEach(ctx context.Context, t *testing.T, s *e2e.Stage, rng *rand.Rand) error {
	names := append([]string(nil), e2e.Workers...)
	rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names {
		pause := time.NewTimer(time.Second + time.Duration(rng.IntN(1500))*time.Millisecond)
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
		t.Logf("kill -9 %s", name)
		if err := s.Workers[name].Kill(); err != nil {
			return err
		}
		if err := s.Workers[name].Start(ctx); err != nil {
			return err
		}
	}
	return nil
}
