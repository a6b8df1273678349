package orderer

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/sim/fault"
)

// slowIntents is a ledger that takes long to store some of the intents: their calls
// are not made any more.
type slowIntents struct {
	Ledger
	from, to int32 // those, counted from 1
	seen     atomic.Int32
	took     func()
}

func (s *slowIntents) Append(ctx context.Context, prev *ledger.Entry, next order.Record) (*ledger.Entry, error) {
	e, err := s.Ledger.Append(ctx, prev, next)
	if err == nil && next.State == order.Intent {
		if n := s.seen.Add(1); s.from <= n && n <= s.to {
			s.took()
		}
	}
	return e, err
}

// An intent that was stored too late counts for nothing: its call was not made, and who
// did not make it says so. Else a NATS cluster that is slow for a minute uses up the
// safe repeats of an order in doubt, which then waits for a person and was never asked
// for.
func TestAnIntentThatWasStoredTooLate(t *testing.T) {
	cloud := products[2].request
	for _, c := range []struct {
		name     string
		request  func(string) order.Request
		from, to int32
		lost     bool // the first call never arrives
	}{
		{"of a new order", packageOrder, 1, 3, false},
		{"of an order in doubt", cloud, 2, 5, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			if c.lost {
				w.eiotclub.Faults().MustAdd(fault.Rule{Kind: fault.Reset, Path: "cloudesim/purchase", Times: 1})
			}
			var ahead atomic.Int64
			w.worker.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			slow := &slowIntents{Ledger: w.ledger, from: c.from, to: c.to, took: func() { ahead.Add(int64(quickTiming.Timeout * 3 / 5)) }}
			w.worker.ledger = slow
			wait := w.events()
			w.run()
			r := c.request("late")
			w.publish(r)
			got := wait(r.OrderID, order.Fulfilled, order.Held, order.Rejected)
			if got.State != order.Fulfilled || w.bought(r) != 1 {
				t.Fatalf("%s, bought %d times: %s", got.State, w.bought(r), got.Reason)
			}
			calls := 1
			if c.lost {
				calls = 2
			}
			if got.Attempt != calls || got.Resends != calls-1 || int(slow.seen.Load()) != calls+int(c.to-c.from)+1 {
				t.Errorf("%d attempts, %d resends after %d intents, want %d and %d", got.Attempt, got.Resends, slow.seen.Load(), calls, calls-1)
			}
		})
	}
}

// overtakenIntent is a ledger whose process stands still once the first intent is stored.
type overtakenIntent struct {
	Ledger
	stood atomic.Bool
	then  func(*ledger.Entry)
	lost  bool // the intent's acknowledgement
}

func (o *overtakenIntent) Append(ctx context.Context, prev *ledger.Entry, next order.Record) (*ledger.Entry, error) {
	e, err := o.Ledger.Append(ctx, prev, next)
	if err == nil && next.State == order.Intent && o.stood.CompareAndSwap(false, true) {
		o.then(e)
		if o.lost {
			return nil, errors.Join(ledger.ErrMoved, bus.ErrOutcomeUnknown)
		}
	}
	return e, err
}

// What is counted for the day goes with the order. A worker that stood still after its
// intent makes no call, and another may have taken the order up by then: it buys on
// what was counted, which is not to be given back. The same holds for a worker that was
// never told that its intent stands.
func TestWhatAnotherSpendsStaysCounted(t *testing.T) {
	for name, lost := range map[string]bool{"stood still": false, "was not told": true} {
		t.Run(name, func(t *testing.T) { testOvertaken(t, lost) })
	}
}

func testOvertaken(t *testing.T, lost bool) {
	w := limited(t, "6.00")
	set := w.dayClock(noon)
	w.worker.ledger = &overtakenIntent{Ledger: w.ledger, lost: lost, then: func(e *ledger.Entry) {
		set(noon.Add(time.Minute))
		r := e.Record // another worker found it, and is about to look
		r.At, r.State, r.InDoubt = noon.Add(50*time.Second), order.Unknown, true
		r.NotBefore = &r.At
		if _, err := w.ledger.Append(context.Background(), e, r); err != nil {
			t.Error(err)
		}
	}}
	wait := w.events()
	w.run()
	r := flyOrder("one")
	w.publish(r)
	if got := wait(r.OrderID, order.Fulfilled, order.Held); got.State != order.Fulfilled || w.bought(r) != 1 {
		t.Fatalf("%s, bought %d times: %s", got.State, w.bought(r), got.Reason)
	}
	if sum := w.spent("2026-01-15"); sum != "5.44" {
		t.Errorf("5.44 was spent, and %s is counted", sum)
	}
}
