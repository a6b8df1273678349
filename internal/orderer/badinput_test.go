package orderer

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
)

const goodOrder = `{"order_id":"630000198311142676","supplier":"eiotclub","product":"package","account":"default","iccid":"8988308650100524999","package_code":"CN-5M-7D-C-US-20230103AC4BF927"`

const goodEvidence = `{"order_id":"e1","supplier":"eiotclub","source":"lookup","certainty":"placed","supplier_order_id":"7","observed_at":"2026-01-15T12:00:00Z"}`

// Each is a dead letter with a reason that a stranger understands; none leads to a
// call of the supplier, and none stops the worker.
func TestWhatIsNoOrder(t *testing.T) {
	request := bus.SubjectRequest(order.EIOTCLUB, order.ProductPackage)
	cases := []struct{ name, subject, body, reason, says string }{
		{"not JSON", request, `hello`, "malformed", ""},
		{"nothing", request, ``, "malformed", ""},
		{"cut off", request, goodOrder, "malformed", ""},
		{"a list", request, `[` + goodOrder + `}]`, "schema", ""},
		{"a name twice", request, goodOrder + `,"order_id":"2"}`, "malformed", "order_id"},
		{"an unknown name", request, goodOrder + `,"colour":"red"}`, "schema", "colour"},
		{"a number as id", request, strings.Replace(goodOrder, `"630000198311142676"`, `630000198311142676`, 1) + `}`, "schema", "order_id"},
		{"an id with a dot", request, strings.Replace(goodOrder, "630000198311142676", "a.b", 1) + `}`, "schema", "order_id"},
		{"an id of 33", request, strings.Replace(goodOrder, "630000198311142676", strings.Repeat("x", 33), 1) + `}`, "schema", "order_id"},
		{"a wildcard as id", request, strings.Replace(goodOrder, "630000198311142676", ">", 1) + `}`, "schema", "order_id"},
		{"no ICCID", request, strings.Replace(goodOrder, `"iccid":"8988308650100524999",`, "", 1) + `}`, "schema", "iccid"},
		{"negative money", request, goodOrder + `,"max_total":{"amount":"-1","currency":"USD"}}`, "schema", "max_total"},
		{"money as a number", request, goodOrder + `,"max_total":{"amount":5,"currency":"USD"}}`, "schema", ""},
		{"absurd money", request, goodOrder + `,"max_total":{"amount":"99999999999999999999","currency":"USD"}}`, "schema", "12 digits"},
		{"1 MiB of metadata", request, goodOrder + `,"metadata":{"x":"` + strings.Repeat("y", 1<<20) + `"}}`, "too_large", ""},
		{"17 KiB of metadata", request, goodOrder + `,"metadata":{"x":"` + strings.Repeat("y", 17<<10) + `"}}`, "too_large", "metadata"},
		{"an unknown product", bus.SubjectRequest(order.EIOTCLUB, "car"), strings.Replace(goodOrder, `"package"`, `"car"`, 1) + `}`, "unknown_product", "car"},
		{"an unknown product in the subject", bus.SubjectRequest(order.EIOTCLUB, "car"), goodOrder + `}`, "unknown_product", "car"},
		{"another product in the subject", bus.SubjectRequest(order.EIOTCLUB, order.ProductESIM), goodOrder + `}`, "mismatch", "belongs on"},
		{"another supplier in the body", request, strings.Replace(goodOrder, "eiotclub", "esimfly", 1) + `}`, "", ""},
		{"an unknown account", request, strings.Replace(goodOrder, "default", "nobody", 1) + `}`, "unknown_account", "nobody"},
		{"a cancel without an id", bus.SubjectCancel(order.EIOTCLUB), `{"account":"default"}`, "schema", "order_id"},
		{"evidence that is not JSON", bus.SubjectEvidence(order.EIOTCLUB, "e1"), `{"order_id"`, "malformed", ""},
		{"evidence of a certainty that is none", bus.SubjectEvidence(order.EIOTCLUB, "e1"), strings.Replace(goodEvidence, `"placed"`, `"perhaps"`, 1), "schema", "certainty"},
		{"evidence about another order than its subject", bus.SubjectEvidence(order.EIOTCLUB, "e2"), goodEvidence, "mismatch", "belongs on"},
		{"a person's word without a reason", bus.SubjectEvidence(order.EIOTCLUB, "e1"), strings.Replace(goodEvidence, `"lookup"`, `"person"`, 1), "schema", "reason"},
	}
	w := newWorld(t)
	var calls atomic.Int64
	w.front(func(_ string, _ http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/balance") { // asked now and then, whatever comes
			calls.Add(1)
		}
		return false
	})
	w.run()
	counted := func(reason string) float64 {
		return testutil.ToFloat64(w.worker.m.dead.WithLabelValues(order.EIOTCLUB, reason))
	}
	cons, err := w.bus.JS.OrderedConsumer(t.Context(), bus.StreamDead, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := counted(c.reason)
			w.send(c.subject, []byte(c.body))
			m, err := cons.Next(jetstream.FetchMaxWait(patience))
			if err != nil {
				t.Fatalf("no dead letter: %v", err)
			}
			if got := m.Headers().Get(bus.HeaderReason); c.reason != "" && got != c.reason {
				t.Errorf("reason %s, want %s (%s)", got, c.reason, m.Headers().Get(bus.HeaderError))
			}
			if got := m.Headers().Get(bus.HeaderError); !strings.Contains(got, c.says) {
				t.Errorf("error %q does not mention %q", got, c.says)
			}
			if string(m.Data()) != c.body || m.Headers().Get(bus.HeaderOrigin) != c.subject {
				t.Error("the letter is not the whole message")
			}
			if c.reason != "" && counted(c.reason) != before+1 {
				t.Errorf("the counter of %s went from %.0f to %.0f", c.reason, before, counted(c.reason))
			}
		})
	}
	t.Run("an unknown supplier is refused at once", func(t *testing.T) {
		if _, err := w.bus.JS.Publish(t.Context(), bus.SubjectRequest("nobody", "package"), []byte(goodOrder+"}")); err == nil {
			t.Error("JetStream took it")
		}
	})
	w.settled()
	if n := w.eiotclub.Orders(); n != 0 {
		t.Errorf("%d orders bought", n)
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d calls at the suppliers", n)
	}
}

