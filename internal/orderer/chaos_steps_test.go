package orderer

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/sim/fault"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/esimfly"
)

// mayPlace holds a purchase against what the engine may do, known from outside.
func (r *run) mayPlace(ctx context.Context, p supplier.Purchase) {
	cur, found, err := r.ledger.Get(ctx, r.req.OrderID)
	switch {
	case err != nil:
		r.wrong("the ledger cannot be read: %v", err)
		return
	case !found || cur.State != order.Intent:
		r.wrong("a purchase without a durable intent (%s)", cur.State)
	case cur.SupplierRequestID != r.clients[p.Supplier].RequestID(p.OrderID, p.Round):
		r.wrong("a purchase under another request id than its intent's")
	}
	if r.req.ExpiresAt != nil && !r.clock.Before(*r.req.ExpiresAt) {
		r.wrong("a purchase after expires_at")
	}
	if r.cancelled && cur.CancelRequested {
		r.wrong("a purchase after a cancel was taken")
	}
	if r.spendStop {
		r.wrong("a purchase while spending is stopped")
	}
	if r.req.MaxTotal != nil && r.req.MaxTotal.Amount.IntPart() < 1 {
		r.wrong("a purchase above max_total")
	}
	if len(r.sends) == 0 {
		return
	}
	last, first := r.sends[len(r.sends)-1], r.sends[len(r.sends)-1].at
	resends := 0
	for i := len(r.sends) - 1; i >= 0 && r.sends[i].outcome == order.CertainUnknown; i-- {
		first = r.sends[i].at
		resends++
	}
	switch {
	case last.outcome == order.CertainPlaced:
		r.wrong("a purchase after one that was accepted")
	case last.outcome == order.CertainNotPlaced && resends == 0:
		// A certain refusal allows another call, and a new round.
	case p.Round != last.round:
		r.wrong("a new round after an outcome that nobody knows")
	case r.rules.LookupByOurID && r.misses < r.rules.Looks:
		r.wrong("a blind repeat: %d late looks of %d", r.misses, r.rules.Looks)
	case !r.rules.LookupByOurID && r.clock.Before(last.at.Add(r.rules.Settle)):
		r.wrong("a repeat before the supplier has settled")
	case !r.rules.LookupByOurID && resends > max(1, r.rules.Looks):
		r.wrong("repeat number %d of a call in doubt", resends)
	case r.rules.RepeatWindow > 0 && !r.clock.Before(first.Add(r.rules.RepeatWindow)):
		r.wrong("a repeat after the supplier has forgotten the first")
	}
}

// labMsg is a queue message.
type labMsg struct {
	subject string
	data    []byte
	n       uint64
}

func (m labMsg) Subject() string { return m.subject }
func (m labMsg) Data() []byte    { return m.data }
func (m labMsg) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{NumDelivered: m.n}, nil
}

// step lets the present process do one thing with the order; false if nothing is
// left to do.
func (r *run) step() bool {
	if r.life == nil || r.life.dead {
		if r.life != nil {
			r.clock = r.clock.Add(labTiming.AckWait)
		}
		r.life = r.newLife()
	}
	ctx := context.Background()
	if len(r.mail) > 0 && (!r.queued || r.rng.IntN(2) == 0) {
		r.read(ctx)
		return true
	}
	if r.queued {
		r.deliver(ctx)
		return true
	}
	o, ok := r.entry(ctx)
	if !ok {
		return false
	}
	r.listed(o.Due)
	if n := len(r.history); n > 0 && r.history[n-1].State == order.Held && o.State == order.Held {
		return false // a person's turn
	}
	if o.Due.After(r.clock) {
		r.clock = o.Due
	}
	if r.life.isDue(o) {
		r.note("sweep %s", o.State)
		r.life.resume(ctx, o)
	} else {
		r.clock = r.clock.Add(labTiming.Sweep)
	}
	return true
}

func (r *run) entry(ctx context.Context) (ledger.Open, bool) {
	e, err := r.open.Get(ctx, r.req.OrderID)
	if err != nil && r.paged != nil {
		return *r.paged, true
	}
	if err != nil {
		return ledger.Open{}, false
	}
	o := ledger.Open{Revision: e.Revision()}
	if err := json.Unmarshal(e.Value(), &o); err != nil {
		r.wrong("entry: %v", err)
	}
	return o, true
}

func (r *run) message() labMsg {
	data, err := json.Marshal(r.req)
	if err != nil {
		panic(err)
	}
	return labMsg{bus.SubjectRequest(r.req.Supplier, r.req.Product), data, r.delivered}
}

// deliver gives the queue's message to the present process.
func (r *run) deliver(ctx context.Context) {
	r.delivered++
	r.note("delivery %d", r.delivered)
	life := r.life
	if r.bug != nil && r.bug.ackFirst {
		r.queued = false
	}
	v := life.handle(ctx, r.message())
	if life.dead {
		return
	}
	m := &mortal{run: r, life: life}
	if d, again := v.Delay(); again {
		r.clock = r.clock.Add(d)
		return
	}
	if reason, dead := v.IsDead(); dead {
		r.wrong("dead letter: %s", reason)
		r.queued = false
		return
	}
	_ = m.op("ack", func() error {
		cur, found, err := r.ledger.Get(ctx, r.req.OrderID)
		if err != nil || !found {
			r.wrong("acknowledged without an event: %v", err)
		} else if _, guarded := r.entry(ctx); !cur.State.Settled() && !guarded {
			r.wrong("acknowledged while %s and not guarded", cur.State)
		}
		r.queued = false
		return nil
	})
}

