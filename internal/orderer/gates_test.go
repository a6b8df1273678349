package orderer

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shopspring/decimal"

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
	for deadline := time.Now().Add(5 * time.Second); ; tick(w.t) { // followed live
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
		at := time.Now().Add(time.Second) // it waits long before that, on a busy machine too
		r.ExpiresAt = &at
		w.publish(r)
		wait("late", order.Waiting)
		wait("late", order.Expired)
	})
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
	t.Run("of another account", func(t *testing.T) {
		cancel("c2", "other")
		if got := w.dead(bus.StreamOrders); got.reason != "mismatch" {
			t.Errorf("dead letter %+v", got)
		}
	})
	w.settled()
}

// dayClock gives a worker a clock of its own, which goes on from at, so that no test of
// a day's limit meets a real midnight. set puts it to another moment.
func (w *world) dayClock(at time.Time) (set func(time.Time)) {
	var ahead atomic.Int64
	set = func(at time.Time) { ahead.Store(int64(time.Until(at))) }
	set(at)
	w.worker.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	return set
}

// noon of a day, far from the next.
var noon = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// limited is a world whose eSIMfly account spends at most so much in a day.
func limited(t *testing.T, amount string) *world {
	return newWorld(t, func(_ *Config, accounts []Account) {
		limit := mustMoney(amount, "USD")
		accounts[1].DailyLimit = &limit
	})
}

func TestDailyLimitHoldsOverAllOrders(t *testing.T) {
	w := limited(t, "12.00") // two orders at 5.44 fit, three do not
	w.dayClock(noon)
	wait := w.events()
	w.run()
	done, waiting := 0, 0
	for i := range 3 {
		r := flyOrder(fmt.Sprint("d", i))
		w.publish(r)
		got := wait(r.OrderID, order.Fulfilled, order.Waiting)
		switch {
		case got.State == order.Fulfilled:
			done++
			if got.SpendReserved == nil || got.SpendReserved.AmountString() != "5.44" {
				t.Errorf("counted %v", got.SpendReserved)
			}
		case got.WaitingFor == "spend_limit" && got.NotBefore.After(got.At):
			waiting++
		}
	}
	if done != 2 || waiting != 1 {
		t.Errorf("%d bought and %d waiting, want 2 and 1", done, waiting)
	}
}

// A refused order gives back what was counted for it.
func TestDailyLimitForgetsWhatWasNotBought(t *testing.T) {
	w := limited(t, "6.00")
	w.dayClock(noon)
	wait := w.events()
	w.run()
	bad := flyOrder("bad")
	bad.PackageName = "another name" // the price is counted, the purchase refused
	bad.PackageCode = "no-such-package"
	w.publish(bad)
	wait("bad", order.Rejected)
	w.publish(flyOrder("good"))
	wait("good", order.Fulfilled)
}

// What waits for the limit waits for the day's end at the latest, and is bought on the
// next day's money.
func TestDailyLimitBeginsAnewWithTheDay(t *testing.T) {
	w := limited(t, "6.00")
	w.worker.cfg.WaitMax = time.Hour
	set := w.dayClock(noon)
	wait := w.events()
	w.run()
	w.publish(flyOrder("one"))
	if got := wait("one", order.Fulfilled); got.SpendDay != "2026-01-15" {
		t.Errorf("counted on %s", got.SpendDay)
	}
	midnight := noon.Add(12 * time.Hour)
	set(midnight.Add(-time.Minute))
	r := flyOrder("two")
	w.publish(r)
	if got := wait("two", order.Waiting); got.WaitingFor != "spend_limit" || !got.NotBefore.Equal(midnight) {
		t.Errorf("waits for %q until %s, want the limit until %s", got.WaitingFor, got.NotBefore, midnight)
	}
	if n := w.bought(r); n != 0 {
		t.Errorf("bought %d times above the limit", n)
	}
	set(midnight)
	if got := wait("two", order.Fulfilled); got.SpendDay != "2026-01-16" {
		t.Errorf("counted on %s", got.SpendDay)
	}
}

