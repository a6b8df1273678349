// Package trace tells a collector (OpenTelemetry, OTLP over HTTP) what belongs
// together: one order from its publisher's traceparent through ledger, supplier
// call, event and archive, one file of records from its announcement to its rows.
//
// In: a W3C traceparent, and what a worker does under it. Out: spans, and the
// traceparent that is handed on. Off by default: then the zero Span and the nil
// Tracer do nothing, allocate nothing, and a publisher's traceparent is handed on
// as it came. A collector that is slow or away costs spans, never work.
//
// It must not know what a worker does, and no card or device number, activation
// code or secret may be put on a span.
package trace
