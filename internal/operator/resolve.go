package operator

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

// Resolution is a person's word about an order that nobody else can settle.
type Resolution struct {
	// As is one of the constants below.
	As string
	// SupplierOrderID is the order's id there; needed unless it was not placed or we
	// know it.
	SupplierOrderID string
	// ESIMs are those that a person saw at the supplier of an order that is fulfilled,
	// as wire.DecodeESIMs reads them; nil: none beyond those that we know.
	ESIMs []byte
	// SendAgain: not placed, and to be bought now instead of rejected.
	SendAgain bool
}

// What a Resolution may say.
const (
	// AsPlaced: the supplier has the order. Orderer looks after it from there.
	AsPlaced = "placed"
	// AsFulfilled: what was bought is there, however much of it the look-ups show. It
	// ends the order.
	AsFulfilled = "fulfilled"
	AsNotPlaced = "not-placed"
)

// Resolve hands a person's word to orderer and returns the order as it was. What
// orderer makes of it: Await.
func (o *Operator) Resolve(ctx context.Context, who Who, id string, res Resolution) (ledger.Entry, error) {
	cur, err := o.Order(ctx, id)
	if err != nil {
		return cur, err
	}
	ev, err := res.evidence(&cur.Record)
	if err != nil {
		return cur, err
	}
	if strings.TrimSpace(who.Reason) == "" {
		return cur, invalid("a reason is missing: it is the audit")
	}
	ev.ObservedAt, ev.Actor, ev.Reason = o.now().UTC(), who.Actor, who.Reason
	if err := ev.Validate(); err != nil {
		return cur, invalid("%w", err)
	}
	detail := map[string]string{"as": res.As, "state": string(cur.State)}
	if ev.SupplierOrderID != "" {
		detail["supplier_order_id"] = ev.SupplierOrderID
	}
	if len(ev.ESIMs) > 0 {
		detail["esims"] = strconv.Itoa(len(ev.ESIMs))
	}
	if res.SendAgain {
		detail["send_again"] = "true"
	}
	if err := o.Audit(ctx, who, wire.ActOrderResolve, id, detail); err != nil {
		return cur, err
	}
	env, err := wire.NewEnvelope(wire.TypeEvidence, wire.Source(o.via), id, "", ev.ObservedAt, ev)
	if err != nil {
		return cur, err
	}
	data, err := env.Marshal()
	if err != nil {
		return cur, err
	}
	_, err = o.bus.Publish(ctx, bus.NewMsg(bus.SubjectEvidence(ev.Supplier, ev.OrderID), env.ID, data))
	// If we die here: orderer has the evidence and acts on it; its event names the person.
	return cur, err
}

// evidence is what a resolution says of the order, or why it cannot be said of it.
func (res Resolution) evidence(cur *order.Record) (wire.Evidence, error) {
	ev := wire.Evidence{OrderID: cur.OrderID, Supplier: cur.Supplier, Account: cur.Account, Source: order.EvidencePerson,
		Certainty: order.CertainPlaced, SupplierOrderID: res.SupplierOrderID, SendAgain: res.SendAgain}
	switch {
	case cur.State.Settled():
		return ev, invalid("order %s is %s: nothing to resolve", cur.OrderID, cur.State)
	case res.As != AsFulfilled && res.ESIMs != nil:
		return ev, invalid("eSIMs belong to an order that is fulfilled")
	case res.As == AsNotPlaced:
		if res.SendAgain && cur.State != order.Held {
			return ev, invalid("order %s is %s: only a held order is sent again by a person", cur.OrderID, cur.State)
		}
		if res.SendAgain && cur.There() {
			return ev, invalid("order %s is there, as %s: it is not sent again", cur.OrderID, cur.SupplierOrderID)
		}
		ev.Certainty, ev.SupplierOrderID = order.CertainNotPlaced, ""
		return ev, nil
	case res.As != AsPlaced && res.As != AsFulfilled:
		return ev, invalid("%q is not placed, fulfilled or not-placed", res.As)
	case res.SendAgain:
		return ev, invalid("what is placed is not sent again")
	case res.SupplierOrderID == "" && cur.SupplierOrderID == "":
		return ev, invalid("placed under what id? The supplier's order id is missing")
	case res.As == AsPlaced && placedAlready(cur, res.SupplierOrderID):
		return ev, invalid("that order %s is placed, as %s, is known: say fulfilled if what was bought is there", cur.OrderID, cur.SupplierOrderID)
	case res.As == AsPlaced:
		return ev, nil
	}
	ev.StateThere = string(order.Fulfilled)
	var err error
	ev.ESIMs, err = res.esims(cur)
	return ev, err
}

// placedAlready says whether it is known that an order was placed, and under that id:
// to say so moves nothing.
func placedAlready(cur *order.Record, id string) bool {
	return cur.State == order.Placed || cur.There() && (id == "" || id == cur.SupplierOrderID)
}

// esims are those that a person brings to an order that is fulfilled: of eSIMs no
// more than were bought, and one at least if none is known.
func (res Resolution) esims(cur *order.Record) ([]order.ESIM, error) {
	var brought []order.ESIM
	if res.ESIMs != nil {
		var err error
		if brought, err = wire.DecodeESIMs(res.ESIMs); err != nil {
			return nil, invalid("eSIMs: %w", err)
		}
	}
	if cur.Product != order.ProductESIM {
		if len(brought) > 0 {
			return nil, invalid("order %s is of no eSIM but of a %s", cur.OrderID, cur.Product)
		}
		return nil, nil
	}
	known := cur.ESIMs
	if res.SupplierOrderID != "" && cur.SupplierOrderID != "" && res.SupplierOrderID != cur.SupplierOrderID {
		known = nil // of the order there that this was taken for
	}
	all, bought := map[string]bool{}, max(1, cur.Request.Quantity)
	for _, e := range slices.Concat(known, brought) {
		if e.ICCID != "" {
			all[e.ICCID] = true
		}
	}
	switch {
	case len(all) == 0:
		return nil, invalid("no eSIM of order %s is known: bring what the supplier's dashboard shows (simctl order resolve, --esims FILE)", cur.OrderID)
	case len(all) > bought && len(brought) > 0:
		return nil, invalid("order %s is of %d eSIMs: with those that are known these are %d", cur.OrderID, bought, len(all))
	}
	return brought, nil
}
