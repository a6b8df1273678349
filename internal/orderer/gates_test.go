package orderer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	eiotclubsim "github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/sim/fault"
)

// What is decided before money moves: the order ends so, and nothing was bought.
func TestGatesThatEndAnOrder(t *testing.T) {
	past := time.Now().Add(-time.Minute)
	money := func(amount, currency string) *order.Money { m := mustMoney(amount, currency); return &m }
	cases := []struct {
		name    string
		product int
		change  func(*order.Request)
		state   order.State
		kind    string
		code    string
	}{
		{"expired", 0, func(r *order.Request) { r.ExpiresAt = &past }, order.Expired, "", ""},
		{"above max_total", 0, func(r *order.Request) { r.MaxTotal = money("0.10", "USD") }, order.Rejected, "price", "max_total"},
		{"eSIM above max_total, in cents there", 1, func(r *order.Request) { r.MaxTotal = money("1.39", "USD") }, order.Rejected, "price", "max_total"},
		{"eSIMfly quantity above max_total", 4, func(r *order.Request) { r.MaxTotal = money("5.43", "USD") }, order.Rejected, "price", "max_total"},
		{"max_total in another currency", 0, func(r *order.Request) { r.MaxTotal = money("100.00", "EUR") }, order.Rejected, "price", "currency"},
		{"no price for pools", 3, func(r *order.Request) { r.MaxTotal = money("100.00", "USD") }, order.Rejected, "price", "price_unknown"},
		{"not offered", 0, func(r *order.Request) { r.MaxTotal = money("100.00", "USD"); r.PackageCode = "NO-SUCH-PACKAGE" }, order.Rejected, "refused", "(not offered)"},
		{"refused by the supplier", 0, func(r *order.Request) { r.PackageCode = "NO-SUCH-PACKAGE" }, order.Rejected, "refused", "41018"},
	}
	w := newWorld(t)
	wait := w.events()
	w.run()
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := products[c.product].request(fmt.Sprint("g", i))
			c.change(&r)
			w.publish(r)
			got := wait(r.OrderID, c.state)
			if got.Certainty != order.CertainNotPlaced {
				t.Errorf("certainty %s", got.Certainty)
			}
			if c.kind != "" && (got.Error == nil || got.Error.Kind != c.kind || got.Error.Code != c.code) {
				t.Errorf("error %+v, want %s %s", got.Error, c.kind, c.code)
			}
			if n := w.bought(r); n != 0 {
				t.Errorf("bought %d times", n)
			}
		})
	}
	t.Run("within max_total", func(t *testing.T) {
		r := products[4].request("within")
		r.MaxTotal = money("5.44", "USD")
		w.publish(r)
		if got := wait("within", order.Fulfilled); got.Total == nil {
			t.Error("no total")
		}
	})
	w.settled()
}

func (w *world) setSwitch(name, value string) {
	w.t.Helper()
	kv, err := w.bus.JS.KeyValue(w.t.Context(), bus.BucketSwitches)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := kv.Put(w.t.Context(), name, []byte(value)); err != nil {
		w.t.Fatal(err)
	}
	for deadline := time.Now().Add(9 * time.Second); ; tick(w.t) { // followed live: a watch that is gone takes 10 s or more
		w.worker.switches.mu.Lock()
		on, known := w.worker.switches.on[name]
		w.worker.switches.mu.Unlock()
		if known && on == SwitchIsOn([]byte(value)) {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("switch %s is not followed", name)
		}
	}
}

func TestSwitchesStopSpendingAndLetItGoOn(t *testing.T) {
	w := newWorld(t)
	set := w.dayClock(time.Now())
	wait := w.events()
	w.run()
	for i, name := range []string{"eiotclub.spend_stop", "all.spend_stop", "eiotclub.pause", "all.pause"} {
		t.Run(name, func(t *testing.T) {
			w.setSwitch(name, `{"on":true,"by":"ann"}`)
			r := packageOrder(fmt.Sprint("s", i))
			w.publish(r)
			if got := wait(r.OrderID, order.Waiting); got.WaitingFor != "switch" {
				t.Errorf("waits for %q", got.WaitingFor)
			}
			if n := w.bought(r); n != 0 {
				t.Errorf("bought %d times", n)
			}
			w.setSwitch(name, `{"on":false}`)
			wait(r.OrderID, order.Fulfilled)
		})
	}
	t.Run("the other supplier goes on", func(t *testing.T) {
		w.setSwitch("eiotclub.pause", "true")
		w.publish(flyOrder("other"))
		wait("other", order.Fulfilled)
	})
	t.Run("an order that expires meanwhile", func(t *testing.T) {
		r := packageOrder("late")
		at := time.Now().Add(time.Hour)
		r.ExpiresAt = &at
		w.publish(r)
		wait("late", order.Waiting)
		set(at)
		wait("late", order.Expired)
	})
	w.settled()
}

