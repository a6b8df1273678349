package orderer

import (
	"context"
	"errors"
	"time"

	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// stand is an order after a step: its last event, and when something is to be
// done with it next.
type stand struct {
	ledger.Entry
	due     time.Time // zero once the order is settled
	guarded bool      // the index has the order with this due
}

var (
	// errCardBusy: another order for the same card is in flight.
	errCardBusy = errors.New("another order for the same card is in flight")
	// errNoPermit: nothing proves that the order was not placed, and no table that a
	// repeat is safe.
	errNoPermit = errors.New("an order may not be sent without a permit")
)

// place sends an order: gates, intent, call, outcome. It is the only path to a
// supplier's purchase. cur's record may be ahead of its event by what a look has
// proved; the event's sequence is what the intent must follow.
func (w *Worker) place(ctx context.Context, a *account, cur ledger.Entry, permit supplier.Permit) (stand, error) {
	if !permit.Valid() {
		return stand{Entry: cur}, errNoPermit
	}
	// The card comes first: who has to wait for it asks for no price meanwhile, and
	// counts nothing.
	object := cur.Request.Object()
	if !w.cards.hold(object) {
		if s := w.freeGates(a, &cur.Record); s != nil {
			return w.shutOut(ctx, a, cur, permit, s)
		}
		return stand{Entry: cur}, errCardBusy
	}
	defer w.cards.let(object)
	counted := cur.SpendReserved
	s, err := w.decide.gates(w, ctx, a, &cur.Record)
	if err != nil {
		return stand{Entry: cur}, err
	}
	if s != nil {
		return w.shutOut(ctx, a, cur, permit, s)
	}
	next, err := w.send(ctx, a, cur, permit, object)
	if (errors.Is(err, ledger.ErrMoved) || errors.Is(err, errBreaker)) && counted == nil {
		w.unspend(ctx, a, cur.Record) // counted just now, and nothing was sent
		cur.SpendReserved, cur.SpendDay = nil, ""
	}
	if errors.Is(err, errBreaker) {
		return w.shutOut(ctx, a, cur, permit, waits(forBreaker, w.now().Add(w.cfg.breakerPause())))
	}
	return next, err
}

func (w *Worker) shutOut(ctx context.Context, a *account, cur ledger.Entry, permit supplier.Permit, s *shut) (stand, error) {
	w.m.closed.WithLabelValues(a.Supplier, s.why).Inc()
	r, until := w.judge(a, &cur.Record).shutOut(cur.Record, permit, s)
	if r == nil {
		return stand{Entry: cur, due: until}, nil
	}
	return w.record(ctx, a, cur, *r)
}

// send makes one purchase, for an object that is held: the intent is durable before
// the call, and the outcome follows it.
func (w *Worker) send(ctx context.Context, a *account, cur ledger.Entry, permit supplier.Permit, object string) (stand, error) {
	done, err := a.breaker.Allow()
	if err != nil {
		a.budget.untake()
		return stand{Entry: cur}, errBreaker
	}
	start := w.now()
	intent, mine, err := w.intend(ctx, a, cur, permit, object)
	// If we die here: the intent stands and nothing was sent. Whoever takes the
	// order up cannot know that, and looks first.
	if err != nil {
		done(nil)
		return stand{Entry: cur}, err
	}
	// The call follows at once or not at all: past this moment another worker may
	// have taken the order up, looked, and gone on.
	left := w.cfg.Timeout - w.now().Sub(start)
	if !mine || left < w.cfg.Timeout/2 {
		done(nil)
		a.budget.untake()
		j, why := w.judge(a, &intent.Record), tooLate
		if !mine {
			why = nil
		}
		// If we die here: the intent stands, as if its call had been made.
		return w.record(ctx, a, intent, j.unsent(intent.Record, why))
	}
	placement, err := a.Client.Place(ctx, supplier.Purchase{Request: cur.Request, Round: intent.Round, Within: left})
	// If we die here: the intent stands, and the supplier may have the order. A look
	// finds it, or a safe repeat does.
	done(a.learn(err, true))
	a.sawBalance(placement.Balance)
	return w.outcome(ctx, a, intent, w.decide.verdict(w.judge(a, &intent.Record), intent.Record, placement, err))
}

// intend makes the intent durable and takes the card over all replicas, both at
// once. If the card is not ours then, the intent stands, and no call follows it.
func (w *Worker) intend(ctx context.Context, a *account, cur ledger.Entry, permit supplier.Permit, object string) (intent ledger.Entry, mine bool, err error) {
	r := w.decide.intend(w.judge(a, &cur.Record), cur.Record, permit, a.Client.RequestID(cur.OrderID, cur.Round), a.seenBalance())
	locked := w.cards.lock(ctx, object, cur, w.cfg.stale())
	intent, err = w.append(ctx, cur, r)
	mine, lockErr := locked()
	if lockErr != nil {
		w.failed("card lock", lockErr) // not taken: the same as taken by another
	}
	return intent, mine, err
}

// tooLate is why a call was not made whose intent took long to store.
var tooLate = &order.Error{Kind: string(supplier.Busy), Code: "(late)", Message: "the intent took too long to store, and its call was not made"}

// unsent is an intent whose call was not made, and who knows that is who would have
// made it: because of its card, or of what why says. It counts for nothing: an order
// in doubt has as many safe repeats as before.
func (j judge) unsent(intent order.Record, why *order.Error) order.Record {
	r := j.next(intent)
	r.Attempt--
	r.Error = why
	if proof, notPlaced := order.RefusedCall(intent, order.CertainNotPlaced, false); notPlaced {
		waitingFor := forCard
		if why != nil {
			waitingFor = why.Kind
		}
		return proof.Wait(r, waitingFor, j.now.Add(j.timing.WaitMin))
	}
	r.Resends--
	return j.unknown(r, j.timing.WaitMin)
}

// outcome writes what became of a call. If the order was moved meanwhile, by
// evidence or by a worker that thought us dead, what we know is evidence too.
func (w *Worker) outcome(ctx context.Context, a *account, intent ledger.Entry, r order.Record) (stand, error) {
	reserved := r
	if r.Certainty == order.CertainNotPlaced {
		r.SpendReserved, r.SpendDay = nil, ""
	}
	next, err := w.record(ctx, a, intent, r)
	if errors.Is(err, ledger.ErrMoved) {
		return w.decide.late(w, ctx, a, r)
	}
	if err == nil && r.Certainty == order.CertainNotPlaced {
		// If we die here: the amount stays counted for the day. Nothing is bought twice.
		w.unspend(ctx, a, reserved)
	}
	return next, err
}

// record writes an order's next event and, if it is not settled by that, its entry
// in the index. A new order that was placed shares a page with others, which is
// written beside the event: neither needs the other to be there first. Any other has
// an entry of its own, after the event: its turn may be far off, and if somebody
// settles it before that, what goes is its own entry.
func (w *Worker) record(ctx context.Context, a *account, cur ledger.Entry, r order.Record) (stand, error) {
	if r.State == order.Held {
		w.describe(ctx, a, &r)
	}
	due := w.due(a, r)
	if due.IsZero() {
		next, err := w.append(ctx, cur, r)
		return stand{Entry: next}, err
	}
	var entered func() error
	if cur.New && r.State == order.Placed {
		entered = w.ledger.Enter(ctx, openEntry(r, due))
	}
	next, err := w.append(ctx, cur, r)
	next.New = false
	s := stand{Entry: next, due: due}
	// If we die here, between the two or after them: an event without an entry has
	// its message still, which comes again; an entry without an event is found to be
	// early by the sweep, which asks the ledger.
	switch {
	case entered != nil:
		s.guarded = entered() == nil
	case err == nil:
		s.guarded = w.guard(ctx, s) == nil
	}
	return s, err
}
