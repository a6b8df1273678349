package orderer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/trace"
	"github.com/simline/simline/internal/wire"
)

// effect is what a piece of evidence does to an order.
type effect string

const (
	effectNone        effect = "none"        // known already
	effectMoves       effect = "moves"       // settles it, or brings it on
	effectLater       effect = "later"       // a call is under way, whose answer says more
	effectContradicts effect = "contradicts" // what is settled was settled otherwise
	effectUnreadable  effect = "unreadable"  // it may speak of orders, and cannot be read
)

// weigh decides what a piece of evidence does to an order. It is pure.
func (j judge) weigh(cur order.Record, ev wire.Evidence) (order.Record, effect) {
	if cur.State == order.Intent && j.now.Before(cur.LastSentAt.Add(j.timing.stale())) {
		return cur, effectLater
	}
	return j.weighNow(cur, ev)
}

func (j judge) weighNow(cur order.Record, ev wire.Evidence) (order.Record, effect) {
	if ev.Source == order.EvidencePerson {
		return j.ruled(cur, ev)
	}
	if cur.SupplierOrderID != "" && ev.SupplierOrderID != "" && cur.SupplierOrderID != ev.SupplierOrderID {
		return cur, effectContradicts
	}
	switch {
	case ev.StateThere == string(order.Rejected):
		return j.weighFailed(cur, ev)
	case ev.Certainty == order.CertainPlaced:
		return j.weighPlaced(cur, ev)
	case ev.Certainty == order.CertainNotPlaced:
		return j.weighMissing(cur, ev)
	}
	return cur, effectNone
}

func (j judge) weighPlaced(cur order.Record, ev wire.Evidence) (order.Record, effect) {
	switch cur.State {
	case order.Rejected, order.Expired, order.Cancelled:
		return cur, effectContradicts
	case order.Refunded:
		return cur, effectNone
	}
	r := j.there(&cur, placementOf(ev), ev.Source)
	if r.State == cur.State || !order.CanMove(cur.State, r.State) || r.State == order.Placed && heldAsPlaced(&cur) {
		return cur, effectNone
	}
	return r, effectMoves
}

func placementOf(ev wire.Evidence) supplier.Placement {
	return supplier.Placement{SupplierOrderID: ev.SupplierOrderID, SupplierOrderNumber: ev.SupplierOrderNumber,
		State: order.State(ev.StateThere), ESIMs: ev.ESIMs, Total: ev.Total}
}

// weighFailed: the supplier shows the order, and that it came to nothing.
func (j judge) weighFailed(cur order.Record, ev wire.Evidence) (order.Record, effect) {
	switch cur.State {
	case order.Intent, order.Unknown, order.Placed:
		return j.there(&cur, placementOf(ev), ev.Source), effectMoves
	case order.Fulfilled:
		return cur, effectContradicts
	}
	return cur, effectNone // waiting and settled agree with it; held needs the person
}

// weighMissing: someone looked and did not find the order. Orderer counts its own
// looks, whose time it knows: another's moves nothing, but may contradict.
func (j judge) weighMissing(cur order.Record, ev wire.Evidence) (order.Record, effect) {
	switch cur.State {
	case order.Placed, order.Fulfilled:
		return cur, effectContradicts
	}
	return cur, effectNone
}

// ruled is an order as a person decided it.
func (j judge) ruled(cur order.Record, ev wire.Evidence) (order.Record, effect) {
	if cur.State.Settled() {
		return j.ruledAfter(cur, ev)
	}
	switch ev.Certainty {
	case order.CertainPlaced:
		return j.ruledPlaced(cur, ev)
	case order.CertainNotPlaced:
		if proof, ok := order.RuledOut(ruling(ev)); ok {
			return proof.Reject(j.next(&cur), &order.Error{Kind: string(supplier.Refused), Code: "(person)", Message: "not placed: " + ev.Reason}), effectMoves
		}
	}
	r := j.hold(j.next(&cur), order.CertainUnknown, ruling(ev))
	r.Evidence = order.EvidencePerson
	return r, effectMoves
}

// ruledAfter is a settled order of which a person says something. The same word, come
// again, or one that says the same, is known; what says more has come too late for it.
func (j judge) ruledAfter(cur order.Record, ev wire.Evidence) (order.Record, effect) {
	failed := ev.StateThere == string(order.Rejected) && cur.Certainty == order.CertainPlaced
	switch {
	case ev.SupplierOrderID != "" && ev.SupplierOrderID != cur.SupplierOrderID, ev.Certainty != cur.Certainty, failed:
		return cur, effectContradicts
	case ev.StateThere == string(order.Refunded) && cur.State == order.Fulfilled:
		r := j.there(&cur, placementOf(ev), order.EvidencePerson)
		r.Reason = ruling(ev)
		return r, effectMoves
	case named(addESIMs(cur.ESIMs, ev.ESIMs)) > named(cur.ESIMs):
		return cur, effectContradicts
	}
	return cur, effectNone
}

