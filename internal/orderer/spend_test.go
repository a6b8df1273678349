package orderer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/shopspring/decimal"
	"github.com/sony/gobreaker/v2"

	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

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

// spent is what is counted for the eSIMfly account on a day.
func (w *world) spent(day string) string {
	w.t.Helper()
	e, err := w.worker.budgets.(jetstream.KeyValue).Get(w.t.Context(), "spend.esimfly.default."+day)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return "0"
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Trim(string(e.Value()), `"`)
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

// A call that is not made, here because the breaker is open, counts for nothing: what
// was counted for it just now is given back, what was counted before stays, and the
// order says what its last event says.
func TestDailyLimitOfACallThatIsNotMade(t *testing.T) {
	amount := mustMoney("5.44", "USD")
	doubted := func(day string) *ledger.Entry {
		sent := noon.Add(-time.Minute)
		return &ledger.Entry{Seq: 7, Record: order.Record{OrderID: "doubted", State: order.Unknown, Certainty: order.CertainUnknown, InDoubt: true, Looks: 9,
			Supplier: order.ESIMFly, Product: order.ProductESIM, Account: "default", Request: flyOrder("doubted"),
			FirstSentAt: &sent, LastSentAt: &sent, SpendReserved: &amount, SpendDay: day}}
	}
	for _, c := range []struct {
		name string
		cur  *ledger.Entry
		sum  string // before and after
	}{
		{"new", &ledger.Entry{New: true, Record: order.Record{OrderID: "new", Supplier: order.ESIMFly, Product: order.ProductESIM, Account: "default", Request: flyOrder("new")}}, "1"},
		{"counted today", doubted("2026-01-15"), "6.44"},
		{"counted yesterday", doubted("2026-01-14"), "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := limited(t, "12.00")
			w.dayClock(noon)
			if _, err := w.worker.budgets.Create(t.Context(), "spend.esimfly.default.2026-01-15", []byte(`"`+c.sum+`"`)); err != nil {
				t.Fatal(err)
			}
			a, _ := w.worker.account(order.ESIMFly, "default")
			a.breaker = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{Timeout: time.Hour, ReadyToTrip: func(gobreaker.Counts) bool { return true }})
			done, err := a.breaker.Allow()
			if err != nil {
				t.Fatal(err)
			}
			// Open from the gates on, after what costs a call of its own.
			w.worker.decide.gates = func(w *Worker, ctx context.Context, a *account, cur *order.Record) (reserved, *shut, error) {
				counted, s, err := w.gates(ctx, a, cur)
				done(io.ErrUnexpectedEOF)
				if now := counted.amount != nil; now != (cur.SpendDay != "2026-01-15") {
					t.Errorf("counted now: %t", now)
				}
				return counted, s, err
			}
			permit, safe := supplier.Rules{Repeat: supplier.RepeatReplayed}.PermitRepeat(c.cur.Record, noon)
			if proof, notPlaced := c.cur.NotPlaced(); notPlaced {
				permit, safe = supplier.PermitNew(proof), true
			}
			if !safe {
				t.Fatal("no permit to send it")
			}
			s, err := w.worker.place(t.Context(), a, c.cur, permit)
			if err != nil {
				t.Fatal(err)
			}
			if s.SpendReserved != c.cur.SpendReserved || s.SpendDay != c.cur.SpendDay {
				t.Errorf("the order says that %v was counted on %q", s.SpendReserved, s.SpendDay)
			}
			if sum := w.spent("2026-01-15"); sum != c.sum {
				t.Errorf("%s is counted, want %s", sum, c.sum)
			}
			if n := w.bought(c.cur.Request); n != 0 {
				t.Errorf("bought %d times through an open breaker", n)
			}
		})
	}
}

