package orderer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
)

const goodOrder = `{"order_id":"630000198311142676","supplier":"eiotclub","product":"package","account":"default","iccid":"8988308650100524999","package_code":"CN-5M-7D-C-US-20230103AC4BF927"`

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
	}
	w := newWorld(t)
	w.run()
	cons, err := w.bus.JS.OrderedConsumer(t.Context(), bus.StreamDead, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w.send(c.subject, []byte(c.body))
			m, err := cons.Next(jetstream.FetchMaxWait(10 * time.Second))
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
}

// A message that the server gave up delivering is set aside too.
func TestMaxDeliveriesAdvisory(t *testing.T) {
	w := newWorld(t)
	w.send(bus.SubjectRequest(order.EIOTCLUB, order.ProductPackage), []byte(goodOrder+"}"))
	if err := w.worker.setAside(fmt.Appendf(nil, `{"stream":%q,"consumer":"orderer-eiotclub","stream_seq":1,"deliveries":7}`, bus.StreamOrders)); err != nil {
		t.Fatal(err)
	}
	if got := w.dead(bus.StreamOrders); got.reason != "max_deliveries" || !strings.Contains(got.text, "7") {
		t.Errorf("dead letter %+v", got)
	}
	w.settled()
	// The second replica hears the advisory as well, and finds nothing left to do.
	if err := w.worker.setAside(fmt.Appendf(nil, `{"stream":%q,"stream_seq":1,"deliveries":7}`, bus.StreamOrders)); err != nil {
		t.Error(err)
	}
}
