package orderer

import (
	"context"
	"errors"
	"time"

	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// look asks the supplier for an order: one that may have been placed, one that was
// and is not fulfilled yet, or one that is held. It spends nothing.
func (w *Worker) look(ctx context.Context, a *account, cur *ledger.Entry) (stand, error) {
	if w.switches.paused(a.Supplier) {
		return stand{Entry: cur, due: w.now().Add(w.cfg.Sweep)}, nil
	}
	if s, err := w.budgetGate(ctx, a); err != nil || s != nil {
		return stand{Entry: cur, due: untilOf(s)}, err
	}
	var s supplier.Sighting
	asked := w.now()
	err := a.call(ctx, func(ctx context.Context) (err error) {
		s, err = a.Client.Lookup(ctx, supplier.Query{Request: cur.Request, Round: cur.Round,
			SupplierOrderID: cur.SupplierOrderID, SupplierOrderNumber: cur.SupplierOrderNumber})
		return err
	})
	if errors.Is(err, errBreaker) {
		return stand{Entry: cur, due: w.now().Add(w.cfg.breakerPause())}, nil
	}
	w.m.looks.WithLabelValues(a.Supplier, said(s, err)).Inc()
	j := w.judge(a, &cur.Record)
	j.asked = asked.UTC()
	switch cur.State {
	case order.Placed, order.Held:
		return w.follow(ctx, a, j, cur, s, err)
	}
	switch {
	case errors.Is(err, supplier.ErrNoLookup):
		return w.ask(ctx, a, j, cur)
	case err != nil:
		return w.record(ctx, a, cur, j.notTold(cur.Record, "lookup", err))
	case s.Found:
		return w.record(ctx, a, cur, j.sighted(cur.Record, s))
	}
	r, permit := w.decide.notSeen(j, cur.Record, s.Where)
	if permit.Valid() {
		// It was not placed: heard late and often enough. It goes through the gates
		// again like a new one, as the event that the ledger has.
		ahead := *cur
		ahead.Record = r
		return w.place(ctx, a, &ahead, permit)
	}
	return w.record(ctx, a, cur, r)
}

func untilOf(s *shut) time.Time {
	if s == nil {
		return time.Time{}
	}
	return s.until
}

func said(s supplier.Sighting, err error) string {
	switch {
	case errors.Is(err, supplier.ErrNoLookup):
		return "no_lookup"
	case err != nil:
		return "error"
	case s.Found:
		return "found"
	}
	return "not_found"
}

// describe adds the account's balance to what a person is shown of a held order, if it
// may be asked for now.
func (w *Worker) describe(ctx context.Context, a *account, r *order.Record) {
	if w.switches.paused(a.Supplier) {
		return
	}
	if s, err := w.budgetGate(ctx, a); s != nil || err != nil {
		return
	}
	var balance order.Money
	err := a.call(ctx, func(ctx context.Context) (err error) {
		balance, err = a.Client.Balance(ctx)
		return err
	})
	if err == nil { // else it is held without: the person can ask
		a.sawBalance(&balance)
		r.Balance = &balance
	}
}

// follow looks after an order that is there, or that a person has to judge: only
// news that moves it is written.
func (w *Worker) follow(ctx context.Context, a *account, j judge, cur *ledger.Entry, s supplier.Sighting, err error) (stand, error) {
	if err != nil || !s.Found {
		return w.asItIs(a, cur), nil
	}
	if cur.State == order.Held && (s.State == order.Rejected || len(s.Mismatch) > 0) {
		return w.asItIs(a, cur), nil // proof that it was not placed needs the person
	}
	r := j.sighted(cur.Record, s)
	if cur.SupplierOrderID != "" && r.SupplierOrderID != cur.SupplierOrderID {
		return w.asItIs(a, cur), w.contradicted(ctx, cur, r, toldBy(r))
	}
	known := heldAsPlaced(&cur.Record)
	// A look that shows a part tells a held order's person that, once, and each eSIM more.
	more := s.Partial && (!known || named(r.ESIMs) > named(cur.ESIMs))
	if r.State == cur.State && !more || r.State == order.Placed && known {
		return w.asItIs(a, cur), nil
	}
	return w.record(ctx, a, cur, r)
}

// ask settles what no look can: by the same call again where that is safe, since
// its answer tells whether the first arrived; else by a person.
func (w *Worker) ask(ctx context.Context, a *account, j judge, cur *ledger.Entry) (stand, error) {
	exists := cur.Error != nil && cur.Error.Kind == string(supplier.Exists)
	switch {
	case exists:
		return w.record(ctx, a, cur, j.unanswerable(&cur.Record))
	case cur.State == order.Intent:
		r := j.next(&cur.Record)
		return w.record(ctx, a, cur, j.unknown(r, max(0, cur.LastSentAt.Add(j.settle()).Sub(j.now))))
	case !j.settled(cur.Record):
		return stand{Entry: cur, due: cur.LastSentAt.Add(j.settle())}, nil
	}
	if permit, safe := j.rules.PermitRepeat(cur.Record, j.now); safe {
		return w.place(ctx, a, cur, permit)
	}
	return w.record(ctx, a, cur, j.unanswerable(&cur.Record))
}
