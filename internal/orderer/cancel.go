package orderer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/trace"
	"github.com/simline/simline/internal/wire"
)

// cancelTries is how often a cancel comes again for an order that is not known:
// it may have overtaken its request.
const cancelTries = 10

var cancelPrefix = bus.SubjectCancel("")

func isCancel(subject string) bool { return strings.HasPrefix(subject, cancelPrefix) }

// handleCancel withdraws an order before money moves. Once the order is placed or
// settled a cancel comes too late, which the order's own event says.
func (w *Worker) handleCancel(ctx context.Context, msg message) bus.Verdict {
	c, _, err := wire.DecodeCancel(msg.Data())
	if err != nil {
		return bus.Dead(wire.ReasonOf(err), err)
	}
	cur, found, err := w.ledger.Get(ctx, c.OrderID)
	if err != nil {
		return w.hindered("cancel", err)
	}
	if !found {
		if deliveries(msg) < cancelTries {
			return bus.Again(2 * time.Second)
		}
		return bus.Dead(wire.ReasonMaxDeliveries, fmt.Errorf("there is no order %s to cancel", c.OrderID))
	}
	if bus.SubjectCancel(cur.Supplier) != msg.Subject() || cur.Account != c.Account {
		return bus.Dead(wire.ReasonMismatch, fmt.Errorf("order %s belongs to %s, account %s", c.OrderID, cur.Supplier, cur.Account))
	}
	a, ok := w.account(cur.Supplier, cur.Account)
	if !ok {
		return bus.Dead(wire.ReasonUnknownAccount, fmt.Errorf("supplier %s has no account %s in our configuration", cur.Supplier, cur.Account))
	}
	ctx, span := w.trace.Begin(ctx, cur.Trace, "order cancel", trace.Consumer)
	defer span.End()
	j := w.judge(a, &cur.Record)
	r := j.next(&cur.Record)
	r.Reason = c.Reason
	proof, notPlaced := cur.NotPlaced()
	switch {
	case notPlaced:
		if err := w.claim(ctx, &cur); err != nil {
			return w.hindered("cancel", err)
		}
		r.Error = cur.Error
		r = proof.Cancel(r)
	case cur.State == order.Intent:
		return bus.Again(2 * time.Second) // its call is under way
	case (cur.State == order.Unknown || cur.State == order.Held) && !cur.CancelRequested:
		// It may have been placed: not sent again, and otherwise followed as before.
		r = cur.Record
		r.At, r.CancelRequested, r.Reason = j.now, true, "upstream withdrew it: "+c.Reason
		if cur.State == order.Held {
			r.Reason = cur.Reason + "; " + r.Reason
		}
	case cur.State == order.Cancelled, cur.State == order.Unknown, cur.State == order.Held:
		return bus.Done() // it comes again
	default:
		w.m.lateCancels.WithLabelValues(cur.Supplier).Inc()
		return bus.Done()
	}
	next, err := w.append(ctx, a, &cur, r)
	if err != nil {
		return w.hindered("cancel", err)
	}
	// If we die here: the cancel comes again and finds it done; the sweep clears up.
	if next.State.Settled() {
		if err := w.ledger.Unguard(ctx, next.OrderID); err != nil {
			return w.hindered("cancel", err)
		}
	}
	return bus.Done()
}
