package orderer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
	tracing "github.com/simline/simline/internal/trace"
	"github.com/simline/simline/internal/wire"
)

const reasonMaxDeliveries = wire.ReasonMaxDeliveries

// handle is orderer's line: one request from the queue until its order is settled,
// or guarded by the index of open orders.
func (w *Worker) handle(ctx context.Context, msg message) bus.Verdict {
	if isCancel(msg.Subject()) {
		return w.handleCancel(ctx, msg)
	}
	req, trace, err := w.read(msg) // schema check
	if err != nil {
		return bus.Dead(wire.ReasonOf(err), err)
	}
	a, ok := w.account(req.Supplier, req.Account)
	if !ok {
		return bus.Dead(wire.ReasonUnknownAccount, fmt.Errorf("supplier %s has no account %s in our configuration", req.Supplier, req.Account))
	}
	ctx, span := w.trace.Begin(ctx, trace, "order request", tracing.Consumer)
	defer span.End()
	span.Set("simline.order_id", req.OrderID)
	again := deliveries(msg) > 1
	cur, err := w.decide.find(w, ctx, req, handedOn(span, trace), again) // ledger: what is known of it
	var wireErr *wire.Error
	if errors.As(err, &wireErr) {
		return bus.Dead(wireErr.Reason, wireErr)
	}
	if err != nil {
		return w.hindered("find", err)
	}
	next, err := w.advance(ctx, a, cur) // gates → ledger: intent → Place → ledger: outcome, or a look
	if errors.Is(err, ledger.ErrMoved) && cur.Seq == 0 {
		return bus.Again(0) // it was there already: come back and read it
	}
	if errors.Is(err, errCardBusy) && deliveries(msg) >= cardPatience {
		next, err = w.waitForCard(ctx, a, cur)
	}
	if err != nil {
		return w.hindered("advance", err)
	}
	// If we die before this: the message comes again and finds the event.
	if again || next.shared {
		err = w.afterMove(ctx, next)
	} else {
		err = w.guard(ctx, next) // no entry is there, or one whose turn is now
	}
	if err != nil {
		return w.hindered("guard", err)
	}
	// If we die here: the entry guards the order, and so does the message, which
	// comes again and finds both.
	return bus.Done()
}

// cardPatience is at which delivery an order that finds its card taken leaves the queue:
// many for one card would keep each place of the supplier's, and the others' orders out.
const cardPatience = 3

// waitForCard lets an order of which nothing was sent wait outside of the queue.
func (w *Worker) waitForCard(ctx context.Context, a *account, cur *ledger.Entry) (stand, error) {
	proof, notPlaced := cur.NotPlaced()
	if !notPlaced {
		return stand{Entry: cur}, errCardBusy
	}
	return w.shutOut(ctx, a, cur, supplier.PermitNew(proof), waits(forCard, w.now().Add(w.cfg.WaitMin)))
}

// read decodes a request and holds its subject against its body.
func (w *Worker) read(msg message) (order.Request, string, error) {
	req, meta, err := wire.DecodeRequest(msg.Data())
	if err != nil {
		return req, "", err
	}
	if want := bus.SubjectRequest(req.Supplier, req.Product); msg.Subject() != want {
		if product, ok := strings.CutPrefix(msg.Subject(), bus.SubjectRequest(req.Supplier, "")); ok && !knownProduct(req.Supplier, product) {
			return req, "", &wire.Error{Reason: wire.ReasonUnknownProduct, Text: fmt.Sprintf("supplier %s has no product %.40q, which the subject names", req.Supplier, product)}
		}
		return req, "", &wire.Error{Reason: wire.ReasonMismatch, Text: fmt.Sprintf("published on %s, and its body belongs on %s", msg.Subject(), want)}
	}
	return req, traceOf(msg, meta), nil
}

// traceOf is the publisher's trace context, from the event or its header; empty if
// it sent none.
func traceOf(msg message, meta wire.Meta) string {
	if meta.TraceParent != "" {
		return meta.TraceParent
	}
	return headerTrace(msg)
}

// handedOn is the trace context that the order's events carry: the publisher's, what
// we do under it, or a new one.
func handedOn(span tracing.Span, trace string) string {
	if trace = span.Parent(trace); trace == "" {
		return wire.NewTraceParent()
	}
	return trace
}

func headerTrace(msg message) string {
	if m, ok := msg.(interface{ Headers() nats.Header }); ok {
		return m.Headers().Get(bus.HeaderTraceParent)
	}
	return ""
}

func knownProduct(supplier, product string) bool {
	for _, p := range order.Products(supplier) {
		if p == product {
			return true
		}
	}
	return false
}