// ruledPlaced is an order that a person says is there: under what id, or, beyond that,
// that what was bought is there, of which they may bring what no look shows.
func (j judge) ruledPlaced(cur order.Record, ev wire.Evidence) (order.Record, effect) {
	p, known := placementOf(ev), cur
	if other := ev.SupplierOrderID; other != "" && cur.SupplierOrderID != "" && other != cur.SupplierOrderID {
		known.ESIMs = nil // of the order there that this was taken for
	}
	known.ESIMs, p.ESIMs = addESIMs(known.ESIMs, ev.ESIMs), nil
	r := j.there(&known, p, order.EvidencePerson)
	switch {
	case r.State == cur.State && cur.State != order.Held, !order.CanMove(cur.State, r.State):
		return cur, effectNone
	case r.State == order.Placed && heldAsPlaced(&cur) && r.SupplierOrderID == cur.SupplierOrderID:
		return cur, effectNone // it is held with that known
	case r.State == order.Fulfilled:
		// What is listed and was never told does not come any more.
		r.ESIMs = slices.DeleteFunc(slices.Clone(r.ESIMs), func(e order.ESIM) bool { return e.ICCID == "" })
	}
	r.Reason = ruling(ev)
	return r, effectMoves
}

// ruling is who decided, and why, for the audit.
func ruling(ev wire.Evidence) string {
	if ev.Actor == "" {
		return ev.Reason
	}
	return ev.Actor + ": " + ev.Reason
}

// handleEvidence takes in what a reconciler or a person learnt about an order.
func (w *Worker) handleEvidence(ctx context.Context, msg message) bus.Verdict {
	ev, _, err := wire.DecodeEvidence(msg.Data())
	if err != nil {
		return bus.Dead(wire.ReasonOf(err), err)
	}
	if want := bus.SubjectEvidence(ev.Supplier, ev.OrderID); msg.Subject() != want {
		return bus.Dead(wire.ReasonMismatch, fmt.Errorf("published on %s, and its body belongs on %s", msg.Subject(), want))
	}
	ctx, span := w.learn(ctx, msg, "evidence")
	defer span.End()
	return w.take(ctx, ev)
}

// handleNotification takes in a notification of packages bought or refunded. That
// it is the supplier's was verified before it came onto the bus.
func (w *Worker) handleNotification(ctx context.Context, msg message) bus.Verdict {
	supplierName, accountName, event, ok := bus.WebhookOf(msg.Subject())
	if !ok || supplierName != order.EIOTCLUB || !ofOrders[event] {
		return bus.Done()
	}
	env, err := wire.ParseEnvelope(msg.Data())
	if err != nil {
		return bus.Dead(wire.ReasonOf(err), err)
	}
	n, err := eiotclub.ParseNotification(env.Data)
	if err != nil {
		// Signed and kept on WEBHOOKS as it came; what it says of an order a look tells too.
		w.m.evidence.WithLabelValues(supplierName, string(order.EvidenceNotification), string(effectUnreadable)).Inc()
		w.log.Warn("a notification of orders cannot be read", "subject", msg.Subject(), "id", env.ID, "error", err)
		return bus.Done()
	}
	ctx, span := w.learn(ctx, msg, "notification of orders")
	defer span.End()
	at := n.Timestamp
	if at.IsZero() {
		at = env.Time
	}
	verdict := bus.Done()
	worst := func(v bus.Verdict) {
		// If any has to come again, the whole notification does: the rest is known by then.
		if _, again := verdict.Delay(); !again && !v.IsDone() {
			verdict = v
		}
	}
	for _, o := range n.Orders() {
		if !order.ValidID(o.OutTradeNo) {
			continue // bought by other means than our orders
		}
		worst(w.take(ctx, wire.Evidence{OrderID: o.OutTradeNo, Supplier: supplierName, Account: accountName, Source: order.EvidenceNotification,
			Certainty: order.CertainPlaced, SupplierOrderID: o.SupplierOrderID, StateThere: string(o.State), ObservedAt: at}))
	}
	return verdict
}

// ofOrders are the notifications that speak of orders by our id.
var ofOrders = map[string]bool{
	eiotclub.EventSubPkgList: true, eiotclub.EventPkgEffective: true, eiotclub.EventPkgQuantityList: true, eiotclub.EventRefund: true,
	eiotclub.EventCloudSubPkgList: true, eiotclub.EventCloudPkgActivate: true, eiotclub.EventCloudPkgDeactivate: true, eiotclub.EventCloudRefund: true,
}

// learn is the span of a message that speaks of orders; what it does to each stands
// in that order's own trace, linked to this.
func (w *Worker) learn(ctx context.Context, msg message, name string) (context.Context, trace.Span) {
	if !w.trace.On() {
		return ctx, trace.Span{}
	}
	return w.trace.Begin(ctx, headerTrace(msg), name, trace.Consumer)
}