// However many replicas spend at once, together they stay below the limit.
func TestDailyLimitHoldsOverAllReplicas(t *testing.T) {
	w := newWorld(t)
	limit := decimal.NewFromInt(100)
	var taken atomic.Int64
	var group sync.WaitGroup
	for range 3 {
		replica := w.newWorker()
		group.Go(func() {
			for range 60 {
				if ok, err := replica.spend(t.Context(), "spend.esimfly.default.2026-01-15", decimal.NewFromInt(1), limit); err != nil {
					t.Error(err)
				} else if ok {
					taken.Add(1)
				}
			}
		})
	}
	group.Wait()
	if n := taken.Load(); n != 100 {
		t.Errorf("%d orders at 1.00 were let through, want 100", n)
	}
}

// 1,000 calls an hour, over all replicas.
func TestCallBudgetIsSharedByReplicas(t *testing.T) {
	w := newWorld(t)
	budgets := []*budget{}
	for range 3 {
		b := w.worker.newBudget(w.accounts[1])
		b.limit = 100
		budgets = append(budgets, b)
	}
	taken := 0
	var until time.Time
	for i := 0; i < 300; i++ {
		u, err := budgets[i%3].take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if u.IsZero() {
			taken++
		} else {
			until = u
		}
	}
	if taken != 100 {
		t.Errorf("%d calls allowed, want 100", taken)
	}
	if d := time.Until(until); d <= 0 || d > time.Hour {
		t.Errorf("the next call is due in %s, want within the hour", d)
	}
	// A replica died with calls in hand: the supplier says that 7 are left.
	budgets[1].remaining(7, time.Time{})
	for range 7 {
		if u, err := budgets[1].take(t.Context()); err != nil || !u.IsZero() {
			t.Fatalf("a call that the supplier says is left has to wait until %s: %v", u, err)
		}
	}
	if u, err := budgets[2].take(t.Context()); err != nil || u.IsZero() {
		t.Errorf("one more than is left: %s, %v", u, err)
	}
	third := w.worker.newBudget(w.accounts[1])
	third.limit = 100
	if err := budgets[1].giveBack(t.Context()); err != nil { // nothing in hand, nothing back
		t.Fatal(err)
	}
	if u, err := third.take(t.Context()); err != nil || u.IsZero() {
		t.Errorf("a call out of nothing: %s, %v", u, err)
	}
	budgets[0].remaining(0, time.Now().Add(2*time.Hour))
	if u, err := budgets[0].take(t.Context()); err != nil || time.Until(u) < time.Hour {
		t.Errorf("the supplier's own reset is not kept: %s, %v", u, err)
	}
}

// A replica that ends in order leaves what it took and did not use to the others.
func TestCallBudgetIsGivenBack(t *testing.T) {
	w := newWorld(t)
	for i := range 200 { // each takes a part of 20, of 1,000, and uses one
		b := w.worker.newBudget(w.accounts[1])
		if until, err := b.take(t.Context()); err != nil || !until.IsZero() {
			t.Fatalf("replica %d has no call left: %s, %v", i, until, err)
		}
		if err := b.giveBack(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Others buy with the same key: what the supplier says is left is what all replicas
// share, and its window is theirs.
func TestCallBudgetFollowsTheSuppliersHeaders(t *testing.T) {
	w := newWorld(t)
	first, second := w.worker.newBudget(w.accounts[1]), w.worker.newBudget(w.accounts[1])
	take := func(b *budget) (until time.Time) {
		t.Helper()
		until, err := b.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return until
	}
	take(first)
	reset := time.Now().Add(10 * time.Minute)
	first.remaining(25, reset) // of 1,000
	taken := 0
	var until time.Time
	for range 1000 {
		b := []*budget{first, second}[taken%2]
		if until = take(b); !until.IsZero() {
			if until = take(first); !until.IsZero() {
				break
			}
		}
		taken++
	}
	if taken < 20 || taken > 45 { // what a replica has in hand may be beside it
		t.Errorf("%d calls after the supplier said that 25 are left", taken)
	}
	if until.Sub(reset).Abs() > time.Minute {
		t.Errorf("the next call at %s, want the supplier's reset %s", until, reset)
	}
}
