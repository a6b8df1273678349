package trace

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Kind is a span's part in a conversation.
type Kind = trace.SpanKind

// Kinds of spans.
const (
	Internal = trace.SpanKindInternal
	Server   = trace.SpanKindServer   // a request from outside
	Client   = trace.SpanKindClient   // a request to outside
	Producer = trace.SpanKindProducer // a message stored for others
	Consumer = trace.SpanKindConsumer // a message taken
)

// Tracer begins spans. The nil Tracer is tracing switched off.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// Span is something that is being done. The zero Span is none.
type Span struct{ s trace.Span }

// On says whether spans are recorded at all, for who has to gather something first.
func (t *Tracer) On() bool { return t != nil }

// Begin begins what is done because of a message or request: parent is the W3C
// traceparent that came with it; an empty or unreadable one begins a trace. What
// ctx was in before, perhaps of another trace, is linked.
func (t *Tracer) Begin(ctx context.Context, parent, name string, kind Kind) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	opts := []trace.SpanStartOption{trace.WithSpanKind(kind)}
	if around := trace.SpanContextFromContext(ctx); around.IsValid() {
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: around}))
	}
	ctx, s := t.tracer.Start(under(ctx, parent), name, opts...)
	return ctx, Span{s}
}

// Past notes what was done since begin because of a message.
func (t *Tracer) Past(parent, name string, kind Kind, begin time.Time, set ...string) {
	if t == nil {
		return
	}
	_, s := t.tracer.Start(under(context.Background(), parent), name, trace.WithSpanKind(kind), trace.WithTimestamp(begin))
	for i := 0; i+1 < len(set); i += 2 {
		s.SetAttributes(attribute.String(set[i], set[i+1]))
	}
	s.End()
}

// under makes ctx one in which spans are children of parent, or roots.
func under(ctx context.Context, parent string) context.Context {
	ctx = trace.ContextWithSpan(ctx, nil)
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parent})
}

// Child begins a part of what ctx is in; without that there is nothing to tell.
func Child(ctx context.Context, name string, kind Kind) (context.Context, Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, Span{}
	}
	ctx, s := parent.TracerProvider().Tracer(scope).Start(ctx, name, trace.WithSpanKind(kind))
	return ctx, Span{s}
}

// Parent is the traceparent to hand on with what is published in ctx, otherwise if
// ctx is in no span.
func Parent(ctx context.Context, otherwise string) string {
	return Span{trace.SpanFromContext(ctx)}.Parent(otherwise)
}

// Parent is the traceparent of what this span causes, otherwise if there is no span.
func (s Span) Parent(otherwise string) string {
	if s.s == nil {
		return otherwise
	}
	c := s.s.SpanContext()
	if !c.IsValid() {
		return otherwise
	}
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-" + (c.TraceFlags() & trace.FlagsSampled).String()
}

// Set says something of the span: ids of orders and files, names of accounts and
// endpoints, codes and states.
func (s Span) Set(key, value string) {
	if s.s != nil {
		s.s.SetAttributes(attribute.String(key, value))
	}
}

// Fail says that it failed; why is a code or a step, never what somebody wrote.
func (s Span) Fail(why string) {
	if s.s != nil {
		s.s.SetStatus(codes.Error, why)
	}
}

// End ends it.
func (s Span) End() {
	if s.s != nil {
		s.s.End()
	}
}