// The price may take as long to come as a call may last: what happens meanwhile counts.
func TestGatesThatShutWhileThePriceIsAsked(t *testing.T) {
	w := newWorld(t)
	wait := w.events()
	var meanwhile atomic.Value // func(), what happens until the price is told
	w.front(func(_ string, _ http.ResponseWriter, r *http.Request) bool {
		if do, ok := meanwhile.Load().(func()); ok && strings.HasSuffix(r.URL.Path, "/listOrderPackageByIccid") {
			do()
		}
		return false
	})
	w.run()
	ask := func(id string, expires time.Time) order.Request {
		r := packageOrder(id)
		limit := mustMoney("100.00", "USD")
		r.MaxTotal = &limit
		if !expires.IsZero() {
			r.ExpiresAt = &expires
		}
		w.publish(r)
		return r
	}
	at := time.Now().Add(200 * time.Millisecond)
	meanwhile.Store(func() { <-time.After(time.Until(at)) })
	r := ask("late", at)
	wait("late", order.Expired)
	if n := w.bought(r); n != 0 {
		t.Errorf("bought %d times, the price came when it had expired", n)
	}
	meanwhile.Store(func() { w.setSwitch("eiotclub.spend_stop", `{"on":true}`) })
	r = ask("stopped", time.Time{})
	wait("stopped", order.Waiting)
	if n := w.bought(r); n != 0 {
		t.Errorf("bought %d times, spending was stopped before the price came", n)
	}
	meanwhile.Store(func() {})
	w.setSwitch("eiotclub.spend_stop", `{"on":false}`)
	wait("stopped", order.Fulfilled)
	w.settled()
}

// A watch whose consumer is gone says nothing, and notices it too late for who wants
// spending stopped: so it is when the server that had it is started again.
func TestSwitchesAreFollowedWithoutTheirWatch(t *testing.T) {
	w := newWorld(t)
	wait := w.events()
	w.run()
	stream, err := w.bus.JS.Stream(t.Context(), bus.StreamKV(bus.BucketSwitches))
	if err != nil {
		t.Fatal(err)
	}
	deafen := func() {
		t.Helper()
		n := 0
		names := stream.ConsumerNames(t.Context())
		for name := range names.Name() {
			switch err := stream.DeleteConsumer(t.Context(), name); {
			case errors.Is(err, jetstream.ErrConsumerNotFound): // of a watch that another took the place of just now
			case err != nil:
				t.Fatal(err)
			default:
				n++
			}
		}
		if err := names.Err(); err != nil || n == 0 {
			t.Fatalf("%d watches were taken away: %v", n, err)
		}
	}
	w.setSwitch("eiotclub.spend_stop", `{"on":false}`)
	deafen()
	w.setSwitch("eiotclub.spend_stop", `{"on":true}`) // waits less for it than the watch itself would take
	r := packageOrder("stopped")
	w.publish(r)
	wait("stopped", order.Waiting)
	// A bucket made anew counts from one again.
	old, err := w.bus.JS.KeyValue(t.Context(), bus.BucketSwitches)
	if err != nil {
		t.Fatal(err)
	}
	status, err := old.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.bus.JS.DeleteKeyValue(t.Context(), bus.BucketSwitches); err != nil {
		t.Fatal(err)
	}
	if _, err := w.bus.JS.CreateKeyValue(t.Context(), status.Config()); err != nil {
		t.Fatal(err)
	}
	w.setSwitch("eiotclub.spend_stop", `{"on":false}`)
	wait("stopped", order.Fulfilled)
	w.setSwitch("esimfly.pause", `{"on":true}`)
	w.setSwitch("esimfly.pause", `{"on":false}`)
	w.settled()
}

func TestSwitchValues(t *testing.T) {
	for value, on := range map[string]bool{`{"on":true}`: true, `{"on":false}`: false, `true`: true, `false`: false, `1`: true, `0`: false, `"off"`: false, `stop!`: true,
		`{"reason":"x"}`: true, ``: false, `No`: false} {
		if SwitchIsOn([]byte(value)) != on {
			t.Errorf("%q is on: %t, want %t", value, !on, on)
		}
	}
}

