// Package tracetest is a collector for tests: it takes what tracers send by OTLP
// over HTTP, as an OpenTelemetry collector does, and keeps it.
//
// In: spans, on loopback. Out: the same, by name and parent. It must not be lenient:
// what is no OTLP request is answered as such.
package tracetest

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"
)

// Span is one span as it was told.
type Span struct {
	Service, Name           string
	TraceID, SpanID, Parent string // hex; Parent is empty for a root
	Kind                    string // SPAN_KIND_CONSUMER
	Failed                  bool
	Attributes              map[string]string
	Links                   []string // trace ids
	Start, End              time.Time
}

// Collector gathers spans until its test ends.
type Collector struct {
	URL string // for OTEL_EXPORTER_OTLP_ENDPOINT

	mu    sync.Mutex
	spans []Span
}

// Start begins to listen on loopback.
func Start(t testing.TB) *Collector {
	t.Helper()
	c := &Collector{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", c.take)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	c.URL = s.URL
	return c
}

func (c *Collector) take(w http.ResponseWriter, r *http.Request) {
	req, err := read(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range req.ResourceSpans {
		service := attributes(rs.Resource.GetAttributes())["service.name"]
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				out := Span{Service: service, Name: s.Name, TraceID: hex.EncodeToString(s.TraceId), SpanID: hex.EncodeToString(s.SpanId),
					Parent: hex.EncodeToString(s.ParentSpanId), Kind: s.Kind.String(), Failed: s.Status.GetCode() == 2, Attributes: attributes(s.Attributes),
					Start: time.Unix(0, int64(s.StartTimeUnixNano)), End: time.Unix(0, int64(s.EndTimeUnixNano))}
				for _, l := range s.Links {
					out.Links = append(out.Links, hex.EncodeToString(l.TraceId))
				}
				c.spans = append(c.spans, out)
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	b, _ := proto.Marshal(&collector.ExportTraceServiceResponse{}) // an empty message cannot fail
	_, _ = w.Write(b)                                              // the sender went away
}

func read(r *http.Request) (*collector.ExportTraceServiceRequest, error) {
	if ct := r.Header.Get("Content-Type"); ct != "application/x-protobuf" {
		return nil, fmt.Errorf("content type %q is not application/x-protobuf", ct)
	}
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		body = z
	}
	b, err := io.ReadAll(io.LimitReader(body, 16<<20))
	if err != nil {
		return nil, err
	}
	var req collector.ExportTraceServiceRequest
	return &req, proto.Unmarshal(b, &req)
}

func attributes(list []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range list {
		out[kv.Key] = kv.Value.GetStringValue()
	}
	return out
}

// Spans are those that came so far and are what want says, in order of their start.
func (c *Collector) Spans(want func(Span) bool) []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Span
	for _, s := range c.spans {
		if want(s) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b Span) int { return a.Start.Compare(b.Start) })
	return out
}

// Tree draws the spans of a trace, one a line, children indented under parents.
func (c *Collector) Tree(traceID string) string {
	all := c.Spans(func(s Span) bool { return s.TraceID == traceID })
	known := map[string]bool{}
	for _, s := range all {
		known[s.SpanID] = true
	}
	var b strings.Builder
	var draw func(parent string, depth int)
	draw = func(parent string, depth int) {
		for _, s := range all {
			if s.Parent == parent || depth == 0 && !known[s.Parent] {
				fmt.Fprintf(&b, "%s%s: %s %s%s\n", strings.Repeat("  ", depth), s.Service, s.Name, s.Attributes["simline.state"], s.Attributes["simline.code"])
				draw(s.SpanID, depth+1)
			}
		}
	}
	draw("-", 0)
	return b.String()
}
