package orderer

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/order"
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
