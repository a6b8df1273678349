package orderer

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
)

// cutOff is a ledger whose first walk hangs for a while and then breaks.
type cutOff struct {
	Ledger
	hang  time.Duration
	walks atomic.Int32
	again chan struct{} // closed at the second walk
}

func (l *cutOff) All(ctx context.Context) iter.Seq2[ledger.Open, error] {
	switch l.walks.Add(1) {
	case 1:
		return func(yield func(ledger.Open, error) bool) {
			<-time.After(l.hang)
			yield(ledger.Open{}, errors.New("the node that answered is gone"))
		}
	case 2:
		close(l.again)
	}
	return l.Ledger.All(ctx)
}

// A walk that hung until its node was given up is made up for at once: the pause is
// for walks that are long because there is much to read.
func TestCutOffWalkIsMadeUpFor(t *testing.T) {
	w := newWorld(t)
	cut := &cutOff{Ledger: w.ledger, hang: time.Second, again: make(chan struct{})}
	w.worker.ledger = cut
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	begin := time.Now()
	go func() { done <- w.worker.sweepLoop(ctx, order.EIOTCLUB) }()
	<-cut.again
	if took := time.Since(begin); took >= 9*cut.hang { // the pause after a walk that took so long
		t.Errorf("the next walk came after %s", took)
	}
	if n := testutil.ToFloat64(w.worker.m.failures.WithLabelValues("sweep")); n != 1 {
		t.Errorf("%v failures counted, want 1", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// meanwhile is a ledger behind whose next event of a state others act.
type meanwhile struct {
	Ledger
	state order.State
	act   func()
}

func (m *meanwhile) Append(ctx context.Context, prev *ledger.Entry, next order.Record) (*ledger.Entry, error) {
	e, err := m.Ledger.Append(ctx, prev, next)
	if act := m.act; err == nil && next.State == m.state && act != nil {
		m.act = nil
		act()
	}
	return e, err
}

// listed is the index's entry of an order, nil if there is none.
func (w *world) listed(id string) (out *ledger.Open) {
	w.t.Helper()
	for o, err := range w.ledger.All(w.t.Context()) {
		if err != nil {
			w.t.Fatal(err)
		}
		if o.OrderID == id {
			out = &o
		}
	}
	return out
}

// A sweep passes over what waits for a switch. So no settled order may be left in the
// index as one that does: it would be listed for as long as the switch is on.
func TestNoSettledOrderWaitsForASwitch(t *testing.T) {
	w := newWorld(t)
	w.worker.switches.on = map[string]bool{"all.spend_stop": true}
	request := func(id string) labMsg {
		data, err := json.Marshal(packageOrder(id))
		if err != nil {
			t.Fatal(err)
		}
		return labMsg{bus.SubjectRequest(order.EIOTCLUB, order.ProductPackage), data, 1}
	}
	t.Run("cancelled before its entry was written", func(t *testing.T) {
		w.worker.ledger = &meanwhile{Ledger: w.ledger, state: order.Waiting, act: func() {
			data := []byte(`{"order_id":"first","account":"default","reason":"changed my mind"}`)
			if v := w.worker.handle(t.Context(), labMsg{bus.SubjectCancel(order.EIOTCLUB), data, 1}); !v.IsDone() {
				t.Errorf("cancel: %+v", v)
			}
		}}
		defer func() { w.worker.ledger = w.ledger }()
		if v := w.worker.handle(t.Context(), request("first")); !v.IsDone() || w.entry("first").State != order.Cancelled {
			t.Fatalf("%+v, %s", v, w.entry("first").State)
		}
		if o := w.listed("first"); o != nil {
			t.Errorf("cancelled, and listed as %s for %s", o.State, o.WaitingFor)
		}
	})
	if v := w.worker.handle(t.Context(), request("waits")); !v.IsDone() {
		t.Fatalf("%+v", v)
	}
	cur, now := w.entry("waits"), time.Now()
	if o := w.listed("waits"); o == nil || o.WaitingFor != forSwitch {
		t.Fatalf("listed as %+v", o)
	}
	w.worker.now = func() time.Time { return now }
	for name, enter := range map[string]func() error{
		"taken up outside of its turn": func() error { return w.worker.claim(t.Context(), &cur) },
		"moved before its entry":       func() error { return w.worker.overtaken(t.Context(), "waits") },
	} {
		t.Run(name, func(t *testing.T) {
			now = now.Add(time.Hour)
			if err := enter(); err != nil {
				t.Fatal(err)
			}
			now = now.Add(w.timing.claim())
			o := w.listed("waits")
			if o == nil || !w.worker.isDue(*o) {
				t.Fatalf("no sweep comes to %+v", o)
			}
			// Who comes to it finds that it waits still, and tells nobody again.
			if err := w.worker.resumeOne(t.Context(), *o); err != nil || w.entry("waits").Seq != cur.Seq {
				t.Errorf("%v; it is %s", err, w.entry("waits").State)
			}
			if o := w.listed("waits"); o == nil || o.WaitingFor != forSwitch || w.worker.isDue(*o) {
				t.Errorf("then listed as %+v", o)
			}
		})
	}
}