// Midnight may pass anywhere between the gates: the order goes through, and is counted
// whole on one day or was before.
func TestMidnightBetweenTheGates(t *testing.T) {
	amount := mustMoney("5.44", "USD")
	w := limited(t, "6.00")
	a, _ := w.worker.account(order.ESIMFly, "default")
	for _, counted := range []bool{true, false} {
		for before := range 10 { // how often the clock is looked at before midnight
			day, next := fmt.Sprintf("2026-01-%02d", 2*before+1), time.Date(2026, 1, 2*before+2, 0, 0, 0, 0, time.UTC)
			if counted {
				day, next = fmt.Sprintf("2026-02-%02d", 2*before+1), next.AddDate(0, 1, 0)
			}
			looks := 0
			w.worker.now = func() time.Time {
				looks++
				return next.Add(time.Duration(looks-before)*time.Second - time.Millisecond)
			}
			r := order.Record{OrderID: "late", Supplier: order.ESIMFly, Product: order.ProductESIM, Account: "default", Request: flyOrder("late")}
			if counted {
				r.SpendReserved, r.SpendDay = &amount, day
			}
			got, s, err := w.worker.gates(t.Context(), a, &r)
			if err != nil || s != nil {
				t.Fatalf("counted before: %t, midnight after %d looks of %d: shut %+v, %v", counted, before, looks, s, err)
			}
			if got.amount == nil && !counted || got.amount != nil && w.spent(got.day) != "5.44" {
				t.Errorf("counted before: %t, midnight after %d looks of %d: now %v on %s", counted, before, looks, got.amount, got.day)
			}
		}
	}
}

// Whatever proves that an order was not placed, what was counted for it is free again,
// and its record says so; what may have been placed stays counted.
func TestWhatWasNotPlacedCountsForNothing(t *testing.T) {
	w := limited(t, "12.00")
	w.dayClock(noon)
	a, _ := w.worker.account(order.ESIMFly, "default")
	ruled, _ := order.RuledOut("ann: asked them")
	for _, c := range []struct {
		name string
		next func(j judge, r order.Record) order.Record
		sum  string
	}{
		{"a person", func(j judge, r order.Record) order.Record {
			return ruled.Reject(j.next(&r), &order.Error{Kind: "refused"})
		}, "1"},
		{"a look, and it waits", func(j judge, r order.Record) order.Record {
			proof, _ := order.NotFound(r, r.Looks)
			return proof.Wait(j.next(&r), forSwitch, noon.Add(time.Minute))
		}, "1"},
		{"nothing: held", func(j judge, r order.Record) order.Record {
			return j.hold(j.next(&r), order.CertainUnknown, "no way to find out")
		}, "6.44"},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := "spend.esimfly.default.2026-01-15"
			if _, err := w.worker.budgets.(jetstream.KeyValue).Put(t.Context(), key, []byte(`"6.44"`)); err != nil {
				t.Fatal(err)
			}
			amount, sent := mustMoney("5.44", "USD"), noon.Add(-time.Minute)
			r := order.Record{OrderID: strings.NewReplacer(" ", "-", ",", "", ":", "").Replace(c.name), State: order.Intent, Certainty: order.CertainUnknown, Supplier: order.ESIMFly, Product: order.ProductESIM,
				Account: "default", Request: flyOrder("x"), At: sent, FirstSentAt: &sent, LastSentAt: &sent, SpendReserved: &amount, SpendDay: "2026-01-15"}
			intent, err := w.ledger.Append(t.Context(), &ledger.Entry{}, r)
			if err != nil {
				t.Fatal(err)
			}
			r.State, r.InDoubt, r.Looks = order.Unknown, true, 2
			cur, err := w.ledger.Append(t.Context(), intent, r)
			if err != nil {
				t.Fatal(err)
			}
			s, err := w.worker.record(t.Context(), a, cur, c.next(w.worker.judge(a, &cur.Record), cur.Record))
			if err != nil {
				t.Fatal(err)
			}
			if sum := w.spent("2026-01-15"); sum != c.sum {
				t.Errorf("%s is counted, want %s", sum, c.sum)
			}
			if counted := s.SpendReserved != nil; counted != (c.sum == "6.44") {
				t.Errorf("the order says that %v is counted", s.SpendReserved)
			}
		})
	}
}
