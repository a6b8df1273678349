package orderer

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/supplier/esimfly"
	"github.com/simline/simline/internal/wire"
)

// notice is what others say of the order: a cancel, a notification, evidence. Like the
// queue's message it comes again until it is acknowledged.
type notice struct {
	what   string
	labMsg labMsg
	handle func(*Worker, context.Context, message) bus.Verdict
	end    func(bus.Verdict)
}

func (r *run) post(l *notice) {
	r.note("%s", l.what)
	r.mail = append(r.mail, l)
}

// read gives the oldest notice to the present process.
func (r *run) read(ctx context.Context) {
	l, life := r.mail[0], r.life
	l.labMsg.n++
	r.note("%s, delivery %d", l.what, l.labMsg.n)
	v := l.handle(life.Worker, ctx, l.labMsg)
	if life.dead {
		return
	}
	if d, again := v.Delay(); again {
		r.clock = r.clock.Add(d)
		return
	}
	m := &mortal{run: r, life: life}
	_ = m.op("ack", func() error {
		r.mail = slices.DeleteFunc(r.mail, func(other *notice) bool { return other == l })
		return nil
	})
	if l.end != nil {
		l.end(v)
	}
}

// cancel is upstream's.
func (r *run) cancel() {
	data := fmt.Appendf(nil, `{"order_id":%q,"account":"default","reason":"changed my mind"}`, r.req.OrderID)
	r.post(&notice{what: "cancel", labMsg: labMsg{subject: bus.SubjectCancel(r.req.Supplier), data: data}, handle: (*Worker).handle,
		end: func(v bus.Verdict) { r.cancelled = r.cancelled || v.IsDone() }})
}

// missed is a reconciler that did not find the order.
func (r *run) missed() {
	if n := len(r.history); n == 0 || r.history[n-1].Certainty == order.CertainPlaced {
		return // that would be a contradiction, and set aside as one
	}
	r.evidence("evidence: not found", wire.Evidence{Source: order.EvidenceLookup, Certainty: order.CertainNotPlaced})
}

// person says of an order that is held what the supplier's book has. Of eSIMfly's it
// may be that it is there, which its look then shows in part, and in the end all of it.
func (r *run) person() {
	r.ruled++
	ev := wire.Evidence{Source: order.EvidencePerson, Certainty: order.CertainNotPlaced, Actor: "lab", Reason: "asked the supplier"}
	if n, id := r.bought(); n > 0 {
		ev.Certainty, ev.SupplierOrderID = order.CertainPlaced, id
		if r.req.Supplier == order.ESIMFly && (r.ruled > 1 || r.rng.IntN(2) == 0) {
			ev.StateThere, ev.ESIMs = string(order.Fulfilled), r.theirESIMs()
		}
	}
	r.evidence("a person's word: "+string(ev.Certainty)+" "+ev.StateThere, ev)
}

// mayBeHeld says whether a person has something to say yet.
func (r *run) mayBeHeld(cur *order.Record) bool {
	return r.ruled == 0 || r.ruled == 1 && r.req.Supplier == order.ESIMFly && heldAsPlaced(cur)
}

func (r *run) theirESIMs() (out []order.ESIM) {
	for round := range 30 {
		if o, ok := r.esimfly.Order(esimfly.RequestID(r.req.OrderID, round)); ok {
			for _, e := range o.ESims {
				out = append(out, order.ESIM{ICCID: e.ICCID, QRCodeURL: e.QRCode})
			}
		}
	}
	return out
}

func (r *run) evidence(what string, ev wire.Evidence) {
	ev.OrderID, ev.Supplier, ev.Account, ev.ObservedAt = r.req.OrderID, r.req.Supplier, order.DefaultAccount, r.clock
	data, err := json.Marshal(ev)
	if err != nil {
		panic(err)
	}
	r.post(&notice{what: what, labMsg: labMsg{subject: bus.SubjectEvidence(ev.Supplier, ev.OrderID), data: data}, handle: (*Worker).handleEvidence})
}

// notify brings the supplier's own notification, if it has the order.
func (r *run) notify() {
	o, ok := r.eiotclub.Order(r.req.OrderID)
	if !ok || r.req.Supplier != order.EIOTCLUB || r.req.Product == order.ProductESIM || r.req.Product == order.ProductPoolPackage {
		return
	}
	event, row := eiotclub.EventSubPkgList, fmt.Sprintf(`{"iccid":%q,"orderId":"%d","packageCode":%q,"outTradeNo":%q,"state":"1","salesChannel":"API"}`, o.ICCID, o.OrderID, o.Code, o.OutTradeNo)
	if r.req.Product == order.ProductCloudESIMPackage {
		event, row = eiotclub.EventCloudSubPkgList, fmt.Sprintf(`{"eid":%q,"eshopOrderId":"%d","packageCode":%q,"outTradeNo":%q,"state":"1","salesChannel":"API"}`, o.EID, o.OrderID, o.Code, o.OutTradeNo)
	}
	body := fmt.Sprintf(`{"id":"n1","timestamp":%d,"nonce":12345,"sign":"x","event":%q,"data":%q}`, r.clock.Unix(), event, "["+row+"]")
	r.post(&notice{what: "notification", labMsg: labMsg{subject: bus.SubjectWebhook(order.EIOTCLUB, "default", event), data: envelope(r.t, event, body)},
		handle: (*Worker).handleNotification, end: func(v bus.Verdict) {
			// Unless the supplier hid the order for longer than its table says.
			if reason, dead := v.IsDead(); dead && !(r.lookedFor() && r.hidden()) {
				r.wrong("a true notification became a dead letter: %s", reason)
			}
		}})
}

// patient is how long the index may list an order that is settled, once nothing of it
// is on its way any more.
var patient = max(farOff, labTiming.claim())

// listed holds the index's entry against what became of its order.
func (r *run) listed(due time.Time) {
	n := len(r.history)
	if n > 0 && r.history[n-1].State.Settled() && !r.queued && len(r.mail) == 0 && due.After(r.clock.Add(patient)) {
		r.wrong("%s, and listed as open for %s more", r.history[n-1].State, due.Sub(r.clock))
	}
}