// take applies one piece of evidence to its order.
func (w *Worker) take(ctx context.Context, ev wire.Evidence) bus.Verdict {
	cur, found, err := w.ledger.Get(ctx, ev.OrderID)
	if err != nil {
		return w.hindered("evidence", err)
	}
	count := func(e effect) { w.m.evidence.WithLabelValues(ev.Supplier, string(ev.Source), string(e)).Inc() }
	if !found || cur.Supplier != ev.Supplier || cur.Account != ev.Account {
		count(effectNone) // not an order of ours; the reconciler compares the books
		return bus.Done()
	}
	ctx, span := w.trace.Begin(ctx, cur.Trace, "order evidence", trace.Internal)
	defer span.End()
	span.Set("simline.order_id", ev.OrderID)
	span.Set("simline.source", string(ev.Source))
	a, ok := w.account(cur.Supplier, cur.Account)
	if !ok {
		return bus.Dead(wire.ReasonUnknownAccount, fmt.Errorf("supplier %s has no account %s in our configuration", cur.Supplier, cur.Account))
	}
	if ev.Source == order.EvidencePerson && ev.Certainty == order.CertainNotPlaced && ev.SendAgain {
		return w.sendAgain(ctx, a, &cur, ev)
	}
	r, e := w.decide.weigh(w.judge(a, &cur.Record), cur.Record, ev)
	count(e)
	switch e {
	case effectNone:
		return bus.Done()
	case effectLater:
		return bus.Again(time.Second)
	case effectContradicts:
		// If we die after this: the evidence comes again, and is known in the order's
		// record and set aside all the same.
		if err := w.note(ctx, &cur, conflictOf(ev)); err != nil {
			return w.hindered("evidence", err)
		}
		return bus.Dead(wire.ReasonConflict, contradiction(cur.Record, ev)).About(cur.OrderID)
	}
	if err := w.claim(ctx, &cur); err != nil {
		return w.hindered("evidence", err)
	}
	next, err := w.record(ctx, a, &cur, r)
	if err != nil {
		return w.hindered("evidence", err)
	}
	// If we die here: the evidence comes again and is known; the sweep finds the
	// settled order in the index and removes it.
	if err := w.afterMove(ctx, next); err != nil {
		return w.hindered("evidence", err)
	}
	return bus.Done()
}

// sendAgain is a person's word that an order was not placed and is to be bought.
func (w *Worker) sendAgain(ctx context.Context, a *account, cur *ledger.Entry, ev wire.Evidence) bus.Verdict {
	if actedOn(&cur.Record, ev) {
		// It comes again, after whoever took it died: what it asked for was begun.
		next, err := w.advance(ctx, a, cur)
		if err == nil {
			err = w.afterMove(ctx, next)
		}
		if err != nil {
			return w.hindered("evidence", err)
		}
		return bus.Done()
	}
	if cur.State != order.Held {
		return bus.Dead(wire.ReasonConflict, fmt.Errorf("order %s is %s: only a held order is sent again by a person", cur.OrderID, cur.State)).About(cur.OrderID)
	}
	if heldAsPlaced(&cur.Record) {
		return bus.Dead(wire.ReasonConflict, fmt.Errorf("order %s is there, as %s: it is not sent again", cur.OrderID, cur.SupplierOrderID)).About(cur.OrderID)
	}
	proof, ok := order.RuledOut(ruling(ev))
	if !ok {
		return bus.Dead(wire.ReasonSchema, errors.New("a person's word without a reason"))
	}
	if err := w.claim(ctx, cur); err != nil {
		return w.hindered("evidence", err)
	}
	again := *cur
	again.Round++ // a person's word is as certain as a refusal: eSIMfly gets a new request id
	next, err := w.place(ctx, a, &again, supplier.PermitNew(proof))
	if err != nil {
		return w.hindered("evidence", err)
	}
	if err := w.afterMove(ctx, next); err != nil {
		return w.hindered("evidence", err)
	}
	return bus.Done()
}

// actedOn says whether an order that a person wants sent again was, or waits to be.
func actedOn(cur *order.Record, ev wire.Evidence) bool {
	return cur.LastSentAt != nil && cur.LastSentAt.After(ev.ObservedAt) || cur.State == order.Waiting && cur.At.After(ev.ObservedAt)
}

// claim takes an order up outside of its turn, as a sweep does in it. Its entry may
// name a turn that is far off: should we die behind our event, or be kept from telling
// the index of it, the sweep comes to it soon.
func (w *Worker) claim(ctx context.Context, cur *ledger.Entry) error {
	return w.ledger.Guard(ctx, outOfTurn(&cur.Record, w.now().Add(w.cfg.claim())))
}

// afterMove brings the index in line with an order of which it may have an entry.
func (w *Worker) afterMove(ctx context.Context, next stand) error {
	if next.State.Settled() {
		return w.ledger.Unguard(ctx, next.OrderID)
	}
	return w.guard(ctx, next)
}
