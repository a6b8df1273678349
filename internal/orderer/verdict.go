package orderer

import (
	"strings"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// verdict is the one place where a supplier's answer to a purchase becomes what
// is done with the order: settled, looked at, tried again, or held.
func (j judge) verdict(intent *order.Record, p supplier.Placement, err error) order.Record {
	if err == nil {
		return j.there(intent, p, order.EvidenceReply)
	}
	e := supplier.AsError("purchase", err)
	r := j.next(intent)
	r.Error = errorOf(e)
	proof, notPlaced := order.RefusedCall(intent, e.Certainty(), e.Sent)
	if !strings.HasPrefix(e.Code, "(") || e.Sent && e.Certainty() == order.CertainNotPlaced {
		r.Evidence = order.EvidenceReply
	}
	switch {
	case e.Kind == supplier.Exists:
		return j.exists(r, e)
	case !notPlaced:
		// Nobody knows; or this call was refused, which says nothing of the one before
		// it: a purchase that went through is refused the second time for want of money,
		// too.
		return j.unknown(r, j.firstLook())
	}
	if e.Sent {
		r.Round++
	}
	switch {
	case e.Kind == supplier.Refused, e.Kind == supplier.Price,
		e.Kind == supplier.OutOfStock && j.outOfStock == "reject":
		return proof.Reject(r, r.Error)
	}
	return proof.Wait(r, waitingFor(e), j.now.Add(max(j.backoff(r.Attempt), e.RetryAfter)))
}

// exists is a purchase refused because our id is there already.
func (j judge) exists(r order.Record, e *supplier.Error) order.Record {
	if e.Existing != nil && e.Existing.SupplierOrderID != "" {
		return j.there(&r, *e.Existing, order.EvidenceDuplicate)
	}
	r.Evidence = order.EvidenceDuplicate
	return j.unknown(r, 0) // and is looked up at once
}

// firstLook is how long after a call without an answer the first look makes sense.
func (j judge) firstLook() time.Duration {
	if j.rules.LookupByOurID {
		return min(j.lookInterval(), j.settle())
	}
	return j.settle()
}

func waitingFor(e *supplier.Error) string {
	if !e.Sent {
		return string(supplier.Busy)
	}
	return string(e.Kind)
}

func errorOf(e *supplier.Error) *order.Error {
	out := &order.Error{Kind: string(e.Kind), Code: e.Code, Message: e.Message}
	if out.Message == "" && e.Err != nil {
		out.Message = supplier.Text(e.Err.Error())
	}
	return out
}
