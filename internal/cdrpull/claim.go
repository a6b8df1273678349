package cdrpull

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/simline/simline/internal/bus"
)

// claimTTL is how long a claim outlives its holder. Under it every claim is
// renewed twice.
const claimTTL = 15 * time.Second

// claim is the right to do what one replica does at a time: load an account's
// files, or list a directory. A file's message is held by the replica that the
// queue gave it to; the account's claim makes loads of overlapping hours follow
// one another, so that each sees the rows of the one before.
type claim struct {
	lease *bus.Lease
	stop  chan struct{}
	wg    sync.WaitGroup
}

// claim takes key until release. The context it returns ends when the claim is
// lost: whoever is paused for longer than claimTTL must not go on.
func (w *Worker) claim(ctx context.Context, key string) (*claim, context.Context, error) {
	// An owner of its own for each claim: a lease is granted again to its owner,
	// and two goroutines of one replica are as apart as two replicas.
	lease, err := w.bus.Acquire(ctx, key, w.id+"/"+uuid.NewString(), claimTTL)
	if err != nil {
		return nil, nil, err
	}
	c := &claim{lease: lease, stop: make(chan struct{})}
	held, lose := context.WithCancelCause(ctx)
	c.wg.Go(func() { c.renew(held, lose) })
	return c, held, nil
}

var errClaimLost = errors.New("the claim was lost")

func (c *claim) renew(ctx context.Context, lose context.CancelCauseFunc) {
	defer lose(context.Canceled)
	tick := time.NewTicker(claimTTL / 3)
	defer tick.Stop()
	deadline := time.Now().Add(claimTTL)
	for {
		select {
		case <-c.stop:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := time.Now()
		err := c.lease.Renew(ctx)
		switch {
		case err == nil:
			deadline = asked.Add(claimTTL)
		case errors.Is(err, bus.ErrLeaseHeld) || time.Now().After(deadline):
			lose(errClaimLost)
			return
		}
	}
}

// release gives the claim up. If that fails the claim ends by itself.
func (c *claim) release() {
	close(c.stop)
	c.wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = c.lease.Release(ctx)
}

// roll is the rollup on a quiet account: days are stored as sums even when no
// file comes.
func (w *Worker) roll(ctx context.Context, a account) error {
	c, ctx, err := w.claim(ctx, "cdr-load-"+a.name)
	if errors.Is(err, bus.ErrLeaseHeld) {
		return nil // a load is under way, and rolls up at its end
	}
	if err != nil {
		return err
	}
	defer c.release()
	return w.rollup(ctx, a)
}
