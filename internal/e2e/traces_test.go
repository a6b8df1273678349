package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/e2e"
	"github.com/simline/simline/internal/order"
	simeiotclub "github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/trace/tracetest"
	"github.com/simline/simline/internal/wire"
)

// One order is one trace: from its publisher's traceparent through the queue, the
// ledger, the supplier's call and the events to ClickHouse; and so is a file of
// records, from its announcement to its rows.
func TestOneOrderIsOneTrace(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs all binaries")
	}
	c := tracetest.Start(t)
	s, err := e2e.NewStage(t.Context(), e2e.StageConfig{Dir: t.TempDir(), Bin: built(t), Since: 24 * time.Hour,
		Env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL, "OTEL_BSP_SCHEDULE_DELAY=100"}})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if err := s.Stop(); err != nil && !stopped {
			t.Errorf("stop: %v", err)
		}
		stopped = true
	}
	t.Cleanup(stop)

	parent := wire.NewTraceParent()[:53] + "01" // a publisher that wants to be traced
	traceID, spanID := parent[3:35], parent[36:52]
	data := []byte(`{"order_id":"traced-1","supplier":"eiotclub","product":"package","account":"default","iccid":"` + simeiotclub.SeedICCID +
		`","package_code":"` + simeiotclub.PackageCode + `"}`)
	msg := bus.NewMsg(bus.SubjectRequest(order.EIOTCLUB, order.ProductPackage), "request:traced-1", data)
	msg.Header.Set(bus.HeaderTraceParent, parent)
	if _, err := s.Bus.Publish(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	if err := s.CDR.Step(t.Context()); err != nil {
		t.Fatal(err)
	}

	ours := func(s tracetest.Span) bool { return s.TraceID == traceID }
	named := func(name string) func(tracetest.Span) bool {
		return func(s tracetest.Span) bool { return s.Name == name }
	}
	archived := func(state string) bool { // an event of this state, and its row
		for _, w := range c.Spans(func(s tracetest.Span) bool {
			return ours(s) && s.Name == "ledger append" && s.Attributes["simline.state"] == state
		}) {
			if len(c.Spans(func(s tracetest.Span) bool { return ours(s) && s.Service == "archiver" && s.Parent == w.SpanID })) > 0 {
				return true
			}
		}
		return false
	}
	// A notification begins a trace of its own, in which archiver takes it up.
	const takenUp = "\n  archiver: archive"
	notified := func() bool {
		hooks := c.Spans(named("notification"))
		return len(hooks) > 0 && strings.Contains(c.Tree(hooks[0].TraceID), takenUp)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for !archived("fulfilled") || !notified() || len(c.Spans(func(s tracetest.Span) bool {
		return s.Name == "archive" && s.Attributes["simline.stream"] == bus.StreamCDREvents
	})) == 0 {
		if time.Now().After(deadline) {
			for _, name := range e2e.Workers {
				t.Logf("%s:\n%s", name, s.Workers[name].Tail(5))
			}
			t.Fatalf("the order's trace is not whole:\n%s\nof %d spans", c.Tree(traceID), len(c.Spans(func(tracetest.Span) bool { return true })))
		}
		<-time.After(50 * time.Millisecond)
	}
	stop() // what was not told yet is told now
	t.Logf("the order:\n%s", c.Tree(traceID))

	// The request, under its publisher's span.
	requests := c.Spans(func(s tracetest.Span) bool { return ours(s) && s.Name == "order request" })
	if len(requests) != 1 || requests[0].Parent != spanID || requests[0].Service != "orderer" || requests[0].Kind != "SPAN_KIND_CONSUMER" ||
		requests[0].Attributes["simline.order_id"] != "traced-1" {
		t.Fatalf("requests %+v, want one under %s", requests, spanID)
	}
	// Beneath it: intent, call, outcome, one after the other; each event's row beneath
	// its event.
	var order []string
	for _, child := range c.Spans(func(s tracetest.Span) bool { return s.Parent == requests[0].SpanID }) {
		order = append(order, strings.TrimSpace(child.Name+" "+child.Attributes["simline.state"]+child.Attributes["simline.code"]))
		if child.Name != "ledger append" {
			continue
		}
		rows := c.Spans(func(s tracetest.Span) bool { return s.Parent == child.SpanID && s.Service == "archiver" })
		if len(rows) != 1 || rows[0].Name != "archive" || rows[0].Start.Before(child.Start) {
			t.Errorf("event %s has rows %+v", child.Attributes["simline.state"], rows)
		}
	}
	if got := strings.Join(order, ", "); got != "ledger append intent, package/orderPackage 200, ledger append placed" {
		t.Errorf("beneath the request: %s", got)
	}
	// Nothing of the trace hangs in the air.
	known := map[string]bool{spanID: true}
	for _, s := range c.Spans(ours) {
		known[s.SpanID] = true
	}
	for _, s := range c.Spans(ours) {
		if !known[s.Parent] {
			t.Errorf("%s: %s has a parent that nobody told of", s.Service, s.Name)
		}
	}

	// A file of records.
	loads := c.Spans(named("cdr load"))
	if len(loads) == 0 {
		t.Fatal("no file was loaded")
	}
	tree := c.Tree(loads[0].TraceID)
	t.Logf("a file of records:\n%s", tree)
	for _, line := range []string{"cdrpull: cdr announce", "\n  cdrpull: cdr load", "\n    cdrpull: cdr read", "\n    cdrpull: cdr insert", "\n    archiver: archive"} {
		if !strings.Contains("\n"+tree, line) {
			t.Errorf("the file's trace has no %q", line)
		}
	}
	// No card number and no secret is told to anybody.
	for _, s := range c.Spans(func(tracetest.Span) bool { return true }) {
		for k, v := range s.Attributes {
			if strings.Contains(v, "89883") || strings.Contains(v, "LPA:") {
				t.Errorf("%s of %s is %s", k, s.Name, v)
			}
		}
	}
}
