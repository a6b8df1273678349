package orderer

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/sim/fault"
	"github.com/simline/simline/internal/supplier/esimfly"
	"github.com/simline/simline/internal/wire"
)

func TestEachProductIsBoughtOnceAndFulfilled(t *testing.T) {
	w := newWorld(t)
	wait := w.events()
	w.run()
	for i, p := range products {
		w.publish(p.request(fmt.Sprint("p", i)))
	}
	for i, p := range products {
		t.Run(p.name, func(t *testing.T) {
			r := p.request(fmt.Sprint("p", i))
			got := wait(r.OrderID, order.Fulfilled)
			if got.Certainty != order.CertainPlaced || got.SupplierOrderID == "" || got.Attempt != 1 {
				t.Errorf("fulfilled as %+v", got)
			}
			if n := w.bought(r); n != 1 {
				t.Errorf("bought %d times", n)
			}
			if r.Product == order.ProductESIM && len(got.ESIMs) != max(1, r.Quantity) {
				t.Errorf("%d eSIMs in hand, want %d", len(got.ESIMs), max(1, r.Quantity))
			}
		})
	}
	w.settled()
}

// settled waits until nobody has a request before it and the index is empty.
func (w *world) settled() {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		queued, open := w.left()
		if queued == 0 && open == 0 {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%d messages left in the queue, %d orders in the index", queued, open)
		}
		tick(w.t)
	}
}

// tick waits a moment for the worker to go on.
func tick(t testing.TB) {
	t.Helper()
	select {
	case <-time.After(5 * time.Millisecond):
	case <-t.Context().Done():
	}
}

func (w *world) left() (queued uint64, open int) {
	w.t.Helper()
	for _, s := range order.Suppliers {
		f, err := w.bus.Floor(w.t.Context(), bus.StreamOrders, bus.ConsumerOrderer(s))
		if err != nil {
			w.t.Fatal(err)
		}
		queued += f.NumPending + uint64(f.NumAckPending)
	}
	for _, err := range w.ledger.All(w.t.Context()) {
		if err != nil {
			w.t.Fatal(err)
		}
		open++
	}
	return queued, open
}

// lying is how many messages a stream holds.
func (w *world) lying(stream string) uint64 {
	w.t.Helper()
	s, err := w.bus.JS.Stream(w.t.Context(), stream)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func TestTheSameRequestAgainAndAnotherBody(t *testing.T) {
	w := newWorld(t)
	wait := w.events()
	w.run()
	r := packageOrder("twice")
	w.publish(r)
	first := wait("twice", order.Fulfilled)
	w.publish(r)
	other := r
	other.Metadata = json.RawMessage(`{"changed":true}`)
	w.publish(other)
	letter := w.dead(bus.StreamOrders)
	if letter.reason != wire.ReasonConflict || !strings.Contains(letter.text, "twice") {
		t.Errorf("dead letter %+v, want a conflict that names the order", letter)
	}
	w.settled()
	cur, _, err := w.ledger.Get(t.Context(), "twice")
	if err != nil || cur.Writer != first.Writer {
		t.Errorf("the first order was touched: %+v, %v", cur, err)
	}
	if o, _ := w.eiotclub.Order("twice"); w.bought(r) != 1 || o.Calls != 1 {
		t.Errorf("bought %d times in %d calls", w.bought(r), o.Calls)
	}
}

type letter struct{ reason, text, origin, order string }

// dead waits for the next dead letter of a stream.
func (w *world) dead(stream string) letter {
	w.t.Helper()
	cons, err := w.bus.JS.OrderedConsumer(w.t.Context(), bus.StreamDead, jetstream.OrderedConsumerConfig{FilterSubjects: []string{bus.SubjectDead(stream)}})
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := cons.Next(jetstream.FetchMaxWait(patience))
	if err != nil {
		w.t.Fatalf("no dead letter: %v", err)
	}
	return letter{m.Headers().Get(bus.HeaderReason), m.Headers().Get(bus.HeaderError), m.Headers().Get(bus.HeaderOrigin), m.Headers().Get(bus.HeaderOrder)}
}

// Each call of a purchase goes wrong once; whatever it was, the order is bought at
// most once, and ends right or held.
func TestOneFaultEach(t *testing.T) {
	faults := []fault.Rule{
		{Kind: fault.Reset}, {Kind: fault.LostReply}, {Kind: fault.StatusBefore}, {Kind: fault.StatusAfter}, {Kind: fault.HalfBody},
		{Kind: fault.HTMLBefore}, {Kind: fault.HTMLAfter}, {Kind: fault.HugeBody}, {Kind: fault.TooManyRequests}, {Kind: fault.NoFunds}, {Kind: fault.OutOfStock},
		{Kind: fault.SlowAfter, Delay: fault.Duration(2 * impatient().Timeout)}, {Kind: fault.SlowBefore, Delay: fault.Duration(impatient().Timeout / 10)},
	}
	w := newWorldAt(t, impatient())
	w.calm()
	wait := w.events()
	w.run()
	type one struct {
		name    string
		request order.Request
	}
	var all []one
	for i, f := range faults {
		for k, p := range products {
			r := p.request(fmt.Sprintf("f%d-%d", i, k))
			if r.ICCID != "" {
				r.ICCID = fmt.Sprintf("89883086501009%05d", i)
			}
			set, rule := w.eiotclub.Faults(), f
			rule.Times, rule.Order = 1, r.OrderID
			if r.Supplier == order.ESIMFly {
				set, rule.Order = w.esimfly.Faults(), esimfly.RequestID(r.OrderID, 0)
			}
			set.MustAdd(rule)
			w.publish(r)
			all = append(all, one{string(f.Kind) + " " + p.name, r})
		}
	}
	for _, o := range all {
		got := wait(o.request.OrderID, order.Fulfilled, order.Held, order.Rejected)
		n := w.bought(o.request)
		switch {
		case n > 1:
			t.Errorf("%s: bought %d times", o.name, n)
		case got.State == order.Rejected && n != 0:
			t.Errorf("%s: rejected, and bought", o.name)
		case got.State == order.Fulfilled && n != 1:
			t.Errorf("%s: fulfilled, and bought %d times", o.name, n)
		case got.State == order.Held && got.Certainty == order.CertainPlaced && n != 1:
			t.Errorf("%s: held as placed, and bought %d times", o.name, n)
		}
	}
}