// find is what is known of a request's order: its last event, or a beginning if
// there is none. The ledger is read only if there may be something: a request
// that comes for the first time is new, and if it is not, the append says so.
func (w *Worker) find(ctx context.Context, req order.Request, trace string, again bool) (*ledger.Entry, error) {
	hash := req.Hash()
	fresh := &ledger.Entry{Trace: trace, New: true, Record: order.Record{OrderID: req.OrderID, Supplier: req.Supplier, Product: req.Product,
		Account: req.Account, Request: req, RequestHash: hash, AcceptedAt: w.now().UTC()}}
	if !again {
		return fresh, nil
	}
	cur, found, err := w.ledger.Get(ctx, req.OrderID)
	if err != nil {
		return nil, fmt.Errorf("read order %s: %w", req.OrderID, err)
	}
	if !found {
		return fresh, nil
	}
	if cur.RequestHash != hash {
		return nil, &wire.Error{Reason: wire.ReasonConflict, Text: fmt.Sprintf("order %s was requested before with another body; the first one stands, %s", req.OrderID, cur.State)}
	}
	return &cur, nil
}

// errUnderWay: a call of another worker may be under way for this order.
var errUnderWay = errors.New("a call for this order may be under way")

// advance does what is to be done with an order now.
func (w *Worker) advance(ctx context.Context, a *account, cur *ledger.Entry) (stand, error) {
	next, err := w.decide.step(w, ctx, a, cur)
	// What is unknown with a look due at once, a duplicate refusal, is looked at now.
	if err == nil && next.Seq != cur.Seq && next.State == order.Unknown && !next.due.After(w.now()) {
		return w.decide.step(w, ctx, a, next.Entry)
	}
	return next, err
}

func (w *Worker) step(ctx context.Context, a *account, cur *ledger.Entry) (stand, error) {
	proof, notPlaced := cur.NotPlaced()
	switch {
	case cur.State.Settled():
		return stand{Entry: cur}, nil
	case cur.NotBefore != nil && cur.NotBefore.After(w.now()) && !w.expired(&cur.Record):
		return stand{Entry: cur, due: *cur.NotBefore}, nil // not yet: whoever has the message hands it to the index
	case notPlaced: // new, or waiting
		return w.place(ctx, a, cur, supplier.PermitNew(proof))
	case cur.State == order.Intent && w.now().Before(cur.LastSentAt.Add(w.cfg.stale())):
		return stand{Entry: cur}, errUnderWay
	}
	return w.look(ctx, a, cur)
}

func (w *Worker) expired(r *order.Record) bool {
	return r.State == order.Waiting && r.Request.ExpiresAt != nil && !w.now().Before(*r.Request.ExpiresAt)
}

// guard enters an order that is not settled into the index, unless it was just
// written there.
func (w *Worker) guard(ctx context.Context, s stand) error {
	switch {
	case s.due.IsZero() || s.guarded:
		return nil
	case s.due.Sub(w.now()) < farOff && s.WaitingFor != forSwitch:
		// If another settled it meanwhile: its turn is soon, when the sweep asks the
		// ledger and removes it. To what waits for a switch it does not come before.
		return w.ledger.Guard(ctx, openEntry(&s.Record, s.due))
	}
	// If we die here: an entry that is written is that of the order's last event.
	err := w.ledger.GuardLast(ctx, openEntry(&s.Record, s.due), s.Seq)
	if !errors.Is(err, ledger.ErrMoved) {
		return err
	}
	return w.overtaken(ctx, s.OrderID)
}

// overtaken is what guards an order that another has moved since, by a person's word or
// a notification: its turn is now.
func (w *Worker) overtaken(ctx context.Context, orderID string) error {
	cur, found, err := w.ledger.Get(ctx, orderID)
	switch {
	case err != nil:
		return err
	case !found:
		return errUnseen
	case cur.State.Settled():
		return w.ledger.Unguard(ctx, orderID)
	}
	return w.ledger.Guard(ctx, outOfTurn(&cur.Record, w.now()))
}

// errUnseen: a replica that is behind was asked for an order that is there.
var errUnseen = errors.New("an order's events are not seen yet")

// outOfTurn is the entry of an order that another may be moving: a sweep comes to it at
// due even while the switch is on that the order waits for.
func outOfTurn(r *order.Record, due time.Time) ledger.Open {
	o := openEntry(r, due)
	o.WaitingFor = ""
	return o
}

// due is when something is to be done with an order again; zero if it is settled.
func (w *Worker) due(a *account, r *order.Record) time.Time {
	now := w.now()
	switch {
	case r.State.Settled():
		return time.Time{}
	case r.State == order.Intent:
		return r.LastSentAt.Add(w.cfg.stale())
	case r.State == order.Held:
		return now.Add(heldInterval)
	case r.State == order.Placed && r.NotBefore != nil && !r.NotBefore.After(now):
		// Followed less often the longer it takes.
		every := w.judge(a, r).fulfilInterval()
		return now.Add(min(max(every, now.Sub(r.At)/4), max(every, maxFulfilInterval)))
	case r.NotBefore != nil:
		return *r.NotBefore
	}
	return now
}

const (
	// farOff is a turn that is not waited for to find an entry out of date.
	farOff = time.Minute
	// heldInterval is how often a held order is looked at, for proof that it was placed.
	heldInterval = 15 * time.Minute
	// maxFulfilInterval is how rarely a placed order is looked at in the end.
	maxFulfilInterval = 15 * time.Minute
)
