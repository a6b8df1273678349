package orderer

import (
	"fmt"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// judge turns facts about an order into its next record. It is pure: what it
// needs to know is in it, and nothing is done by it.
type judge struct {
	now time.Time
	// asked is when the look was begun whose answer is judged: an answer that a
	// stopped process reads minutes later is as old as its question. Zero is now.
	asked      time.Time
	rules      supplier.Rules
	timing     Timing
	outOfStock string
	jitter     float64 // 0 to 1
}

// next begins the record that follows cur: what belongs to cur's state alone goes.
func (j judge) next(cur *order.Record) order.Record {
	r := *cur
	r.At, r.NotBefore, r.WaitingFor, r.Error, r.Reason, r.Evidence = j.now, nil, "", nil, "", order.EvidenceNone
	return r
}

// intend is the record to be durable before a call that may spend money.
func (j judge) intend(cur *order.Record, permit supplier.Permit, requestID string, balance *order.Money) order.Record {
	r := j.next(cur)
	r.State, r.Certainty = order.Intent, order.CertainUnknown
	r.Attempt++
	r.Looks = 0
	r.SupplierRequestID = requestID
	now := j.now
	r.LastSentAt = &now
	if proof, certain := permit.NotPlaced(); certain {
		// Whatever was sent before placed nothing.
		r.Evidence, r.Reason = proof.Evidence()
		r.FirstSentAt, r.Resends, r.InDoubt = &now, 0, false
	} else {
		r.Resends++
	}
	if r.BalanceBefore == nil {
		r.BalanceBefore = balance
	}
	return r
}

// there is an order that the supplier has, by whatever proves it.
func (j judge) there(cur *order.Record, p supplier.Placement, evidence order.Evidence) order.Record {
	r := j.next(cur)
	r.Certainty, r.Evidence, r.InDoubt, r.Looks = order.CertainPlaced, evidence, false, 0
	if p.SupplierOrderID != "" {
		r.SupplierOrderID = p.SupplierOrderID
	}
	if p.SupplierOrderNumber != "" {
		r.SupplierOrderNumber = p.SupplierOrderNumber
	}
	r.ESIMs = mergeESIMs(r.ESIMs, p.ESIMs)
	if p.Total != nil {
		r.Total = p.Total
	}
	if p.Balance != nil {
		r.Balance = p.Balance
	}
	if proof, failed := order.GivenUp(p.State, evidence); failed {
		return proof.Reject(r, &order.Error{Kind: string(supplier.Refused), Code: "(failed)", Message: "the supplier gave the order up"})
	}
	switch {
	case r.SupplierOrderID == "":
		return j.hold(r, order.CertainPlaced, "the supplier has the order, and under what id is not known")
	case p.State == order.Refunded && order.CanMove(cur.State, order.Refunded):
		r.State = order.Refunded
	case p.State == order.Refunded:
		r.State = order.Placed // first what was bought; the next look finds the refund
		now := j.now
		r.NotBefore = &now
	case p.State == order.Fulfilled && !delivered(&r, evidence):
		r.State = order.Placed // whoever says that it is there did not bring it; the next look does
		now := j.now
		r.NotBefore = &now
	case p.State == order.Fulfilled:
		r.State = order.Fulfilled
	default:
		r.State = order.Placed
		r.NotBefore = j.in(j.fulfilInterval())
	}
	return r
}

// hold stops an order for a person, who is told why.
func (j judge) hold(cur order.Record, certainty order.Certainty, why string) order.Record {
	r := cur
	r.At, r.NotBefore, r.WaitingFor = j.now, nil, ""
	r.State, r.Certainty, r.Reason = order.Held, certainty, why
	return r
}

// unknown is an order that may have been placed: it is looked at before anything
// else is done with it.
func (j judge) unknown(r order.Record, look time.Duration) order.Record {
	r.State, r.Certainty, r.InDoubt = order.Unknown, order.CertainUnknown, true
	r.NotBefore = j.in(look)
	return r
}

// backoff is the wait after attempt number n: doubled each time, with jitter so
// that what was refused together does not come back together.
func (j judge) backoff(n int) time.Duration {
	d := j.timing.WaitMin
	for i := 1; i < n && d < j.timing.WaitMax; i++ {
		d *= 2
	}
	d = min(d, j.timing.WaitMax)
	return d + time.Duration(j.jitter*0.2*float64(d))
}

func (j judge) in(d time.Duration) *time.Time {
	t := j.now.Add(d)
	return &t
}

func (j judge) settle() time.Duration {
	if j.timing.Settle > 0 {
		return j.timing.Settle
	}
	return j.rules.Settle
}

func (j judge) lookInterval() time.Duration {
	if j.timing.LookInterval > 0 {
		return j.timing.LookInterval
	}
	return j.rules.LookInterval
}

func (j judge) fulfilInterval() time.Duration {
	if j.timing.LookInterval > 0 {
		return j.timing.LookInterval
	}
	return j.rules.FulfilInterval
}

// settled says whether "not found" may be believed by now.
func (j judge) settled(r order.Record) bool {
	at := j.now
	if !j.asked.IsZero() {
		at = j.asked
	}
	return r.LastSentAt == nil || !at.Before(r.LastSentAt.Add(j.settle()))
}

// sighted is the outcome of a look that found the order. What its supplier is done
// with and does not show whole, no look will end: a person has to.
func (j judge) sighted(cur order.Record, s supplier.Sighting) order.Record {
	seen := cur.Logged(order.Look{At: j.now, Where: s.Where, Said: "found"})
	r := j.there(&seen, s.Placement, order.EvidenceLookup)
	if len(s.Mismatch) > 0 && (cur.State == order.Unknown || cur.State == order.Intent) {
		return j.hold(r, order.CertainUnknown, fmt.Sprintf("the order under our id there is another: %v", s.Mismatch))
	}
	if s.Partial && r.State == order.Placed {
		return j.hold(r, order.CertainPlaced, fmt.Sprintf("completed at the supplier, which shows %d of %d eSIMs here: its dashboard has the rest",
			named(s.ESIMs), cur.Request.Quantity))
	}
	return r
}

// heldAsPlaced says whether an order is held although all is known but what was
// bought: that it was placed, and under what id.
func heldAsPlaced(r *order.Record) bool {
	return r.State == order.Held && r.There()
}

// notSeen is the outcome of a look that did not find the order. Once that has been
// heard often and late enough it proves that the order was not placed, and permits
// to send it.
func (j judge) notSeen(cur order.Record, where string) (r order.Record, permit supplier.Permit) {
	r = cur.Logged(order.Look{At: j.now, Where: where, Said: "not_found"})
	r.At, r.Evidence, r.Reason = j.now, order.EvidenceLookup, ""
	if j.settled(cur) {
		r.Looks++
	}
	if r.Looks >= max(1, j.rules.Looks) {
		if cur.Error != nil && cur.Error.Kind == string(supplier.Exists) {
			return j.hold(r, order.CertainUnknown, "the supplier says that the order exists already, and no look finds it"), permit
		}
		if proof, proven := order.NotFound(r, j.rules.Looks); proven {
			return r, supplier.PermitNew(proof)
		}
		r.Looks-- // the next look concludes: an intent becomes unknown first
	}
	return j.unknown(r, j.lookInterval()), permit
}

// notTold is the outcome of a look that got no answer.
func (j judge) notTold(cur order.Record, where string, err error) order.Record {
	e := supplier.AsError(where, err)
	r := cur.Logged(order.Look{At: j.now, Where: e.Op, Said: "error: " + string(e.Kind) + " " + e.Code})
	r.At = j.now
	r.Evidence = order.EvidenceNone
	return j.unknown(r, max(j.lookInterval(), e.RetryAfter))
}

// unanswerable holds an order that no look and no safe repeat can settle.
func (j judge) unanswerable(cur *order.Record) order.Record {
	r := j.next(cur)
	r.Error = cur.Error
	if cur.Error == nil || cur.Error.Kind != string(supplier.Exists) {
		return j.hold(r, order.CertainUnknown, "it may have been placed, and the supplier offers no way to find out")
	}
	r.Evidence = order.EvidenceDuplicate
	if j.rules.RefusalBurnsID {
		// The request arrived once. What it was answered is not known: an answer that was
		// lost may have been a refusal.
		return j.hold(r, order.CertainUnknown, "the supplier has had this request before, and does not tell what became of it")
	}
	return j.hold(r, order.CertainPlaced, "the supplier has the order, and does not tell its details")
}
