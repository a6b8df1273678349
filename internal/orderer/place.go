package orderer

import (
	"context"
	"errors"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// stand is an order after a step: its last event, and when something is to be
// done with it next. With an error it says nothing, and may hold no entry.
type stand struct {
	*ledger.Entry
	due     time.Time // zero once the order is settled
	guarded bool      // the index has the order with this due
	shared  bool      // another had the order meanwhile, and may have entered it
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
// proved or a person has said; the event's sequence is what the intent must follow.
func (w *Worker) place(ctx context.Context, a *account, cur *ledger.Entry, permit supplier.Permit) (stand, error) {
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
	counted, s, err := w.decide.gates(w, ctx, a, &cur.Record)
	if err != nil {
		return stand{Entry: cur}, err
	}
	if s != nil {
		return w.shutOut(ctx, a, cur, permit, s)
	}
	next, begun, err := w.send(ctx, a, counting(cur, counted), permit, object)
	if !begun {
		w.unspend(ctx, a, counted) // for nothing: no intent says that it was
	}
	if errors.Is(err, errBreaker) {
		return w.shutOut(ctx, a, cur, permit, waits(forBreaker, w.now().Add(w.cfg.breakerPause())))
	}
	return next, err
}

func (w *Worker) shutOut(ctx context.Context, a *account, cur *ledger.Entry, permit supplier.Permit, s *shut) (stand, error) {
	w.m.closed.WithLabelValues(a.Supplier, s.why).Inc()
	r, until := w.judge(a, &cur.Record).shutOut(&cur.Record, permit, s)
	if r == nil {
		return stand{Entry: cur, due: until}, nil
	}
	return w.record(ctx, a, cur, *r)
}

// send makes one purchase, for an object that is held: the intent is durable before
// the call, and the outcome follows it. begun: an intent may stand, and what was
// counted for the day is its order's, whoever goes on with it, or stays counted for
// nothing.
func (w *Worker) send(ctx context.Context, a *account, cur *ledger.Entry, permit supplier.Permit, object string) (next stand, begun bool, err error) {
	done, err := a.breaker.Allow()
	if err != nil {
		a.budget.untake()
		return stand{Entry: cur}, false, errBreaker
	}
	start := w.now()
	intent, mine, err := w.intend(ctx, a, cur, permit, object)
	// If we die here: the intent stands and nothing was sent. Whoever takes the
	// order up cannot know that, and looks first.
	if err != nil {
		done(errNoWord)
		// Another moved the order, and none of our tries may stand behind that: no intent.
		moved := errors.Is(err, ledger.ErrMoved) && !errors.Is(err, bus.ErrOutcomeUnknown)
		return stand{Entry: cur}, !moved, err
	}
	// The call follows at once or not at all: past this moment another worker may
	// have taken the order up, looked, and gone on.
	checked := time.Now()
	left := w.cfg.Timeout - w.now().Sub(start)
	if late := left < w.cfg.Timeout/2; late || !mine {
		done(errNoWord)
		a.budget.untake()
		why, reason := forCard, ""
		if mine {
			why, reason = forLedger, "the intent took too long to store, and its call was not made"
		}
		// If we die here: the intent stands, as if its call had been made.
		next, err = w.outcome(ctx, a, intent, w.judge(a, &intent.Record).unsent(&intent.Record, why, reason))
		return next, true, err
	}
	placement, err := a.Client.Place(ctx, supplier.Purchase{Request: cur.Request, Round: intent.Round, Until: checked.Add(left)})
	// If we die here: the intent stands, and the supplier may have the order. A look
	// finds it, or a safe repeat does.
	done(a.learn(err, true))
	a.sawBalance(placement.Balance)
	next, err = w.outcome(ctx, a, intent, w.decide.verdict(w.judge(a, &intent.Record), &intent.Record, placement, err))
	return next, true, err
}

// intend makes the intent durable and takes the card over all replicas, both at
// once. If the card is not ours then, the intent stands, and no call follows it.
func (w *Worker) intend(ctx context.Context, a *account, cur *ledger.Entry, permit supplier.Permit, object string) (intent *ledger.Entry, mine bool, err error) {
	r := w.decide.intend(w.judge(a, &cur.Record), &cur.Record, permit, a.Client.RequestID(cur.OrderID, cur.Round), a.seenBalance())
	locked := w.cards.lock(ctx, object, cur, w.cfg.stale())
	intent, err = w.append(ctx, a, cur, r)
	mine, lockErr := locked()
	if lockErr != nil {
		w.failed("card lock", lockErr) // not taken: the same as taken by another
	}
	return intent, mine, err
}

// unsent is an intent whose call was not made, as only who would have made it knows. It
// counts for nothing: an order in doubt has as many safe repeats as before.
func (j judge) unsent(intent *order.Record, why, reason string) order.Record {
	r := j.next(intent)
	r.Attempt--
	r.Reason = reason
	if proof, notPlaced := order.RefusedCall(intent, order.CertainNotPlaced, false); notPlaced {
		return proof.Wait(r, why, j.now.Add(j.timing.WaitMin))
	}
	r.Resends--
	return j.unknown(r, j.timing.WaitMin)
}

// outcome writes what became of a call. If the order was moved meanwhile, by
// evidence or by a worker that thought us dead, what we know is evidence too.
func (w *Worker) outcome(ctx context.Context, a *account, intent *ledger.Entry, r order.Record) (stand, error) {
	next, err := w.record(ctx, a, intent, r)
	if errors.Is(err, ledger.ErrMoved) {
		next, err = w.decide.late(w, ctx, a, r)
		next.shared = true
	}
	return next, err
}

// record writes an order's next event and, if it is not settled by that, its entry
// in the index. A new order that was placed shares a page with others, which is
// written beside the event: neither needs the other to be there first. Any other has
// an entry of its own, after the event: its turn may be far off, and if somebody
// settles it before that, what goes is its own entry.
func (w *Worker) record(ctx context.Context, a *account, cur *ledger.Entry, r order.Record) (stand, error) {
	if r.State == order.Held {
		w.describe(ctx, a, &r)
	}
	due := w.due(a, &r)
	if due.IsZero() {
		next, err := w.append(ctx, a, cur, r)
		return stand{Entry: next}, err
	}
	var entered func() error
	if cur.New && r.State == order.Placed {
		entered = w.ledger.Enter(ctx, openEntry(&r, due))
	}
	next, err := w.append(ctx, a, cur, r)
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
