package wire

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"time"

	"github.com/google/uuid"

	"github.com/simline/simline/internal/order"
)

// CloudEvents types of what simline publishes and accepts.
const (
	TypeOrderRequest = "simline.order.request.v1"
	TypeOrderCancel  = "simline.order.cancel.v1"
	TypeEvidence     = "simline.evidence.v1"
	TypeCDRFile      = "simline.cdr.file.v1"
	TypeCDRLoaded    = "simline.cdr.loaded.v1"
	TypeCDRGap       = "simline.cdr.gap.v1"
	TypeTaskTrack    = "simline.task.track.v1"
	TypeTaskEnded    = "simline.task.ended.v1"
	TypeFinding      = "simline.finding.v1"
	TypeAudit        = "simline.audit.v1"
)

// TypeOrder is the type of the event of an order that reached state.
func TypeOrder(state string) string { return "simline.order." + state + ".v1" }

// TypeWebhook is the type of a notification; event is the subject's token.
func TypeWebhook(event string) string { return "simline.webhook." + event + ".v1" }

// Envelope is a CloudEvents 1.0 event in structured JSON form.
type Envelope struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            time.Time       `json:"time"`
	DataContentType string          `json:"datacontenttype,omitempty"`
	TraceParent     string          `json:"traceparent,omitempty"` // W3C, distributed tracing extension
	Data            json.RawMessage `json:"data"`
}

// Source is the CloudEvents source of a worker: "/simline/orderer".
func Source(worker string) string { return "/simline/" + worker }

// NewEnvelope wraps data, which is marshalled, or taken byte for byte if it is
// a json.RawMessage. An empty id becomes a random UUID.
func NewEnvelope(typ, source, subject, id string, at time.Time, data any) (Envelope, error) {
	raw, ok := data.(json.RawMessage)
	if !ok {
		b, err := json.Marshal(data)
		if err != nil {
			return Envelope{}, fmt.Errorf("encode data of %s: %w", typ, err)
		}
		raw = b
	}
	if id == "" {
		id = uuid.NewString()
	}
	return Envelope{SpecVersion: "1.0", ID: id, Source: source, Type: typ, Subject: subject,
		Time: at.UTC(), DataContentType: "application/json", Data: raw}, nil
}

// Marshal writes the envelope; Data is copied byte for byte, not compacted, so
// that a signature over it can be checked again.
func (e Envelope) Marshal() ([]byte, error) {
	return e.Append(make([]byte, 0, 384+len(e.Data)), func(b []byte) ([]byte, error) {
		if len(e.Data) == 0 {
			return append(b, "null"...), nil
		}
		return append(b, e.Data...), nil
	})
}

// Append appends the envelope, as encoding/json writes one, around the data that
// data appends.
func (e Envelope) Append(b []byte, data func([]byte) ([]byte, error)) ([]byte, error) {
	if y := e.Time.Year(); y < 0 || y >= 10000 {
		return nil, fmt.Errorf("encode envelope of %s: year %d has no four digits", e.Type, y)
	}
	text := func(name, value string) { b = order.AppendText(append(b, name...), value) }
	text(`{"specversion":`, e.SpecVersion)
	text(`,"id":`, e.ID)
	text(`,"source":`, e.Source)
	text(`,"type":`, e.Type)
	if e.Subject != "" {
		text(`,"subject":`, e.Subject)
	}
	b = e.Time.AppendFormat(append(b, `,"time":"`...), time.RFC3339Nano)
	b = append(b, '"')
	if e.DataContentType != "" {
		text(`,"datacontenttype":`, e.DataContentType)
	}
	if e.TraceParent != "" {
		text(`,"traceparent":`, e.TraceParent)
	}
	b, err := data(append(b, `,"data":`...))
	if err != nil {
		return nil, fmt.Errorf("encode data of %s: %w", e.Type, err)
	}
	return append(b, '}'), nil
}

// ParseEnvelope reads a CloudEvents event strictly. Extensions are accepted and
// ignored; type is not judged here.
func ParseEnvelope(b []byte) (Envelope, error) {
	saw, err := scan(b, 0)
	if err != nil {
		return Envelope{}, err
	}
	return parseEnvelope(b, saw.odd)
}

func parseEnvelope(b []byte, odd bool) (Envelope, error) {
	if odd {
		if err := attributeNames(b); err != nil {
			return Envelope{}, err
		}
	}
	var e Envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return Envelope{}, schemaError("envelope: %v", err)
	}
	if e.SpecVersion != "1.0" {
		return Envelope{}, schemaError("specversion %.16q is not 1.0", e.SpecVersion)
	}
	if len(e.Data) == 0 {
		return Envelope{}, schemaError("envelope without data")
	}
	return e, nil
}

// attributeNames holds the names of an envelope to what CloudEvents allows,
// lower-case letters and digits (and data_base64, which we do not read), so that
// no other spelling passes for one of its attributes.
func attributeNames(b []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return schemaError("envelope: %v", err)
	}
	for name := range members {
		if !attributeName.MatchString(name) {
			return schemaError("envelope: %.40q is not a CloudEvents attribute name", name)
		}
	}
	return nil
}

var attributeName = regexp.MustCompile(`^[a-z0-9_]+$`)

// document is a message that was opened: its data and what came around it.
type document struct {
	data json.RawMessage
	env  Envelope // zero for a bare message
	odd  bool     // see seen
}

// open finds the data of b: that of a CloudEvents event, or b itself, since what
// we accept from upstream may be bare.
func open(b []byte) (document, error) {
	saw, err := scan(b, 0)
	if err != nil {
		return document{}, err
	}
	d := document{data: b, odd: saw.odd}
	if !saw.envelope {
		return d, nil
	}
	if d.env, err = parseEnvelope(b, saw.odd); err != nil {
		return d, err
	}
	d.data = d.env.Data
	if t := d.env.Time; !t.IsZero() {
		if err := checkTime("time", t); err != nil {
			return d, schemaError("%v", err)
		}
	}
	return d, nil
}

func (d document) decode(v any) error { return decodeStrict(d.data, d.odd, v) }

func (d document) meta() Meta {
	return Meta{ID: d.env.ID, Time: d.env.Time, TraceParent: d.env.TraceParent}
}

// NewTraceParent begins a W3C trace context, version 00 with random ids, for a message
// that came without one to a worker that traces nothing. Its flags say so, that nobody
// has recorded it: NATS takes each message of a recorded trace apart.
func NewTraceParent() string {
	var id [24]byte // of the trace and of the span; they need be rare, not secret
	for i := 0; i < len(id); i += 8 {
		binary.LittleEndian.PutUint64(id[i:], rand.Uint64()|1) // neither may be all zeros
	}
	b := make([]byte, 0, 55)
	b = hex.AppendEncode(append(b, "00-"...), id[:16])
	b = hex.AppendEncode(append(b, '-'), id[16:])
	return string(append(b, "-00"...))
}