// delivery is a message at its n-th delivery.
type delivery struct {
	jetstream.Msg
	n uint64
}

func (d delivery) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{NumDelivered: d.n}, nil
}

// A message that breaks its handler does not take the process along, and is set aside
// once it has done so again and again.
func TestWhatBreaksItsHandlerIsSetAside(t *testing.T) {
	w := newWorld(t)
	handle := w.worker.guarded(order.EIOTCLUB, func(context.Context, message) bus.Verdict { panic("a bug") })
	count := w.worker.m.dead.WithLabelValues(order.EIOTCLUB, "max_deliveries")
	for n := uint64(1); n < maxPanics; n++ {
		if delay, again := handle(t.Context(), delivery{n: n}).Delay(); !again || delay < time.Second {
			t.Errorf("delivery %d comes again: %t, in %s", n, again, delay)
		}
	}
	if reason, dead := handle(t.Context(), delivery{n: maxPanics}).IsDead(); !dead || reason != "max_deliveries" {
		t.Errorf("dead: %t, for %s", dead, reason)
	}
	if n := testutil.ToFloat64(count); n != 1 {
		t.Errorf("%.0f dead letters are counted", n)
	}
	if n := testutil.ToFloat64(w.worker.m.failures.WithLabelValues("panic")); n != maxPanics {
		t.Errorf("%.0f panics are counted", n)
	}
}

// A piece of evidence that the server gave up delivering is set aside too.
func TestMaxDeliveriesAdvisory(t *testing.T) {
	w := newWorld(t)
	w.send(bus.SubjectEvidence(order.EIOTCLUB, "o-1"), []byte(`"given up"`))
	if err := w.worker.setAside(fmt.Appendf(nil, `{"stream":%q,"consumer":"orderer-evidence-eiotclub","stream_seq":1,"deliveries":7}`, bus.StreamEvidence)); err != nil {
		t.Fatal(err)
	}
	if got := w.dead(bus.StreamEvidence); got.reason != "max_deliveries" || !strings.Contains(got.text, "7") {
		t.Errorf("dead letter %+v", got)
	}
	if n := w.lying(bus.StreamEvidence); n != 0 {
		t.Errorf("%d messages lie on EVIDENCE still", n)
	}
	// The second replica hears the advisory as well, and finds nothing left to do.
	if err := w.worker.setAside(fmt.Appendf(nil, `{"stream":%q,"stream_seq":1,"deliveries":7}`, bus.StreamEvidence)); err != nil {
		t.Error(err)
	}
}

// Nothing stays behind in a work queue: what the server gave up delivering while no
// orderer heard the advisory is found and set aside, and what is in work is not.
func TestStrandedMessagesAreFound(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	cons, err := w.bus.JS.Consumer(ctx, bus.StreamEvidence, bus.ConsumerEvidence(order.EIOTCLUB))
	if err != nil {
		t.Fatal(err)
	}
	limited := cons.CachedInfo().Config
	limited.MaxDeliver = 1 // someone gave it a limit
	if cons, err = w.bus.JS.UpdateConsumer(ctx, bus.StreamEvidence, limited); err != nil {
		t.Fatal(err)
	}
	subject := bus.SubjectEvidence(order.EIOTCLUB, "o-1")
	w.send(subject, []byte(`"given up"`))
	take := func() jetstream.Msg {
		t.Helper()
		m, err := cons.Next()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if err := take().Nak(); err != nil {
		t.Fatal(err)
	}
	w.send(subject, []byte(`"in work"`))
	inWork := take()
	before := map[string]bool{}
	look := func() (found int, left uint64) {
		t.Helper()
		now := map[string]bool{}
		if err := w.worker.rescue(ctx, bus.StreamEvidence, bus.ConsumerEvidence(order.EIOTCLUB), before, now); err != nil {
			t.Fatal(err)
		}
		before = now
		return len(now), w.lying(bus.StreamEvidence)
	}
	for range 2 { // nothing is known of either while one is in work
		if found, left := look(); found != 0 || left != 2 {
			t.Errorf("%d found and %d left while one is in work", found, left)
		}
	}
	if err := inWork.DoubleAck(ctx); err != nil {
		t.Fatal(err)
	}
	for deadline, finds := time.Now().Add(patience), 0; ; tick(t) { // the server takes a moment to give up
		found, left := look()
		if finds += found; left == 0 {
			if finds < 2 {
				t.Errorf("set aside after %d finds", finds)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d messages left", left)
		}
	}
	if got := w.dead(bus.StreamEvidence); got.reason != "max_deliveries" || got.origin != subject {
		t.Errorf("dead letter %+v", got)
	}
}
