package trace_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/simline/simline/internal/trace"
	"github.com/simline/simline/internal/trace/tracetest"
)

const (
	theirs  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unheard = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

// Switched off, tracing costs the line of a worker nothing.
func TestOffAllocatesNothing(t *testing.T) {
	var off *trace.Tracer
	ctx := context.WithValue(t.Context(), key{}, 1)
	if n := testing.AllocsPerRun(100, func() {
		ctx, span := off.Begin(ctx, theirs, "order request", trace.Consumer)
		span.Set("simline.order_id", "x")
		_, child := trace.Child(ctx, "ledger append", trace.Producer)
		if child.Parent(theirs) != theirs || trace.Parent(ctx, "") != "" {
			t.Error("what came is not handed on")
		}
		child.Fail("x")
		child.End()
		off.Past(theirs, "archive", trace.Consumer, time.Time{})
		span.End()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func start(t *testing.T) (*trace.Tracer, *tracetest.Collector) {
	t.Helper()
	c := tracetest.Start(t)
	tr, err := trace.New(t.Context(), "orderer", c.URL+"/", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return tr, c
}

// key is of a value that the contexts of a worker may hold.
type key struct{}

func all(tracetest.Span) bool { return true }

// One trace from a publisher's context to what is done because of it.
func TestSpansHangTogether(t *testing.T) {
	tr, c := start(t)
	ctx, request := tr.Begin(t.Context(), theirs, "order request", trace.Consumer)
	request.Set("simline.order_id", "o-1")
	_, write := trace.Child(ctx, "ledger append", trace.Producer)
	published := write.Parent("")
	write.Fail("moved")
	write.End()
	tr.Past(published, "archive", trace.Consumer, time.Now().Add(-time.Second), "simline.stream", "ORDER_EVENTS")
	_, other := tr.Begin(ctx, "", "evidence", trace.Consumer)
	other.End()
	request.End()
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	by := map[string]tracetest.Span{}
	for _, s := range c.Spans(all) {
		by[s.Name] = s
	}
	if len(by) != 4 {
		t.Fatalf("spans %v", by)
	}
	if s := by["order request"]; s.TraceID != theirs[3:35] || s.Parent != theirs[36:52] || s.Kind != "SPAN_KIND_CONSUMER" || s.Attributes["simline.order_id"] != "o-1" || s.Service != "orderer" {
		t.Errorf("request %+v", s)
	}
	if s := by["ledger append"]; s.Parent != by["order request"].SpanID || !s.Failed || published != "00-"+s.TraceID+"-"+s.SpanID+"-01" {
		t.Errorf("write %+v, published under %s", s, published)
	}
	if s := by["archive"]; s.Parent != by["ledger append"].SpanID || s.End.Sub(s.Start) < time.Second || s.Attributes["simline.stream"] != "ORDER_EVENTS" {
		t.Errorf("archive %+v", s)
	}
	if s := by["evidence"]; s.TraceID == theirs[3:35] || s.Parent != "" || len(s.Links) != 1 || s.Links[0] != theirs[3:35] {
		t.Errorf("evidence %+v", s)
	}
}

// A publisher that does not want to be traced is not, and its context goes on.
func TestUnsampledStaysSo(t *testing.T) {
	tr, c := start(t)
	ctx, span := tr.Begin(t.Context(), unheard, "order request", trace.Consumer)
	if _, child := trace.Child(ctx, "x", trace.Internal); child != (trace.Span{}) {
		t.Error("a child of an unheard span")
	}
	if got := span.Parent(""); got[:36] != unheard[:36] || got[52:] != "-00" {
		t.Errorf("handed on %s", got)
	}
	span.End()
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.Spans(all); len(got) > 0 {
		t.Errorf("told %v", got)
	}
}

// A collector that is away costs its spans and the time that Close is given.
func TestCollectorAway(t *testing.T) {
	var log bytes.Buffer
	tr, err := trace.New(t.Context(), "orderer", "http://127.0.0.1:1", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	_, span := tr.Begin(t.Context(), "not a traceparent", "order request", trace.Consumer)
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := tr.Close(ctx); err == nil && !strings.Contains(log.String(), "traces not delivered") {
		t.Errorf("nobody is told: %s", log.String())
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("Close took %s", took)
	}
}