// run runs the order to its end: that which it comes to by itself and, if that is a
// person's turn, that which a person gives it.
func (r *run) run() {
	ctx := context.Background()
	for i := 0; ; i++ {
		if i > 300 {
			r.wrong("no end after %d steps", i)
			return
		}
		r.disturb(ctx, i)
		if r.step() {
			continue
		}
		if r.verify(ctx) != order.Held || len(r.faults) > 0 {
			return
		}
		r.person()
	}
}

// disturb is what others do meanwhile.
func (r *run) disturb(ctx context.Context, step int) {
	if r.life == nil || r.life.dead || r.plan.op != "" {
		return
	}
	switch r.rng.IntN(40) {
	case 0:
		if !r.queued { // upstream sends the same request again
			r.queued, r.delivered = true, 0
		}
	case 1:
		if !r.cancelled && r.rng.IntN(3) == 0 {
			r.cancel()
		}
	case 2, 3:
		r.notify()
	case 4:
		r.spendStop = !r.spendStop
		r.life.switches.on["all.spend_stop"] = r.spendStop
	case 5:
		r.note("conflicting request")
		other := r.req
		other.Metadata = json.RawMessage(`{"other":true}`)
		data, _ := json.Marshal(other)
		if len(r.history) > 0 {
			if v := r.life.handle(ctx, labMsg{r.message().subject, data, 2}); v.IsDone() {
				r.wrong("another body under the same id was taken")
			}
		}
	case 6:
		if r.req.Supplier == order.ESIMFly || r.rng.IntN(3) == 0 {
			r.note("a night passes")
			r.clock = r.clock.Add(25 * time.Hour)
		}
	case 7:
		r.missed()
	}
	if step > 30 {
		r.spendStop = false
		r.life.switches.on["all.spend_stop"] = false
	}
}

// verify holds the order's end against the supplier's book.
func (r *run) verify(ctx context.Context) order.State {
	cur, found, err := r.ledger.Get(ctx, r.req.OrderID)
	if err != nil || !found {
		r.wrong("the order is lost: %v", err)
		return ""
	}
	bought, theirID := r.bought()
	r.note("ends %s (%s, %s) %s, bought %d times", cur.State, cur.Certainty, cur.Evidence, cur.Reason, bought)
	if bought > 1 {
		r.wrong("bought %d times", bought)
	}
	_, guarded := r.entry(ctx)
	switch {
	case cur.State == order.Held && !guarded:
		r.wrong("held and not in the index")
	case cur.State == order.Held && !r.mayBeHeld(&cur.Record):
		r.wrong("held after a person's word: %s", cur.Reason)
	case cur.State != order.Held && !cur.State.Settled():
		r.wrong("left as %s", cur.State)
	}
	switch {
	case cur.Certainty == order.CertainPlaced && bought == 0:
		r.wrong("reported %s as placed, and not bought", cur.State)
	case cur.Certainty == order.CertainNotPlaced && bought > 0 && r.lookedFor() && r.hidden():
		// The supplier hid it for longer than its table says, from every look; that it
		// was then cancelled or expired stands on the same proof. The reconciler finds it.
	case cur.Certainty == order.CertainNotPlaced && bought > 0:
		r.wrong("reported %s as not placed, and bought", cur.State)
	case cur.State == order.Fulfilled && cur.Product == order.ProductESIM && !inHand(cur.ESIMs):
		r.wrong("reported as fulfilled without the eSIM")
	case cur.SupplierOrderID != "" && bought > 0 && cur.SupplierOrderID != theirID:
		r.wrong("reported as %s, and is %s there", cur.SupplierOrderID, theirID)
	}
	// Where the supplier tells, nothing may be left to a person that a look settles.
	if cur.State == order.Held && r.rules.LookupByOurID && bought == 1 && !r.hidden() && !cur.CancelRequested && r.req.ExpiresAt == nil {
		r.wrong("held although a look finds it: %s", cur.Reason)
	}
	return cur.State
}

// lookedFor: late looks proved that the order was not placed.
func (r *run) lookedFor() bool {
	return slices.ContainsFunc(r.history, func(e order.Record) bool {
		return e.Certainty == order.CertainNotPlaced && e.Evidence == order.EvidenceLookup
	})
}

func (r *run) hidden() bool {
	return slices.ContainsFunc(r.plan.faults, func(f fault.Rule) bool { return f.Kind == fault.Hide })
}

func (r *run) bought() (n int, id string) {
	if r.req.Supplier == order.EIOTCLUB {
		n = r.eiotclub.Purchases(r.req.OrderID)
		if o, ok := r.eiotclub.Order(r.req.OrderID); ok {
			id = o.ID()
		}
		for i := range 12 { // under ids that only a bug would make
			n += r.eiotclub.Purchases(fmt.Sprintf("%s-%d", r.req.OrderID, i))
		}
		return n, id
	}
	for round := range 30 {
		request := esimfly.RequestID(r.req.OrderID, round)
		k := r.esimfly.Purchases(request)
		n += k
		if o, ok := r.esimfly.Order(request); ok && k > 0 {
			id = o.Reference
		}
	}
	return n, id
}
