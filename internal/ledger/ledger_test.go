package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

func newLedger(t testing.TB, b *bus.Bus) *ledger.Ledger {
	t.Helper()
	l, err := ledger.New(b, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func record(id string, state order.State) order.Record {
	r := order.Record{OrderID: id, Supplier: order.EIOTCLUB, Product: order.ProductPackage, Account: "default", State: state, Certainty: order.CertainUnknown,
		RequestHash: "h", At: time.Now().UTC(), AcceptedAt: time.Now().UTC()}
	switch state {
	case order.Placed, order.Fulfilled:
		r.Certainty, r.SupplierOrderID = order.CertainPlaced, "7"
	case order.Waiting, order.Rejected:
		r.Certainty = order.CertainNotPlaced
	}
	return r
}

func TestAppendKeepsEachTransitionAndItsTrace(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	l := newLedger(t, b)
	if _, found, err := l.Get(t.Context(), "o1"); err != nil || found {
		t.Fatalf("an order before its first event: %t, %v", found, err)
	}
	begin := &ledger.Entry{Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	first, err := l.Append(t.Context(), begin, record("o1", order.Intent))
	if err != nil {
		t.Fatal(err)
	}
	second, err := l.Append(t.Context(), first, record("o1", order.Placed))
	if err != nil {
		t.Fatal(err)
	}
	got, found, err := l.Get(t.Context(), "o1")
	if err != nil || !found {
		t.Fatalf("%t, %v", found, err)
	}
	if got.Stored.IsZero() || got.Trace != begin.Trace {
		t.Errorf("stored %s, trace %q", got.Stored, got.Trace)
	}
	got.Stored = time.Time{}
	if diff := cmp.Diff(*second, got); diff != "" {
		t.Errorf("what was read is not what was written: -want +got\n%s", diff)
	}
	raw, _, err := l.Raw(t.Context(), "o1")
	if err != nil {
		t.Fatal(err)
	}
	env, err := wire.ParseEnvelope(raw)
	if err != nil || env.Type != "simline.order.placed.v1" || env.Subject != "o1" || env.Source != "/simline/test" {
		t.Errorf("envelope %+v, %v", env, err)
	}
}

func TestAppendRefusesWhatTheTableDoesNotAllow(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	l := newLedger(t, b)
	if _, err := l.Append(t.Context(), &ledger.Entry{}, record("o1", order.Placed)); err == nil {
		t.Error("an order began as placed")
	}
	lie := record("o1", order.Intent)
	lie.Certainty = order.CertainPlaced
	if _, err := l.Append(t.Context(), &ledger.Entry{}, lie); err == nil {
		t.Error("an intent that is certain was taken")
	}
	if _, found, _ := l.Get(t.Context(), "o1"); found {
		t.Error("a refused event was stored")
	}
}

func TestOfManyWritersOneMovesTheOrder(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	ledgers := []*ledger.Ledger{newLedger(t, b), newLedger(t, b)}
	for round := range 20 {
		id := fmt.Sprint("o", round)
		var mu sync.Mutex
		var wg sync.WaitGroup
		won := 0
		for i := range 8 {
			wg.Go(func() {
				state := []order.State{order.Intent, order.Waiting}[i%2]
				_, err := ledgers[i/4].Append(t.Context(), &ledger.Entry{}, record(id, state))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won++
				case !errors.Is(err, ledger.ErrMoved):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Fatalf("%d writers moved order %s", won, id)
		}
	}
}

// The acknowledgement of our own write is lost; it is found by its writer token.
func TestLostAcknowledgement(t *testing.T) {
	s := bustest.Start(t, bustest.Options{})
	s.Provision(bus.DefaultSettings())
	b := s.Connect(s.Gated())
	l := newLedger(t, b)
	first, err := l.Append(t.Context(), &ledger.Entry{}, record("o1", order.Intent))
	if err != nil {
		t.Fatal(err)
	}
	s.Pause()
	short, cancel := context.WithCancel(t.Context())
	defer cancel()
	// left waits until so many messages have left since.
	left := func(since, n uint64) {
		for t.Context().Err() == nil && b.NC.Stats().OutMsgs < since+n {
			<-time.After(time.Millisecond)
		}
	}
	begin := b.NC.Stats().OutMsgs
	go func() {
		left(begin, 1)
		cancel()
	}()
	if _, err := l.Append(short, first, record("o1", order.Unknown)); !errors.Is(err, bus.ErrOutcomeUnknown) {
		t.Errorf("append through a closed gate: %v, want unknown", err)
	}
	var wg sync.WaitGroup
	begin = b.NC.Stats().OutMsgs
	wg.Go(func() {
		left(begin, 2) // the first try, and a question for what stands: it was given up as unknown
		s.Resume()
	})
	// Either this one or the one given up above follows the intent; never both.
	next, err := l.Append(t.Context(), first, record("o1", order.Placed))
	wg.Wait()
	if err != nil && !errors.Is(err, ledger.ErrMoved) {
		t.Fatal(err)
	}
	got, _, err2 := l.Get(t.Context(), "o1")
	if err2 != nil {
		t.Fatal(err2)
	}
	if err == nil && got.Writer != next.Writer || err != nil && got.State != order.Unknown {
		t.Errorf("append said %v, and the ledger has %s", err, got.State)
	}
	if err != nil && !errors.Is(err, bus.ErrOutcomeUnknown) {
		t.Errorf("append said %v of what was sent and not answered: it may stand behind what moved the order", err)
	}
	if got.Seq != first.Seq+1 {
		t.Errorf("%d events followed the intent", got.Seq-first.Seq)
	}
}

func open(t *testing.T, l *ledger.Ledger) map[string]ledger.Open {
	t.Helper()
	out := map[string]ledger.Open{}
	for o, err := range l.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		out[o.OrderID] = o
	}
	return out
}

func TestIndexOfOpenOrders(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	l := newLedger(t, b)
	due := time.Now().UTC().Truncate(time.Second)
	for _, id := range []string{"a", "b", "c"} {
		if err := l.Guard(t.Context(), ledger.Open{OrderID: id, Supplier: order.EIOTCLUB, Account: "default", State: order.Unknown, Due: due}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Unguard(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	got := open(t, l)
	if len(got) != 2 || got["a"].State != order.Unknown || !got["a"].Due.Equal(due) {
		t.Fatalf("open orders %+v", got)
	}
	if err := l.Claim(t.Context(), got["a"], due.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := l.Claim(t.Context(), got["a"], due.Add(time.Minute)); !errors.Is(err, ledger.ErrMoved) {
		t.Errorf("a second claim of one entry: %v, want moved", err)
	}
	if now := open(t, l)["a"].Due; !now.Equal(due.Add(time.Minute)) {
		t.Errorf("claimed until %s", now)
	}
	if err := l.Guard(t.Context(), ledger.Open{OrderID: "b", Supplier: order.EIOTCLUB, Due: due}); err != nil {
		t.Errorf("guard again after removal: %v", err)
	}
	if len(open(t, l)) != 3 {
		t.Errorf("open orders %+v", open(t, l))
	}
}

func TestAnEntryThatIsNoneIsReportedAndPassedOver(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	l := newLedger(t, b)
	kv, err := b.JS.KeyValue(t.Context(), bus.BucketOpenOrders)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"odd", "page.odd"} {
		if _, err := kv.Put(t.Context(), key, []byte("nonsense")); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Guard(t.Context(), ledger.Open{OrderID: "good", Supplier: order.EIOTCLUB}); err != nil {
		t.Fatal(err)
	}
	faults, good := 0, 0
	for o, err := range l.All(t.Context()) {
		if err != nil {
			faults++
		} else if o.OrderID == "good" {
			good++
		}
	}
	if faults != 2 || good != 1 {
		t.Errorf("%d faults and %d entries, want two and one", faults, good)
	}
}

// A write that nobody answered may stand, whatever is said to the tries after it.
func TestAppendThatIsRefusedAfterAnUnknownTry(t *testing.T) {
	t.Parallel() // it waits for an answer that does not come
	s := bustest.Start(t, bustest.Options{})
	s.Provision(bus.DefaultSettings())
	b := s.Connect(s.Gated())
	l := newLedger(t, b)
	first, err := l.Append(t.Context(), &ledger.Entry{}, record("o1", order.Intent))
	if err != nil {
		t.Fatal(err)
	}
	s.Pause()
	begin := b.NC.Stats().OutMsgs
	go func() {
		for t.Context().Err() == nil && b.NC.Stats().OutMsgs == begin {
			<-time.After(time.Millisecond)
		}
		l.Close() // what has left is unknown now, and nothing else leaves
	}()
	_, err = l.Append(t.Context(), first, record("o1", order.Placed))
	s.Resume()
	if !errors.Is(err, bus.ErrOutcomeUnknown) || !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("append: %v, want that the first try is unknown and the next was refused", err)
	}
	for { // and so it was: it stands
		got, _, err := l.Get(t.Context(), "o1")
		if err != nil {
			t.Fatal(err)
		}
		if got.State == order.Placed {
			return
		}
	}
}

// An entry whose turn is far off never comes behind the removal of it.
func TestGuardLastNeverListsWhatIsSettled(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	l := newLedger(t, b)
	entry := func(id string) ledger.Open {
		return ledger.Open{OrderID: id, Supplier: order.EIOTCLUB, Account: "default", State: order.Held, Due: time.Now().Add(time.Hour)}
	}
	e, err := l.Append(t.Context(), &ledger.Entry{}, record("kept", order.Intent))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.GuardLast(t.Context(), entry("kept"), e.Seq); err != nil {
		t.Fatal(err)
	}
	if err := l.GuardLast(t.Context(), entry("kept"), e.Seq-1); !errors.Is(err, ledger.ErrMoved) {
		t.Errorf("an entry of an event that is not the last: %v, want moved", err)
	}
	round := func(i int) {
		id := fmt.Sprint("o", i)
		e, err := l.Append(t.Context(), &ledger.Entry{}, record(id, order.Intent))
		if err != nil {
			t.Error(err)
			return
		}
		var settled sync.WaitGroup
		settled.Go(func() {
			for range i % 3 { // now sooner, now later
				_, _, _ = l.Get(t.Context(), id)
			}
			if _, err := l.Append(t.Context(), e, record(id, order.Rejected)); err != nil {
				t.Error(err)
			}
			if err := l.Unguard(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
		if err := l.GuardLast(t.Context(), entry(id), e.Seq); err != nil && !errors.Is(err, ledger.ErrMoved) {
			t.Error(err)
		}
		settled.Wait()
	}
	var lanes sync.WaitGroup
	for lane := range 8 {
		lanes.Go(func() {
			for i := range 100 {
				round(100*lane + i)
			}
		})
	}
	lanes.Wait()
	if left := open(t, l); len(left) != 1 {
		t.Errorf("%d orders are listed, want one: the others are settled", len(left))
	}
}
