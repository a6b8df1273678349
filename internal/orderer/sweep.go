package orderer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/trace"
)

// sweepLoop walks through one supplier's open orders again and again. Each supplier
// has a loop and slots of its own: looks that hang at one hold up nothing of the
// other. A walk reads every entry of the index, so that many open orders make it
// take long; the pause after it grows with what the reading took, so that the walks
// together take a tenth of the time, but is never long. A walk that was cut off, by a
// node that died, says nothing of what a walk takes: the next one comes soon.
func (w *Worker) sweepLoop(ctx context.Context, supplier string) error {
	var inHand sync.WaitGroup
	defer inHand.Wait()
	slots := make(chan struct{}, w.cfg.Concurrency)
	for {
		took, err := w.sweep(ctx, supplier, slots, &inHand)
		if err != nil && ctx.Err() == nil {
			w.failed("sweep", err)
		}
		pause := max(w.cfg.Sweep, min(9*took, maxSweepPause))
		if err != nil {
			pause = w.cfg.Sweep
		}
		w.m.sweepTime.Observe(took.Seconds())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause - time.Duration(w.random()*0.1*float64(w.cfg.Sweep))):
		}
	}
}

// maxSweepPause is how long an order that is due may wait for the next walk.
const maxSweepPause = time.Minute

// sweep takes up each open order of a supplier that is due, as many at once as
// there are slots, and does not wait for those in hand at its end: an order in hand
// is not taken up twice. It holds no more than those in memory, and returns how
// long the reading took, without the waits for a slot.
func (w *Worker) sweep(ctx context.Context, supplier string, slots chan struct{}, inHand *sync.WaitGroup) (time.Duration, error) {
	start, waited := time.Now(), time.Duration(0)
	took := func() time.Duration { return time.Since(start) - waited }
	census := newCensus()
	var cut error
	for o, err := range w.ledger.All(ctx) {
		if err != nil {
			if ctx.Err() != nil {
				return took(), nil
			}
			if !errors.Is(err, ledger.ErrEntry) {
				cut = err // or what could not be tidied up on the way: either way soon again
			} else {
				w.failed("open order", err)
			}
			continue
		}
		if o.Supplier != supplier {
			continue
		}
		census.count(o, w.now())
		if !w.isDue(o) {
			continue
		}
		full := time.Now()
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return took(), nil
		}
		waited += time.Since(full)
		inHand.Go(func() {
			defer func() { <-slots }()
			w.resume(w.work, o)
		})
	}
	if cut != nil {
		return took(), cut // the figures of a part would look like peace
	}
	census.report(w.m, supplier, w.accountsOf(supplier))
	return took(), nil
}

// isDue says whether an entry is worth taking up now, without asking anybody.
func (w *Worker) isDue(o ledger.Open) bool {
	now := w.now()
	if o.State == order.Waiting && o.ExpiresAt != nil && !now.Before(*o.ExpiresAt) {
		return true
	}
	if o.Due.After(now) {
		return false
	}
	if o.State == order.Waiting && w.switches.noSpend(o.Supplier) {
		return o.WaitingFor != forSwitch // it is told once what it waits for
	}
	return !w.switches.paused(o.Supplier)
}

// resume goes on with an open order where whoever had it left it.
func (w *Worker) resume(ctx context.Context, o ledger.Open) {
	if _, mine := w.swept.LoadOrStore(o.OrderID, true); mine {
		return
	}
	defer w.swept.Delete(o.OrderID)
	defer func() {
		if p := recover(); p != nil {
			w.failed("panic", fmt.Errorf("open order %s: %v", o.OrderID, p))
		}
	}()
	if err := w.resumeOne(ctx, o); err != nil && !errors.Is(err, ledger.ErrMoved) && !errors.Is(err, errUnderWay) && !errors.Is(err, errCardBusy) {
		w.failed("resume", err)
	}
}

func (w *Worker) resumeOne(ctx context.Context, o ledger.Open) error {
	// If we die after this: the entry is due again when the claim is over.
	if err := w.ledger.Claim(ctx, o, w.now().Add(w.cfg.claim())); err != nil {
		return err
	}
	cur, found, err := w.ledger.Get(ctx, o.OrderID)
	if err != nil {
		return err
	}
	if !found {
		// Its events are gone, by age or by hand. It stays listed for a person to see.
		return errors.New("an open order without an event: " + o.OrderID)
	}
	ctx, span := w.trace.Begin(ctx, cur.Trace, "order resumed", trace.Internal)
	defer span.End()
	span.Set("simline.order_id", o.OrderID)
	a, ok := w.account(cur.Supplier, cur.Account)
	if !ok {
		return errors.New("an open order of an account that is not configured: " + o.OrderID)
	}
	next, err := w.advance(ctx, a, &cur)
	if err != nil {
		// Let it be taken up again soon, by whoever comes first.
		return errors.Join(err, w.ledger.Guard(ctx, openEntry(&cur.Record, w.now().Add(w.cfg.WaitMin))))
	}
	// If we die here: the next sweep finds it settled and removes the entry.
	return w.afterMove(ctx, next)
}
