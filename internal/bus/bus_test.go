package bus_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
)

func open(t *testing.T, s *bustest.Server) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(bus.Config{URL: s.URL(), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func provisioned(t *testing.T) (*bustest.Server, *bus.Bus) {
	t.Helper()
	s := bustest.Start(t, bustest.Options{})
	b := open(t, s)
	if err := b.Provision(t.Context(), bus.DefaultSettings()); err != nil {
		t.Fatal(err)
	}
	return s, b
}

func TestProvisionIsIdempotentAndNeedNamesWhatIsMissing(t *testing.T) {
	s := bustest.Start(t, bustest.Options{})
	b := open(t, s)
	err := b.Need(t.Context(), bus.StreamOrders, bus.StreamOrders+"/"+bus.ConsumerOrderer("eiotclub"), "kv/"+bus.BucketLeases)
	if err == nil {
		t.Fatal("an empty server has what a worker needs")
	}
	for _, want := range []string{"ORDERS,", "ORDERS/orderer-eiotclub", "kv/leases", "simctl provision"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
	for range 2 {
		if err := b.Provision(t.Context(), bus.DefaultSettings()); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Need(t.Context(), bus.StreamOrders, bus.StreamOrders+"/"+bus.ConsumerOrderer("eiotclub"), "kv/"+bus.BucketLeases); err != nil {
		t.Error(err)
	}
}

func TestOrdersTakesKnownSuppliersOnlyAndEachMessageHasOneConsumer(t *testing.T) {
	_, b := provisioned(t)
	if _, err := b.Publish(t.Context(), bus.NewMsg("orders.v1.request.nobody.esim", "", []byte("{}"))); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a request for an unknown supplier: %v, want no responders", err)
	}
	if _, err := b.Publish(t.Context(), bus.NewMsg(bus.SubjectRequest("eiotclub", "balloons"), "", []byte("{}"))); err != nil {
		t.Errorf("an unknown product of a known supplier is taken, to become a dead letter: %v", err)
	}
}

func TestPublishExpectRefusesTheSecondWriter(t *testing.T) {
	_, b := provisioned(t)
	write := func(state string, expect uint64) (bus.Ack, error) {
		m := bus.NewMsg(bus.SubjectOrderEvent("o1", "eiotclub", state), "", []byte("{}"))
		bus.Expect(m, bus.SubjectOrderHistory("o1"), expect)
		return b.Publish(t.Context(), m)
	}
	first, err := write("intent", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := write("intent", 0); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("second first write: %v, want a conflict", err)
	}
	if _, err := write("placed", first.Sequence); err != nil {
		t.Errorf("a write on the last sequence: %v", err)
	}
	if _, err := write("rejected", first.Sequence); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("a write on a sequence that is not the last: %v, want a conflict", err)
	}
}

func TestPublishSaysDuplicate(t *testing.T) {
	_, b := provisioned(t)
	m := func() *nats.Msg {
		return bus.NewMsg(bus.SubjectWebhook("eiotclub", "default", "Refund"), "eiotclub:default:1", []byte("{}"))
	}
	a1, err := b.Publish(t.Context(), m())
	if err != nil || a1.Duplicate {
		t.Fatalf("%+v, %v", a1, err)
	}
	if trace := waitLast(t, b, bus.StreamWebhooks, bus.SubjectWebhook("eiotclub", "default", "Refund")).Header.Get(bus.HeaderTraceParent); len(trace) != 55 {
		t.Errorf("traceparent %q", trace)
	}
	a2, err := b.Publish(t.Context(), m())
	if err != nil || !a2.Duplicate || a2.Sequence != a1.Sequence {
		t.Errorf("repeat: %+v, %v; want a duplicate of %d", a2, err, a1.Sequence)
	}
}

func TestPublishToAHungServerIsUnknown(t *testing.T) {
	s, _ := provisioned(t)
	b, err := bus.Connect(bus.Config{URL: s.Gated(), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = b.Publish(ctx, bus.NewMsg(bus.SubjectFinding("order_price"), "", []byte("{}")))
	if !errors.Is(err, bus.ErrOutcomeUnknown) {
		t.Errorf("%v, want outcome unknown", err)
	}
	s.Resume()
}

func TestPublishWhileAwayIsNotStoredLater(t *testing.T) {
	s, b := provisioned(t)
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := b.Publish(ctx, bus.NewMsg(bus.SubjectFinding("order_price"), "", []byte("{}"))); err == nil {
		t.Fatal("stored on a stopped server")
	}
	s.Restart()
	b2 := open(t, s)
	str, err := b2.JS.Stream(t.Context(), bus.StreamFindings)
	if err != nil {
		t.Fatal(err)
	}
	if n := str.CachedInfo().State.Msgs; n != 0 {
		t.Errorf("%d messages appeared after the reconnect", n)
	}
}

func TestConsumeCarriesOutVerdicts(t *testing.T) {
	_, b := provisioned(t)
	for _, id := range []string{"done", "again", "dead"} {
		if _, err := b.Publish(t.Context(), bus.NewMsg(bus.SubjectRequest("eiotclub", "package"), "req:"+id, []byte(id))); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	seen := make(chan string, 10)
	ended := make(chan error, 1)
	go func() {
		ended <- b.Consume(ctx, t.Context(), bus.ConsumeConfig{Stream: bus.StreamOrders, Durable: bus.ConsumerOrderer("eiotclub"), Concurrency: 4, Progress: true},
			func(_ context.Context, m jetstream.Msg) bus.Verdict {
				meta, err := m.Metadata()
				if err != nil {
					t.Error(err)
				}
				seen <- string(m.Data())
				switch {
				case string(m.Data()) == "dead":
					return bus.Dead("malformed", errors.New("not\nan order"))
				case string(m.Data()) == "again" && meta.NumDelivered == 1:
					return bus.Again(10 * time.Millisecond)
				}
				return bus.Done()
			})
	}()
	count := map[string]int{}
	for range 4 {
		count[<-seen]++
	}
	if count["done"] != 1 || count["again"] != 2 || count["dead"] != 1 {
		t.Errorf("deliveries %v, want done 1, again 2, dead 1", count)
	}
	letter := waitLast(t, b, bus.StreamDead, bus.SubjectDead(bus.StreamOrders))
	for name, want := range map[string]string{bus.HeaderReason: "malformed", bus.HeaderError: "not an order", bus.HeaderAttempts: "1",
		bus.HeaderOrigin: bus.SubjectRequest("eiotclub", "package"), bus.HeaderOriginID: "req:dead"} {
		if got := letter.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if string(letter.Data) != "dead" {
		t.Errorf("letter holds %q, want the whole message", letter.Data)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("clean end: %v", err)
	}
	b.Close()
}

func TestConsumeWaitsForWorkInHand(t *testing.T) {
	_, b := provisioned(t)
	if _, err := b.Publish(t.Context(), bus.NewMsg(bus.SubjectRequest("esimfly", "esim"), "", []byte("x"))); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	begun, finish := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- b.Consume(ctx, t.Context(), bus.ConsumeConfig{Stream: bus.StreamOrders, Durable: bus.ConsumerOrderer("esimfly"), Concurrency: 1},
			func(work context.Context, _ jetstream.Msg) bus.Verdict {
				close(begun)
				<-finish
				if work.Err() != nil {
					t.Error("work was cut off by the stop")
				}
				return bus.Done()
			})
	}()
	<-begun
	stop()
	select {
	case err := <-ended:
		t.Fatalf("ended with work in hand: %v", err)
	default:
	}
	close(finish)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestLease(t *testing.T) {
	_, b := provisioned(t)
	ctx := t.Context()
	l, err := b.Acquire(ctx, "recon.records", "a", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Acquire(ctx, "recon.records", "b", time.Minute); !errors.Is(err, bus.ErrLeaseHeld) {
		t.Fatalf("second owner: %v, want held", err)
	}
	if _, err := b.Acquire(ctx, "recon.records", "a", time.Minute); err != nil {
		t.Errorf("the owner asks again after a lost answer: %v", err)
	}
	if err := l.Renew(ctx); !errors.Is(err, bus.ErrLeaseHeld) {
		t.Errorf("renew on an old revision: %v, want held", err)
	}
	for tries := 1; ; tries++ {
		l2, err := b.Acquire(ctx, "recon.records", "a", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err = l2.Renew(ctx); err == nil {
			break
		}
		if !errors.Is(err, bus.ErrLeaseHeld) || tries == 10 { // it may be over, if the machine took so long
			t.Fatal(err)
		}
	}
	// Renewed with its ttl kept: it goes away by itself after the last renewal.
	kv, err := b.JS.KeyValue(ctx, bus.BucketLeases)
	if err != nil {
		t.Fatal(err)
	}
	w, err := kv.Watch(ctx, "recon.records") // from what stands on
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Stop() }()
	for gone, late := false, time.After(20*time.Second); !gone; {
		select {
		case e := <-w.Updates():
			gone = e != nil && e.Operation() != jetstream.KeyValuePut
		case <-late:
			t.Fatal("the lease did not expire after a renewal")
		}
	}
	l3, err := b.Acquire(ctx, "recon.records", "b", time.Minute)
	if err != nil {
		t.Fatalf("after expiry: %v", err)
	}
	if err := l3.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Acquire(ctx, "recon.records", "a", time.Minute); err != nil {
		t.Errorf("after release: %v", err)
	}
}

// waitLast returns the last message on subject once there is one.
func waitLast(t *testing.T, b *bus.Bus, stream, subject string) *jetstream.RawStreamMsg {
	t.Helper()
	cons, err := b.JS.OrderedConsumer(t.Context(), stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cons.Next(jetstream.FetchMaxWait(10 * time.Second)); err != nil {
		t.Fatalf("nothing on %s: %v", subject, err)
	}
	s, err := b.JS.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