func TestWaitingForMoneyStockAndTurn(t *testing.T) {
	w := newWorld(t)
	wait := w.events()
	w.run()
	t.Run("no funds", func(t *testing.T) {
		opening := w.eiotclub.Balance().Minor
		w.eiotclub.TopUp(-opening)
		r := packageOrder("poor")
		w.publish(r)
		if got := wait("poor", order.Waiting); got.WaitingFor != "no_funds" {
			t.Errorf("waits for %q", got.WaitingFor)
		}
		calls := func() int { o, _ := w.eiotclub.Order("poor"); return o.Calls }
		w.eiotclub.TopUp(opening)
		wait("poor", order.Fulfilled)
		if n := calls(); n > 3 {
			t.Errorf("%d purchase calls while there was no money: the balance tells when to try", n)
		}
	})
	t.Run("out of stock", func(t *testing.T) {
		r := products[1].request("sold")
		r.GoodsCode = eiotclubsim.SoldOutGoodsCode
		w.publish(r)
		if got := wait("sold", order.Waiting); got.WaitingFor != "out_of_stock" {
			t.Errorf("waits for %q", got.WaitingFor)
		}
		if err := w.eiotclub.SetStock(eiotclubsim.SoldOutGoodsCode, 5); err != nil {
			t.Fatal(err)
		}
		wait("sold", order.Fulfilled)
	})
	t.Run("too many requests", func(t *testing.T) {
		w.eiotclub.Faults().MustAdd(fault.Rule{Kind: fault.TooManyRequests, Order: "busy", Times: 1})
		w.publish(packageOrder("busy"))
		if got := wait("busy", order.Waiting); got.WaitingFor != "busy" {
			t.Errorf("waits for %q", got.WaitingFor)
		}
		wait("busy", order.Fulfilled)
	})
	w.settled()
}

func TestCancel(t *testing.T) {
	w := newWorld(t)
	wait := w.events()
	w.run()
	cancel := func(id, account string) {
		data, err := json.Marshal(map[string]string{"order_id": id, "account": account, "reason": "changed my mind"})
		if err != nil {
			t.Fatal(err)
		}
		w.send(bus.SubjectCancel(order.EIOTCLUB), data)
	}
	t.Run("waiting", func(t *testing.T) {
		w.setSwitch("all.spend_stop", "true")
		w.publish(packageOrder("c1"))
		wait("c1", order.Waiting)
		cancel("c1", "default")
		if got := wait("c1", order.Cancelled); got.Reason != "changed my mind" || got.Certainty != order.CertainNotPlaced {
			t.Errorf("cancelled as %+v", got)
		}
		w.setSwitch("all.spend_stop", "false")
	})
	t.Run("too late", func(t *testing.T) {
		w.publish(packageOrder("c2"))
		got := wait("c2", order.Fulfilled)
		cancel("c2", "default")
		w.settled()
		if cur, _, err := w.ledger.Get(t.Context(), "c2"); err != nil || cur.Writer != got.Writer {
			t.Errorf("a late cancel moved the order to %s: %v", cur.State, err)
		}
	})
	t.Run("before its request is there, or of none", func(t *testing.T) {
		msg := func(delivery uint64) labMsg {
			return labMsg{bus.SubjectCancel(order.EIOTCLUB), []byte(`{"order_id":"nobody","account":"default","reason":"x"}`), delivery}
		}
		for n := uint64(1); n < cancelTries; n++ {
			if _, again := w.worker.handle(t.Context(), msg(n)).Delay(); !again {
				t.Errorf("delivery %d does not come again", n)
			}
		}
		if reason, dead := w.worker.handle(t.Context(), msg(cancelTries)).IsDead(); !dead || reason != "max_deliveries" {
			t.Errorf("dead: %t, for %q", dead, reason)
		}
	})
	t.Run("of another account", func(t *testing.T) {
		cancel("c2", "other")
		if got := w.dead(bus.StreamOrders); got.reason != "mismatch" {
			t.Errorf("dead letter %+v", got)
		}
	})
	w.settled()
	if n := w.bought(packageOrder("c1")); n != 0 {
		t.Errorf("the cancelled order was bought %d times in the end", n)
	}
	if n := testutil.ToFloat64(w.worker.m.lateCancels.WithLabelValues(order.EIOTCLUB)); n != 1 {
		t.Errorf("%.0f late cancels are counted, want 1", n)
	}
}
