package orderer

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	eiotclubsim "github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/wire"
)

func esimOrder(id string) order.Request {
	return order.Request{OrderID: id, Supplier: order.EIOTCLUB, Product: order.ProductESIM, Account: "default", GoodsCode: eiotclubsim.GoodsCode}
}

// on lists the sequences that ORDERS holds on a filter.
func (w *world) on(filter string) (seqs []uint64) {
	w.t.Helper()
	msgs, _, err := w.bus.Range(context.WithoutCancel(w.t.Context()), bus.StreamOrders, filter, 1, 10_000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range msgs {
		seqs = append(seqs, m.Sequence)
	}
	return seqs
}

// idle asks for a message where there is none to give: only then does the server give
// up what was delivered too often.
func (w *world) idle(supplier string) {
	w.t.Helper()
	batch, err := w.durable(supplier).Fetch(1, jetstream.FetchMaxWait(20*time.Millisecond))
	if err != nil {
		w.t.Fatal(err)
	}
	for m := range batch.Messages() {
		w.t.Fatalf("%s came, want none", m.Subject())
	}
}

// until waits for something that comes about in a moment.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); tick(t) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func (w *world) durable(supplier string) jetstream.Consumer {
	w.t.Helper()
	cons, err := w.bus.JS.Consumer(w.t.Context(), bus.StreamOrders, bus.ConsumerOrderer(supplier))
	if err != nil {
		w.t.Fatal(err)
	}
	return cons
}

// edit changes a durable as somebody with `nats consumer edit` does.
func (w *world) edit(supplier string, change func(*jetstream.ConsumerConfig)) {
	w.t.Helper()
	c := w.durable(supplier).CachedInfo().Config
	change(&c)
	if _, err := w.bus.JS.UpdateConsumer(w.t.Context(), bus.StreamOrders, c); err != nil {
		w.t.Fatal(err)
	}
}

// fetch takes n messages.
func (w *world) fetch(supplier string, n int) (out []jetstream.Msg) {
	w.t.Helper()
	batch, err := w.durable(supplier).Fetch(n, jetstream.FetchMaxWait(patience))
	if err != nil {
		w.t.Fatal(err)
	}
	for m := range batch.Messages() {
		out = append(out, m)
	}
	if len(out) != n {
		w.t.Fatalf("%d messages came, want %d", len(out), n)
	}
	return out
}

