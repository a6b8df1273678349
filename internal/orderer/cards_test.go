package orderer

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
)

// states is a ledger that knows states only; the first event of each order has
// sequence 7.
type states struct {
	Ledger
	m sync.Map
}

func (s *states) Get(_ context.Context, id string) (ledger.Entry, bool, error) {
	v, ok := s.m.Load(id)
	if !ok {
		return ledger.Entry{}, false, nil
	}
	return ledger.Entry{Seq: 7, Record: order.Record{OrderID: id, State: v.(order.State)}}, true, nil
}

func entry(id string, seq uint64) *ledger.Entry {
	return &ledger.Entry{Seq: seq, Record: order.Record{OrderID: id}}
}

func replicaCards(t *testing.T, b *bus.Bus, l Ledger, now func() time.Time) *cards {
	t.Helper()
	c, err := newCards(b, l, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A list is read by encoding/json, and holds what stood in it before this writer did.
func TestACardEntryIsWrittenAsEncodingJSONWritesIt(t *testing.T) {
	for _, e := range []cardEntry{{}, {Card: "lIaHf4UA-TF0_LVD", Order: "o-1", Writer: "w", After: 1 << 60, Until: -7}} {
		want, err := json.Marshal([]cardEntry{e, e})
		if err != nil {
			t.Fatal(err)
		}
		w := order.NewWriter(nil)
		w.OpenList()
		e.write(&w)
		e.write(&w)
		w.CloseList()
		if got, err := w.Done(); err != nil || string(got) != string(want) {
			t.Errorf("%v\n%s, wants\n%s", err, got, want)
		}
	}
}

// Many orders of four replicas for a few cards: no card is ever in two hands.
func TestACardIsNeverInTwoHands(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	book := &states{}
	const replicas, workers, rounds = 4, 6, 60
	var inHand [5]atomic.Int32
	var taken [replicas]atomic.Int32
	var wg sync.WaitGroup
	for r := range replicas {
		c := replicaCards(t, b, book, time.Now)
		for k := range workers {
			rng := rand.New(rand.NewPCG(uint64(r), uint64(k)))
			wg.Go(func() {
				for i := range rounds {
					n := rng.IntN(len(inHand))
					id, object := fmt.Sprintf("o-%d-%d-%d", r, k, i), fmt.Sprintf("iccid:%d", n)
					if !c.hold(object) {
						runtime.Gosched()
						continue
					}
					book.m.Store(id, order.Intent) // beside the lock, as send does
					mine, err := c.lock(t.Context(), object, entry(id, 0), time.Minute)()
					if err != nil {
						t.Error(err)
					}
					if mine {
						if now := inHand[n].Add(1); now != 1 {
							t.Errorf("card %d is in %d hands", n, now)
						}
						for range rng.IntN(50) {
							runtime.Gosched()
						}
						inHand[n].Add(-1)
						taken[r].Add(1)
					}
					book.m.Store(id, order.Placed)
					c.let(object)
				}
			})
		}
	}
	wg.Wait()
	for r := range taken {
		if taken[r].Load() == 0 {
			t.Errorf("replica %d never had a card", r)
		}
	}
}

// A replica that dies with a card in hand keeps the others from it until the ledger
// says that its order is not in flight, or its entry is out of date.
func TestACardOfADeadReplica(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	book := &states{}
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	dead, alive := replicaCards(t, b, book, now), replicaCards(t, b, book, now)
	lock := func(c *cards, object, id string) bool {
		t.Helper()
		if !c.hold(object) {
			t.Fatalf("%s is held within the replica", object)
		}
		mine, err := c.lock(t.Context(), object, entry(id, 0), time.Minute)()
		if err != nil {
			t.Fatal(err)
		}
		return mine
	}
	for _, object := range []string{"iccid:1", "iccid:2"} {
		if !lock(dead, object, "lost-"+object) {
			t.Fatal("a free card was not given")
		}
	}
	for _, state := range []order.State{"", order.Intent} { // without an event yet, and in flight
		if state != "" {
			book.m.Store("lost-iccid:1", state)
		}
		if lock(alive, "iccid:1", "next") {
			t.Errorf("the card of an order that is %q was given", state)
		}
		alive.let("iccid:1")
	}
	book.m.Store("lost-iccid:1", order.Unknown)
	if !lock(alive, "iccid:1", "next") {
		t.Error("the card of an order that is not in flight was kept")
	}
	// An order that waited, and is about to be sent again: what the ledger has of it
	// is not news yet.
	if !dead.hold("iccid:3") {
		t.Fatal("held already")
	}
	if mine, err := dead.lock(t.Context(), "iccid:3", entry("again", 7), time.Minute)(); !mine || err != nil {
		t.Fatal(mine, err)
	}
	book.m.Store("again", order.Waiting)
	if lock(alive, "iccid:3", "third") {
		t.Error("the card of an order that is about to be sent again was given")
	}
	if lock(alive, "iccid:2", "other") {
		t.Error("the card of an order that is about to be sent was given")
	}
	alive.let("iccid:2")
	ahead.Store(int64(2*time.Minute + time.Second))
	if !lock(alive, "iccid:2", "other") {
		t.Error("an entry that is out of date keeps the card")
	}
	// What was let go hinders nobody, though it still stands on the server.
	alive.let("iccid:2")
	book.m.Store("other", order.Placed)
	third := replicaCards(t, b, book, now)
	if !lock(third, "iccid:2", "third") {
		t.Error("a card that was let go was kept")
	}
}
