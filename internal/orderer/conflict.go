package orderer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

// What contradicts an order moves nothing: it is noted in the order's own record,
// set aside whole as a dead letter with the reason conflict, and the reconciler
// makes a finding of it.

func conflictOf(ev wire.Evidence) order.Conflict {
	return order.Conflict{Evidence: ev.Source, Certainty: ev.Certainty, SupplierOrderID: ev.SupplierOrderID, StateThere: ev.StateThere, Reason: ruling(ev)}
}

func contradiction(cur order.Record, ev wire.Evidence) error {
	return fmt.Errorf("order %s is %s as %q; %s says %s %q as %q", cur.OrderID, cur.State, cur.SupplierOrderID,
		ev.Source, ev.Certainty, ev.StateThere, ev.SupplierOrderID)
}

// note writes a contradiction into an order's record, once: its state, and what
// decided it, stay.
func (w *Worker) note(ctx context.Context, cur *ledger.Entry, c order.Conflict) error {
	c.At = w.now().UTC()
	r, isNew := cur.Noted(c)
	if !isNew {
		return nil
	}
	_, err := w.ledger.Append(ctx, cur, r)
	return err
}

// late is what becomes of the outcome of a call whose order was moved meanwhile: it
// is evidence like any other.
func (w *Worker) late(ctx context.Context, a *account, r order.Record) (stand, error) {
	why := ledger.ErrMoved
	for range 5 {
		cur, found, err := w.ledger.Get(ctx, r.OrderID)
		if err == nil && !found {
			err = errUnseen
		}
		if err != nil {
			// What we were told is nowhere but here. NATS may be back in a moment.
			why = err
			select {
			case <-ctx.Done():
			case <-time.After(lateRetry):
			}
			continue
		}
		if r.Certainty != order.CertainPlaced {
			return w.asItIs(a, &cur), nil // it says nothing that the order's new state does not know better
		}
		ev := toldBy(r)
		next, effect := w.judge(a, &cur.Record).weighNow(cur.Record, ev)
		switch effect {
		case effectContradicts:
			return w.asItIs(a, &cur), w.contradicted(ctx, &cur, r, ev)
		case effectMoves:
			if r.Balance != nil {
				next.Balance = r.Balance
			}
			// Another may have acknowledged the order's message: none comes again for us.
			if err := w.claim(ctx, &cur); err != nil {
				w.failed("guard", err) // what we know of the money comes first
			}
			moved, err := w.record(ctx, a, &cur, next)
			if errors.Is(err, ledger.ErrMoved) {
				continue // moved again: what is known is weighed anew
			}
			return moved, err
		}
		return w.asItIs(a, &cur), nil
	}
	// Never as ErrMoved, of which nobody is told: if no look finds it, the log has it.
	return stand{}, fmt.Errorf("order %s: a late answer is not kept, %s as %q: %v", r.OrderID, r.Certainty, r.SupplierOrderID, why)
}

// lateRetry is the pause before the ledger is read again for an answer that came late.
const lateRetry = 100 * time.Millisecond

func (w *Worker) asItIs(a *account, cur *ledger.Entry) stand {
	return stand{Entry: cur, due: w.due(a, &cur.Record)}
}

// toldBy is what a record that could not be written says, as evidence.
func toldBy(r order.Record) wire.Evidence {
	ev := wire.Evidence{OrderID: r.OrderID, Supplier: r.Supplier, Account: r.Account, Source: r.Evidence, Certainty: r.Certainty,
		SupplierOrderID: r.SupplierOrderID, SupplierOrderNumber: r.SupplierOrderNumber, ESIMs: r.ESIMs, Total: r.Total, ObservedAt: r.At}
	switch r.State {
	case order.Placed, order.Fulfilled, order.Refunded, order.Rejected:
		ev.StateThere = string(r.State)
	}
	return ev
}

// contradicted sets aside what we ourselves were told, by a late answer or a look,
// and what cannot become an event: r is the record that it would have made.
func (w *Worker) contradicted(ctx context.Context, cur *ledger.Entry, r order.Record, ev wire.Evidence) error {
	c := conflictOf(ev)
	if _, isNew := cur.Noted(c); !isNew {
		return nil // each look says it again
	}
	w.m.evidence.WithLabelValues(r.Supplier, string(ev.Source), string(effectContradicts)).Inc()
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	cause := contradiction(cur.Record, ev)
	w.log.Error("contradicting answer", "order", cur.OrderID, "error", cause)
	err = w.bus.DeadBytes(ctx, bus.DeadLetter{Stream: bus.StreamOrderEvents, Subject: bus.SubjectOrderEvent(r.OrderID, r.Supplier, string(r.State)),
		Data: data, Reason: wire.ReasonConflict, Cause: cause, Attempts: "1", MsgID: "late:" + r.OrderID + ":" + r.SupplierOrderID, Order: r.OrderID})
	if err != nil {
		return err
	}
	// If we die here: it lies in DEAD, and the order does not say so.
	return w.note(ctx, cur, c)
}