func (w *world) ack(m jetstream.Msg) {
	w.t.Helper()
	if err := m.DoubleAck(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// bring has the engine do what the message asks for, and acknowledges nothing.
func (w *world) bring(m jetstream.Msg) {
	w.t.Helper()
	for !w.worker.handle(w.t.Context(), m).IsDone() {
		tick(w.t)
	}
}

// Two replicas at work under load: what is done goes, also beside a supplier whose
// durable is paused; of that one's requests none goes.
func TestDoneIsPurgedPerSupplier(t *testing.T) {
	w := newWorld(t)
	if _, err := w.bus.JS.PauseConsumer(t.Context(), bus.StreamOrders, bus.ConsumerOrderer(order.ESIMFly), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	w.run()
	w.worker = w.newWorker()
	w.run()
	const n, fly = 120, 10
	var paused []uint64
	for i := range n {
		w.publish(esimOrder(fmt.Sprint("p-", i)))
		if i%(n/fly) == 0 {
			w.publish(flyOrder(fmt.Sprint("f-", i)))
			paused = append(paused, uint64(i+len(paused)+2))
		}
	}
	w.send(bus.SubjectCancel(order.EIOTCLUB), []byte(`{"order_id":"p-0","account":"default","reason":"late"}`))
	until(t, "the purge of what is done", func() bool { return w.lying(bus.StreamOrders) == fly })
	if got := w.on(">"); !slices.Equal(got, paused) {
		t.Errorf("%v of the paused supplier lie there, want %v", got, paused)
	}
	if sold := w.eiotclub.Orders(); sold != n {
		t.Errorf("%d orders, %d bought", n, sold)
	}
}

// Whoever ends in an orderly way leaves an empty queue behind, without waiting for
// the next purge.
func TestTheLastOneTidiesUp(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- w.worker.Run(ctx) }()
	wait := w.events()
	w.publish(esimOrder("first"))
	until(t, "the first purge", func() bool { queued, _ := w.left(); return queued == 0 && w.lying(bus.StreamOrders) == 0 })
	for i := range 30 {
		w.publish(esimOrder(fmt.Sprint("o-", i)))
	}
	for i := range 30 {
		wait(fmt.Sprint("o-", i), order.Fulfilled)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if n := w.lying(bus.StreamOrders); n != 0 {
		t.Errorf("%d messages left", n)
	}
}

// Killed between the acknowledgement and the purge: the next process finds what is
// done there, buys nothing of it again, and purges it.
func TestKilledBeforeThePurge(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.publish(esimOrder(fmt.Sprint("k-", i)))
	}
	w.publish(flyOrder("other"))
	for i, m := range w.fetch(order.EIOTCLUB, 5) {
		w.bring(m)
		if i != 3 {
			w.ack(m) // killed before it could say so of 3
		}
	}
	if n := w.lying(bus.StreamOrders); n != 6 {
		t.Fatalf("%d messages lie there, want 6", n)
	}
	p := w.newWorker().newPurger(order.EIOTCLUB)
	if _, err := p.once(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if got := w.on(">"); !slices.Equal(got, []uint64{4, 5, 6}) {
		t.Errorf("%v lie there, want what is behind the first that was not acknowledged", got)
	}
	if n := w.eiotclub.Orders(); n != 5 {
		t.Errorf("%d bought, want 5", n)
	}
}

// A durable with a limit of deliveries: its floor passes what nobody acknowledged. So
// nothing is purged by it, what was given up is bought after all, and what was done
// is not bought twice.
func TestGivenUpIsBoughtAfterAll(t *testing.T) {
	w := newWorld(t)
	var log bytes.Buffer
	w.worker.log = slog.New(slog.NewTextHandler(&log, nil))
	p := w.worker.newPurger(order.EIOTCLUB)
	look := func() {
		t.Helper()
		p.nextLook = time.Time{}
		if _, err := p.once(t.Context(), true); err != nil {
			t.Fatal(err)
		}
	}
	tidy := func() {
		t.Helper()
		if _, err := p.once(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	kept := func() float64 { return testutil.ToFloat64(w.worker.m.kept.WithLabelValues(order.EIOTCLUB)) }
	// left waits until the server has given up all but n of what it delivered.
	left := func(n int) {
		t.Helper()
		until(t, "the server's giving up", func() bool {
			w.idle(order.EIOTCLUB)
			return w.durable(order.EIOTCLUB).CachedInfo().NumAckPending == n
		})
	}
	// giveUp lets the server give up the next message.
	giveUp := func() {
		t.Helper()
		if err := w.fetch(order.EIOTCLUB, 1)[0].Nak(); err != nil {
			t.Fatal(err)
		}
	}
	lies := func(want ...uint64) {
		t.Helper()
		if got := w.on(">"); !slices.Equal(got, want) {
			t.Fatalf("%v lie there, want %v", got, want)
		}
	}
	limited := func(n int) { w.edit(order.EIOTCLUB, func(c *jetstream.ConsumerConfig) { c.MaxDeliver = n }) }

	look() // an empty stream: from here on it goes by the floor
	if !p.watched || kept() != 0 {
		t.Fatalf("watched %v, kept %v", p.watched, kept())
	}
	limited(1)
	w.publish(esimOrder("given-up"))                                                                            // 1
	w.publish(esimOrder("done"))                                                                                // 2
	w.send(bus.SubjectCancel(order.EIOTCLUB), []byte(`{"order_id":"nobody","account":"default","reason":"r"}`)) // 3
	w.send(bus.SubjectCancel(order.EIOTCLUB), []byte(`"no cancel"`))                                            // 4
	giveUp()
	done := w.fetch(order.EIOTCLUB, 1)[0]
	w.bring(done)
	w.ack(done)
	giveUp()
	giveUp()
	left(0)
	for range 3 {
		tidy()
	}
	lies(1, 2, 3, 4)
	if n := strings.Count(log.String(), "max_deliver 1"); n != 1 || kept() != 1 {
		t.Errorf("told %d times, kept %v:\n%s", n, kept(), log.String())
	}
	look()
	lies(3) // a cancel that may have overtaken its order
	if n := w.eiotclub.Orders(); n != 2 {
		t.Errorf("%d bought, want the one that was given up and the one that was done", n)
	}
	if got := w.dead(bus.StreamOrders); got.reason != wire.ReasonMalformed && got.reason != wire.ReasonSchema {
		t.Errorf("dead letter %+v", got)
	}
	if _, err := p.once(t.Context(), true); err != nil { // not its time yet
		t.Fatal(err)
	}
	w.publish(esimOrder("given-up-too")) // 5, and the limit goes before anybody looks
	giveUp()
	left(0)
	limited(-1)
	tidy()
	lies(3, 5)
	if p.watched || kept() != 0 {
		t.Errorf("watched %v before a look, kept %v", p.watched, kept())
	}
	look()
	lies(3)
	if n := w.bought(esimOrder("given-up-too")); n != 1 {
		t.Errorf("given up before the limit went, bought %d times", n)
	}
	if p.watched {
		t.Error("purging goes on although something was left")
	}
	for range cancelTries { // as often as if it were delivered
		look()
	}
	lies()
	if !p.watched {
		t.Error("purging does not go on although nothing is left")
	}

	// One is given up while another is in work, so that the floor passes it only when
	// the limit is long gone.
	limited(1)
	tidy()
	w.publish(esimOrder("before-the-floor")) // 6
	giveUp()
	w.publish(esimOrder("in-work")) // 7
	inWork := w.fetch(order.EIOTCLUB, 1)[0]
	left(1)
	limited(-1)
	look()
	lies(6, 7)
	w.bring(inWork)
	w.ack(inWork)
	tidy()
	lies(6, 7)
	look()
	lies()
	if n := w.bought(esimOrder("before-the-floor")); n != 1 || !p.watched {
		t.Errorf("given up before the floor, bought %d times; watched %v", n, p.watched)
	}

	w.publish(esimOrder("after")) // 8
	m := w.fetch(order.EIOTCLUB, 1)[0]
	w.bring(m)
	tidy()
	lies(8)
	w.ack(m)
	tidy()
	lies()
	if n := w.eiotclub.Orders(); n != 6 {
		t.Errorf("%d bought, want 6", n)
	}
}

// Whoever gave the durable a limit and took it away again while no orderer ran: what
// was given up meanwhile is found by the first one that starts.
func TestGivenUpBeforeTheStart(t *testing.T) {
	w := newWorld(t)
	w.edit(order.EIOTCLUB, func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 1 })
	w.publish(esimOrder("given-up"))
	w.publish(esimOrder("done"))
	msgs := w.fetch(order.EIOTCLUB, 2)
	if err := msgs[0].Nak(); err != nil {
		t.Fatal(err)
	}
	w.bring(msgs[1])
	until(t, "the server's giving up", func() bool {
		w.idle(order.EIOTCLUB)
		return w.durable(order.EIOTCLUB).CachedInfo().NumAckPending == 1
	})
	w.edit(order.EIOTCLUB, func(c *jetstream.ConsumerConfig) { c.MaxDeliver = -1 })
	w.ack(msgs[1])
	p := w.newWorker().newPurger(order.EIOTCLUB)
	if f, err := p.once(t.Context(), true); err != nil || f.AckFloor.Stream != 2 || f.Doubt != "" {
		t.Fatalf("floor %d, doubt %q, %v", f.AckFloor.Stream, f.Doubt, err)
	}
	if n, all := w.bought(esimOrder("given-up")), w.eiotclub.Orders(); n != 1 || all != 2 || w.lying(bus.StreamOrders) != 0 {
		t.Errorf("what was given up is bought %d times, all %d of 2; %d lie there", n, all, w.lying(bus.StreamOrders))
	}
}

// A limit that comes and goes between two looks at the durable, so that nobody sees it:
// the server's advisory tells of it; and who had no connection meanwhile, and heard
// none, does not go by the floor either.
func TestGivenUpUnderALimitThatNobodySaw(t *testing.T) {
	for name, hears := range map[string]bool{"told": true, "away": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.worker.newPurger(order.EIOTCLUB)
			other := w.worker.newPurger(order.ESIMFly)
			once := func() {
				t.Helper()
				if _, err := p.once(t.Context(), true); err != nil {
					t.Fatal(err)
				}
			}
			if hears {
				stop, err := w.worker.watchAdvisories([]*purger{other, p})
				if err != nil {
					t.Fatal(err)
				}
				defer stop()
			}
			once()
			w.publish(esimOrder("given-up"))
			w.publish(esimOrder("done"))
			msgs := w.fetch(order.EIOTCLUB, 2)
			w.edit(order.EIOTCLUB, func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 1 })
			if err := msgs[0].Nak(); err != nil {
				t.Fatal(err)
			}
			until(t, "the server's giving up", func() bool {
				w.idle(order.EIOTCLUB)
				return w.durable(order.EIOTCLUB).CachedInfo().NumAckPending == 1
			})
			w.edit(order.EIOTCLUB, func(c *jetstream.ConsumerConfig) { c.MaxDeliver = -1 })
			w.bring(msgs[1])
			w.ack(msgs[1])
			if hears {
				until(t, "the advisory", p.passed.Load)
			} else {
				before := w.bus.NC.Stats().Reconnects
				if err := w.bus.NC.ForceReconnect(); err != nil {
					t.Fatal(err)
				}
				until(t, "another connection", func() bool { return w.bus.NC.Stats().Reconnects > before && w.bus.Ready() == nil })
			}
			once()
			if n, all := w.bought(esimOrder("given-up")), w.eiotclub.Orders(); n != 1 || all != 2 || w.lying(bus.StreamOrders) != 0 {
				t.Errorf("what was given up is bought %d times, all %d of 2; %d lie there", n, all, w.lying(bus.StreamOrders))
			}
			if !p.watched || other.passed.Load() {
				t.Errorf("purging goes on: %v; the other supplier is looked through: %v", p.watched, other.passed.Load())
			}
			if n := w.lying(bus.StreamDead); n != 0 {
				t.Errorf("%d dead letters", n)
			}
		})
	}
}

// A message that breaks its handler is set aside by the looks as well.
// What was delivered since a process saw the durable goes by the floor: a busy start
// does not have the engine do its first second's work twice.
func TestALookEndsWhereTheFloorIsTrusted(t *testing.T) {
	w := newWorld(t)
	w.publish(esimOrder("in-work"))
	inWork := w.fetch(order.EIOTCLUB, 1)[0]
	p := w.worker.newPurger(order.EIOTCLUB)
	looked := map[string]int{}
	handle := p.handle
	p.handle = func(ctx context.Context, m message) bus.Verdict {
		looked[m.Subject()]++
		return handle(ctx, m)
	}
	if _, err := p.once(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	const later = 5
	for i := range later {
		w.publish(esimOrder(fmt.Sprint("later-", i)))
	}
	for _, m := range append(w.fetch(order.EIOTCLUB, later), inWork) {
		w.bring(m)
		w.ack(m)
	}
	if _, err := p.once(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if got := looked[bus.SubjectRequest(order.EIOTCLUB, order.ProductESIM)]; got != 1 || len(looked) != 1 || w.lying(bus.StreamOrders) != 0 {
		t.Errorf("%d handled again (%v), wants the 1 that was in work at the start; %d lie there", got, looked, w.lying(bus.StreamOrders))
	}
}

func TestALookStandsAPanic(t *testing.T) {
	w := newWorld(t)
	w.worker.decide.gates = func(*Worker, context.Context, *account, *order.Record) (reserved, *shut, error) { panic("planted") }
	w.edit(order.EIOTCLUB, func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 1 })
	w.publish(esimOrder("breaks"))
	if err := w.fetch(order.EIOTCLUB, 1)[0].Nak(); err != nil {
		t.Fatal(err)
	}
	p := w.worker.newPurger(order.EIOTCLUB)
	until(t, "the dead letter", func() bool {
		w.idle(order.EIOTCLUB)
		p.nextLook = time.Time{}
		if _, err := p.once(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		return w.lying(bus.StreamOrders) == 0
	})
	if got := w.dead(bus.StreamOrders); got.reason != wire.ReasonMaxDeliveries {
		t.Errorf("dead letter %+v", got)
	}
}
