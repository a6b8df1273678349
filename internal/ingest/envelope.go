package ingest

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/trace"
	"github.com/simline/simline/internal/wire"
)

// eventUnknown names an event whose own name cannot be a subject's token.
const eventUnknown = "unknown"

// eventToken is the last token of a notification's subject: its event as sent,
// if it matches ^[A-Za-z0-9_-]{1,64}$.
func eventToken(event []byte) string {
	if len(event) == 0 || len(event) > 64 {
		return eventUnknown
	}
	for _, c := range event {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return eventUnknown
		}
	}
	return string(event)
}

// messageID identifies a notification for ever: "eiotclub:<account>:<id>". One
// without an id, or with one that no header can carry, goes by its signature,
// which covers every other field.
func messageID(acct *account, s *eiotclub.Scanner) string {
	id := s.Text("id")
	plain := len(id) > 0 && len(id) <= 128
	for _, c := range id {
		plain = plain && c > 0x20 && c < 0x7f && c != '"' && c != '\\'
	}
	if !plain {
		id = append([]byte("sign-"), s.Text("sign")...)
		for i, c := range id[5:] {
			if c >= 'a' && c <= 'f' {
				id[5+i] = c - 'a' + 'A'
			}
		}
	}
	return acct.supplier + ":" + acct.name + ":" + string(id)
}

// message is what is to be stored: by NATS, or by the spool in its place.
type message struct {
	subject, id, trace string
	extra              nats.Header // a dead letter's
	data               []byte

	// The first attempt's message and header, reused for the next notification if
	// it succeeds; after any error somebody may still hold them.
	first  nats.Msg
	header nats.Header
	values [2]string
}

// nats makes a message that nobody holds.
func (m *message) nats() *nats.Msg {
	h := nats.Header{bus.HeaderMsgID: {m.id}, bus.HeaderTraceParent: {m.trace}}
	for name, values := range m.extra {
		h[name] = values
	}
	return &nats.Msg{Subject: m.subject, Header: h, Data: m.data}
}

// lean makes the first attempt's message.
func (m *message) lean() *nats.Msg {
	if m.extra != nil {
		return m.nats()
	}
	if m.header == nil {
		m.header = make(nats.Header, 5) // room for those of an atomic batch
	}
	m.values = [2]string{m.id, m.trace}
	m.header[bus.HeaderMsgID], m.header[bus.HeaderTraceParent] = m.values[0:1:1], m.values[1:2:2]
	m.first = nats.Msg{Subject: m.subject, Header: m.header, Data: m.data}
	return &m.first
}

// route is what is the same for all notifications of one event to one account.
type route struct {
	subject string
	middle  string // of the envelope, between id and time
	taken   prometheus.Counter
}

func newRoute(acct *account, event string, taken *prometheus.CounterVec) *route {
	label := event
	if !eiotclub.KnownEvent(event) {
		label = eventUnknown // who has the secret could make up any number of names
	}
	return &route{
		subject: bus.SubjectWebhook(acct.supplier, acct.name, event),
		middle: `","source":"` + wire.Source("ingest") + `","type":"` + wire.TypeWebhook(event) +
			`","subject":"` + acct.supplier + "/" + acct.name + `","time":"`,
		taken: taken.WithLabelValues(acct.name, label),
	}
}

// routeOf finds the route of an event, or makes one for an event that is not
// documented.
func (w *Worker) routeOf(acct *account, event []byte) *route {
	if r := acct.routes[string(event)]; r != nil {
		return r
	}
	return newRoute(acct, eventToken(event), w.m.events)
}

// fill wraps a notification as CloudEvents, its body byte for byte. It writes by
// hand what wire.Envelope marshals, since every field but the body is plain text;
// a test holds the two together.
func (m *message) fill(r *route, id, trace string, at time.Time, body []byte) {
	b := m.data[:0]
	if n := len(body) + len(id) + len(r.middle) + 256; cap(b) < n {
		b = make([]byte, 0, n)
	}
	b = append(b, `{"specversion":"1.0","id":"`...)
	b = append(b, id...)
	b = append(b, r.middle...)
	b = at.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","datacontenttype":"application/json","traceparent":"`...)
	b = append(b, trace...)
	b = append(b, `","data":`...)
	b = append(append(b, body...), '}')
	m.subject, m.id, m.trace, m.extra, m.data = r.subject, id, trace, nil, b
}

// staleLetter turns a notification that may be a replay into a dead letter.
func staleLetter(m *message, why error) *message {
	dead := bus.NewDeadLetter(bus.DeadLetter{Stream: bus.StreamWebhooks, Subject: m.subject, Data: m.data,
		Reason: wire.ReasonStale, Cause: why, Attempts: "1"})
	dead.Header.Set(bus.HeaderOriginID, m.id)
	return &message{subject: dead.Subject, id: "stale:" + m.id, trace: m.trace, extra: dead.Header, data: m.data}
}

// traced is the trace context that a notification is stored with: the sender's
// own, what we do under it, or a new one.
func (w *Worker) traced(sent string, acct *account, route *route) (parent string, span trace.Span) {
	if validTrace(sent) {
		parent = sent
	}
	if !w.trace.On() {
		if parent == "" {
			parent = newTrace()
		}
		return parent, trace.Span{}
	}
	_, span = w.trace.Begin(context.Background(), parent, "notification", trace.Server)
	span.Set("simline.account", acct.name)
	span.Set("simline.subject", route.subject)
	return span.Parent(parent), span
}

// newTrace begins a W3C trace context.
func newTrace() string {
	var raw [24]byte
	binary.LittleEndian.PutUint64(raw[0:], rand.Uint64()|1) // a trace id of zeros is none
	binary.LittleEndian.PutUint64(raw[8:], rand.Uint64())
	binary.LittleEndian.PutUint64(raw[16:], rand.Uint64()|1)
	out := make([]byte, 0, 55)
	out = append(out, "00-"...)
	out = hex.AppendEncode(out, raw[:16])
	out = append(out, '-')
	out = hex.AppendEncode(out, raw[16:])
	return string(append(out, "-01"...))
}

// validTrace checks version 00 of the trace context: 00-<32 hex>-<16 hex>-<2 hex>.
func validTrace(s string) bool {
	if len(s) != 55 || s[:3] != "00-" || s[35] != '-' || s[52] != '-' {
		return false
	}
	zero := [2]bool{true, true}
	for i, c := range []byte(s) {
		if i == 2 || i == 35 || i == 52 {
			continue
		}
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
		if c != '0' && i > 2 && i < 35 {
			zero[0] = false
		}
		if c != '0' && i > 35 && i < 52 {
			zero[1] = false
		}
	}
	return !zero[0] && !zero[1]
}
