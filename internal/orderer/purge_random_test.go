package orderer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
)

// queueRun is a random life of ORDERS: requests and cancels of two suppliers come, are
// taken, acknowledged, handed back, held, left until they are delivered again; and in
// between what is done is purged.
type queueRun struct {
	*world
	rng     *rand.Rand
	purgers map[string]*purger
	open    map[uint64]string                   // sequence to supplier: not acknowledged
	hand    map[string]map[uint64]jetstream.Msg // taken, by supplier
	last    uint64
	faults  []string
}

// queueWait is the AckWait of these runs, short enough that messages are delivered
// again within one.
const queueWait = 30 * time.Millisecond

func (w *world) queueRun(seed uint64, floor func(*jetstream.ConsumerInfo) uint64) *queueRun {
	w.t.Helper()
	ctx := w.t.Context()
	q := &queueRun{world: w, rng: rand.New(rand.NewPCG(seed, 0)), purgers: map[string]*purger{}, open: map[uint64]string{}, hand: map[string]map[uint64]jetstream.Msg{}}
	s, err := w.bus.JS.Stream(ctx, bus.StreamOrders)
	if err == nil {
		err = s.Purge(ctx)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	q.last = s.CachedInfo().State.LastSeq
	w.worker.decide.floor = floor
	for _, c := range bus.NewTopology(bus.DefaultSettings()).Consumers[bus.StreamOrders] {
		if err := w.bus.JS.DeleteConsumer(ctx, bus.StreamOrders, c.Durable); err != nil {
			w.t.Fatal(err)
		}
		c.AckWait = queueWait
		if _, err := w.bus.JS.CreateConsumer(ctx, bus.StreamOrders, c); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, sup := range order.Suppliers {
		q.purgers[sup], q.hand[sup] = w.worker.newPurger(sup), map[uint64]jetstream.Msg{}
		q.purge(sup, true) // nothing lies there: from here on it goes by the floor
	}
	return q
}

func (q *queueRun) purge(sup string, look bool) {
	q.t.Helper()
	if _, err := q.purgers[sup].once(q.t.Context(), look); err != nil {
		q.t.Fatal(err)
	}
}

func (q *queueRun) publish(subject, sup string) {
	q.send(subject, []byte("{}"))
	q.last++
	q.open[q.last] = sup
}

// take fetches what is there for a supplier, up to n.
func (q *queueRun) take(sup string, n int) {
	q.t.Helper()
	batch, err := q.durable(sup).FetchNoWait(n)
	if err != nil {
		q.t.Fatal(err)
	}
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			q.t.Fatal(err)
		}
		q.hand[sup][meta.Sequence.Stream] = m
	}
}

// one does something at random.
func (q *queueRun) one() {
	q.t.Helper()
	sup := order.Suppliers[q.rng.IntN(len(order.Suppliers))]
	hand := q.hand[sup]
	pick := func() (uint64, jetstream.Msg) {
		if len(hand) == 0 {
			return 0, nil
		}
		var seqs []uint64
		for seq := range hand {
			seqs = append(seqs, seq)
		}
		slices.Sort(seqs)
		seq := seqs[q.rng.IntN(len(seqs))]
		return seq, hand[seq]
	}
	var err error
	switch q.rng.IntN(12) {
	case 0, 1:
		q.publish(bus.SubjectRequest(sup, order.ProductESIM), sup)
	case 2:
		q.publish(bus.SubjectCancel(sup), sup)
	case 3, 4:
		q.take(sup, 1+q.rng.IntN(4))
	case 5, 6, 7:
		if seq, m := pick(); m != nil {
			delete(q.open, seq) // from here on it may go
			delete(hand, seq)
			err = m.Ack()
		}
	case 8:
		if seq, m := pick(); m != nil {
			delete(hand, seq)
			err = m.Nak()
		}
	case 9:
		if seq, m := pick(); m != nil {
			delete(hand, seq)
			err = m.NakWithDelay(time.Duration(q.rng.IntN(20)) * time.Millisecond)
		}
	case 10:
		if _, m := pick(); m != nil {
			err = m.InProgress()
		}
	case 11:
		q.purge(sup, false)
	}
	if err != nil {
		q.t.Fatal(err)
	}
}

// check holds what lies there against what was not acknowledged.
func (q *queueRun) check() {
	q.t.Helper()
	there := q.on(">")
	for seq, sup := range q.open {
		if !slices.Contains(there, seq) {
			q.faults = append(q.faults, fmt.Sprintf("message %d of %s was not acknowledged and is gone", seq, sup))
		}
	}
}

// end acknowledges all that is still open, each when it is delivered again, and
// purges for the last time.
func (q *queueRun) end() {
	q.t.Helper()
	q.check()
	if len(q.faults) > 0 {
		return
	}
	until(q.t, "every message that was not acknowledged being delivered", func() bool {
		for _, sup := range order.Suppliers {
			q.take(sup, 16)
			for seq, m := range q.hand[sup] {
				if q.rng.IntN(2) == 0 {
					q.ack(m)
					delete(q.open, seq)
					delete(q.hand[sup], seq)
				}
			}
			q.purge(sup, false)
		}
		q.check()
		return len(q.open) == 0 || len(q.faults) > 0
	})
	until(q.t, "the queue being empty", func() bool {
		for _, sup := range order.Suppliers {
			q.take(sup, 16) // an acknowledgement that came too late was not one
			for seq, m := range q.hand[sup] {
				q.ack(m)
				delete(q.hand[sup], seq)
			}
			q.purge(sup, false)
		}
		return q.lying(bus.StreamOrders) == 0 || len(q.faults) > 0
	})
}

// A message that nobody acknowledged is never purged, and is delivered in the end.
func TestNothingOpenIsEverPurged(t *testing.T) {
	w := newWorld(t)
	begin := rand.Uint64()
	for i := range uint64(40) {
		q := w.queueRun(begin+i, floorOf)
		for range 150 {
			q.one()
		}
		q.end()
		if len(q.faults) > 0 {
			t.Fatalf("seed %d: %v", begin+i, q.faults)
		}
	}
}

// The bugs that somebody would plant here are found by such runs.
func TestPurgesTooFarAreFound(t *testing.T) {
	w := newWorld(t)
	for name, floor := range map[string]func(*jetstream.ConsumerInfo) uint64{
		"purges behind what was delivered": func(i *jetstream.ConsumerInfo) uint64 { return i.Delivered.Stream },
		"purges one message too many":      func(i *jetstream.ConsumerInfo) uint64 { return i.AckFloor.Stream + 1 },
		"takes the consumer's sequence": func(i *jetstream.ConsumerInfo) uint64 {
			return i.AckFloor.Consumer + i.Delivered.Stream - i.Delivered.Consumer
		},
	} {
		runs := 0
		for found := false; !found; runs++ {
			if runs == 40 {
				t.Fatalf("%s: not found in %d runs", name, runs)
			}
			q := w.queueRun(uint64(runs), floor)
			for range 150 {
				q.one()
			}
			q.check()
			found = len(q.faults) > 0
		}
		t.Logf("%s: found after %d runs", name, runs)
	}
}
