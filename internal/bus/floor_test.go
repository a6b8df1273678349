package bus_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
)

// take fetches n messages, and leaves no request behind.
func take(t *testing.T, cons jetstream.Consumer, n int) (out []jetstream.Msg) {
	t.Helper()
	batch, err := cons.Fetch(n, jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		out = append(out, m)
	}
	if len(out) != n {
		t.Fatalf("%d messages came, want %d", len(out), n)
	}
	return out
}

// lying lists the sequences that a stream holds.
func lying(t *testing.T, b *bus.Bus, stream string) (seqs []uint64) {
	t.Helper()
	msgs, _, err := b.Range(t.Context(), stream, ">", 1, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range msgs {
		seqs = append(seqs, m.Sequence)
	}
	return seqs
}

// A purge behind a durable's floor must not be noticed by the durable: the server
// forgets what was to be delivered again at once if the purge goes by a subject that
// contains the durable's filter. Then each would come after AckWait, which is a minute.
func TestClearLeavesRedeliveriesAlone(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	ctx := t.Context()
	request, deep, cancel := bus.SubjectRequest("eiotclub", "package"), bus.SubjectRequest("eiotclub", "a.b"), bus.SubjectCancel("eiotclub")
	for _, subject := range []string{request, deep, cancel, request, bus.SubjectRequest("esimfly", "esim"), cancel, request} {
		if _, err := b.Publish(ctx, bus.NewMsg(subject, "", []byte("{}"))); err != nil {
			t.Fatal(err)
		}
	}
	cons, err := b.JS.Consumer(ctx, bus.StreamOrders, bus.ConsumerOrderer("eiotclub"))
	if err != nil {
		t.Fatal(err)
	}
	msgs := take(t, cons, 6) // 1 2 3 4, 6 7
	for _, m := range msgs[:3] {
		if err := m.DoubleAck(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range msgs[3:] {
		if err := m.Nak(); err != nil {
			t.Fatal(err)
		}
	}
	f, err := b.Floor(ctx, bus.StreamOrders, bus.ConsumerOrderer("eiotclub"))
	if err != nil {
		t.Fatal(err)
	}
	if f.AckFloor.Stream != 3 || f.Doubt != "" {
		t.Fatalf("floor %d, doubt %q", f.AckFloor.Stream, f.Doubt)
	}
	for _, filter := range f.Filters {
		for _, below := range []uint64{0, 1} { // to the server 0 is all
			if err := b.Clear(ctx, bus.StreamOrders, filter, below); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(lying(t, b, bus.StreamOrders)); n != 7 && filter == f.Filters[0] {
			t.Fatalf("%d messages lie there before anything is purged", n)
		}
		if err := b.Clear(ctx, bus.StreamOrders, filter, f.AckFloor.Stream+1); err != nil {
			t.Fatal(err)
		}
	}
	if got := lying(t, b, bus.StreamOrders); len(got) != 4 || got[0] != 4 || got[1] != 5 {
		t.Errorf("%v lie there, want 4 to 7", got)
	}
	if m, found, err := b.NextFromLeader(ctx, bus.StreamOrders, f.Filters[0], 1); err != nil || !found || m.Sequence != 6 {
		t.Errorf("the next on %s is %d, %v", f.Filters[0], m.Sequence, err)
	}
	if m, found, err := b.NextFromLeader(ctx, bus.StreamOrders, f.Filters[0], 7); err != nil || found {
		t.Errorf("behind the last on %s is %d, %v", f.Filters[0], m.Sequence, err)
	}
	for _, want := range []uint64{4, 6, 7} {
		m, err := cons.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			t.Fatalf("message %d was to be delivered again: %v", want, err)
		}
		meta, err := m.Metadata()
		if err != nil || meta.Sequence.Stream != want || meta.NumDelivered != 2 {
			t.Errorf("message %+v came, %v; want %d", meta, err, want)
		}
	}
}

// What somebody changes on a durable so that its floor proves nothing is seen.
func TestFloorInDoubt(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	ctx, durable := t.Context(), bus.ConsumerOrderer("esimfly")
	for name, change := range map[string]func(*jetstream.ConsumerConfig){
		"max_deliver 5 → -1": func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 5 },
		"filter [":           func(c *jetstream.ConsumerConfig) { c.FilterSubjects = c.FilterSubjects[:1] },
		"deliver_policy new": func(c *jetstream.ConsumerConfig) { c.DeliverPolicy = jetstream.DeliverNewPolicy },
		"":                   func(c *jetstream.ConsumerConfig) { c.MaxAckPending, c.AckWait = 7, time.Minute/2 },
	} {
		for _, c := range bus.NewTopology(bus.DefaultSettings()).Consumers[bus.StreamOrders] {
			if c.Durable != durable {
				continue
			}
			if err := b.JS.DeleteConsumer(ctx, bus.StreamOrders, durable); err != nil {
				t.Fatal(err)
			}
			change(&c)
			if _, err := b.JS.CreateConsumer(ctx, bus.StreamOrders, c); err != nil {
				t.Fatal(err)
			}
		}
		f, err := b.Floor(ctx, bus.StreamOrders, durable)
		if err != nil || !strings.HasPrefix(f.Doubt, name) || (name == "") != (f.Doubt == "") {
			t.Errorf("doubt %q, %v; want %q", f.Doubt, err, name)
		}
		if len(f.Filters) != 2 {
			t.Errorf("filters %v", f.Filters)
		}
	}
}

// A message is handled where it lies as it would be if it were delivered.
func TestHandleStored(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	ctx, subject := t.Context(), bus.SubjectRequest("eiotclub", "package")
	if _, err := b.Publish(ctx, bus.NewMsg(subject, "id-1", []byte("body"))); err != nil {
		t.Fatal(err)
	}
	msgs, _, err := b.Range(ctx, bus.StreamOrders, subject, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		verdict bus.Verdict
		done    bool
	}{{bus.Done(), true}, {bus.Again(time.Second), false}, {bus.Leave(), false}, {bus.Dead("schema", errors.New("no")), true}} {
		done, err := b.HandleStored(ctx, bus.StreamOrders, msgs[0], 3, func(_ context.Context, m bus.Message) bus.Verdict {
			meta, err := m.Metadata()
			if err != nil || meta.NumDelivered != 3 || meta.Sequence.Stream != 1 || m.Subject() != subject || string(m.Data()) != "body" {
				t.Errorf("%+v %s %s %v", meta, m.Subject(), m.Data(), err)
			}
			return c.verdict
		})
		if err != nil || done != c.done {
			t.Errorf("%+v: %v, %v", c.verdict, done, err)
		}
	}
	letter := waitLast(t, b, bus.StreamDead, bus.SubjectDead(bus.StreamOrders))
	if h := letter.Header; string(letter.Data) != "body" || h.Get(bus.HeaderReason) != "schema" || h.Get(bus.HeaderOrigin) != subject || h.Get(bus.HeaderOriginID) != "id-1" || h.Get(bus.HeaderAttempts) != "3" {
		t.Errorf("letter %v %s", h, letter.Data)
	}
}

// What is done and lies there still, because orderer was killed before it purged, is
// not old: the oldest is the oldest that is not done, of whichever supplier.
func TestOldestOfOrdersIsWhatIsNotDone(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	ctx := t.Context()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(bus.NewBacklog(b, bus.StreamOrders))
	oldest := func() float64 {
		t.Helper()
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "simline_bus_oldest_message_seconds" {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		t.Fatal("no age")
		return 0
	}
	publish := func(subject string) time.Time {
		t.Helper()
		at := time.Now()
		if _, err := b.Publish(ctx, bus.NewMsg(subject, "", []byte("{}"))); err != nil {
			t.Fatal(err)
		}
		return at
	}
	is := func(what string, since time.Time) {
		t.Helper()
		got, most := oldest(), time.Since(since).Seconds()
		if got > most || got <= 0 {
			t.Errorf("%s: %.4f s, want at most %.4f", what, got, most)
		}
	}
	if got := oldest(); got != 0 {
		t.Errorf("nothing is %v s old", got)
	}
	publish(bus.SubjectRequest("eiotclub", "package"))
	second := publish(bus.SubjectCancel("eiotclub"))
	cons, err := b.JS.Consumer(ctx, bus.StreamOrders, bus.ConsumerOrderer("eiotclub"))
	if err != nil {
		t.Fatal(err)
	}
	msgs := take(t, cons, 2)
	if err := msgs[0].DoubleAck(ctx); err != nil {
		t.Fatal(err)
	}
	is("one is done, one in work", second)
	third := publish(bus.SubjectRequest("esimfly", "esim"))
	if err := msgs[1].DoubleAck(ctx); err != nil {
		t.Fatal(err)
	}
	is("both are done, another supplier's waits", third)
	fly, err := b.JS.Consumer(ctx, bus.StreamOrders, bus.ConsumerOrderer("esimfly"))
	if err != nil {
		t.Fatal(err)
	}
	if err := take(t, fly, 1)[0].DoubleAck(ctx); err != nil {
		t.Fatal(err)
	}
	if got, n := oldest(), len(lying(t, b, bus.StreamOrders)); got != 0 || n != 3 {
		t.Errorf("all is done: %v s old; %d lie there, want 3", got, n)
	}
}

// A server does not change what becomes of acknowledged messages: provisioning says
// so, and what to do.
func TestProvisionOverAWorkQueue(t *testing.T) {
	_, b := bustest.Provisioned(t, bustest.Options{})
	ctx := t.Context()
	for _, sc := range bus.NewTopology(bus.DefaultSettings()).Streams {
		if sc.Name != bus.StreamOrders {
			continue
		}
		if err := b.JS.DeleteStream(ctx, sc.Name); err != nil {
			t.Fatal(err)
		}
		sc.Retention = jetstream.WorkQueuePolicy
		if _, err := b.JS.CreateStream(ctx, sc); err != nil {
			t.Fatal(err)
		}
	}
	err := b.Provision(ctx, bus.DefaultSettings())
	if err == nil {
		t.Fatal("a work queue became a limits stream")
	}
	for _, want := range []string{"stream ORDERS", "WorkQueue", "Limits", "nats stream rm ORDERS"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if err := b.JS.DeleteStream(ctx, bus.StreamOrders); err != nil {
		t.Fatal(err)
	}
	if err := b.Provision(ctx, bus.DefaultSettings()); err != nil {
		t.Error(err)
	}
}
