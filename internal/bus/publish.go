package bus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/trace"
	"github.com/simline/simline/internal/wire"
)

// Headers of what simline publishes.
const (
	HeaderMsgID       = jetstream.MsgIDHeader
	HeaderTraceParent = "traceparent"
	HeaderExpectSeq   = jetstream.ExpectedLastSubjSeqHeader
	HeaderExpectOf    = jetstream.ExpectedLastSubjSeqSubjHeader
)

// Errors of a publish. Anything else that is returned means that the server
// refused and nothing was stored.
var (
	// ErrOutcomeUnknown: no PubAck came; the message may be stored or not.
	ErrOutcomeUnknown = errors.New("publish: outcome unknown")
	// ErrConflict: the expected last sequence was not the last.
	ErrConflict = errors.New("publish: another write came first")
)

// IsConflict says whether a write was refused because another came first, in any of
// the ways in which that is said: a server alone and a cluster use different
// codes, and what a bucket's methods return depends on which of them met it.
func IsConflict(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return true
	}
	return errors.Is(err, ErrConflict) || errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch)
}

// Ack is what the server said of a stored message.
type Ack struct {
	Sequence  uint64
	Duplicate bool // the message id was known within the duplicate window
}

// Publish stores msg and waits for its PubAck, at most until ctx ends or
// PublishTimeout. When it returns nil the message is as durable as its stream. A
// message that carries no trace context is given that of what it is published in, or
// begins one; buckets' entries carry none.
func (b *Bus) Publish(ctx context.Context, msg *nats.Msg) (Ack, error) {
	if !strings.HasPrefix(msg.Subject, "$") && len(msg.Header[HeaderTraceParent]) == 0 {
		if msg.Header == nil {
			msg.Header = nats.Header{}
		}
		parent := trace.Parent(ctx, "")
		if parent == "" {
			parent = wire.NewTraceParent()
		}
		msg.Header[HeaderTraceParent] = []string{parent}
	}
	ctx, cancel := context.WithTimeout(ctx, PublishTimeout)
	defer cancel()
	reply, err := b.NC.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return Ack{}, publishError(msg.Subject, err)
	}
	a, err := readAck(reply)
	if err != nil {
		return Ack{}, publishError(msg.Subject, err)
	}
	return a.of(msg.Subject)
}

// publishError tells what certainly was not stored from what may have been.
func publishError(subject string, err error) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("publish %s: no stream takes it: %w", subject, err)
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionClosed):
		return fmt.Errorf("publish %s: %w", subject, err)
	}
	return fmt.Errorf("publish %s: %w: %w", subject, ErrOutcomeUnknown, err)
}

// pubAck is what a server answers to a publish.
type pubAck struct {
	Seq       uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"`
	BatchSize int                 `json:"count"`
	Error     *jetstream.APIError `json:"error"`
}

// of is what it says of the message on subject.
func (a pubAck) of(subject string) (Ack, error) {
	if a.Error != nil {
		return Ack{}, apiError(subject, a.Error)
	}
	return Ack{Sequence: a.Seq, Duplicate: a.Duplicate}, nil
}

// readAck reads the answer to a publish; its error is why there is no PubAck in it.
func readAck(reply *nats.Msg) (a pubAck, err error) {
	if len(reply.Data) == 0 && reply.Header.Get("Status") == "503" {
		return a, nats.ErrNoResponders
	}
	if a, ok := plainAck(reply.Data); ok {
		return a, nil
	}
	var other pubAck
	if err := json.Unmarshal(reply.Data, &other); err != nil || other.Seq == 0 && other.Error == nil {
		return a, fmt.Errorf("answer %.80q", reply.Data)
	}
	return other, nil
}

// plainAck reads what nearly every PubAck looks like, {"stream":"S","seq":7}, with
// perhaps ,"duplicate": true at its end; anything else is left to encoding/json.
func plainAck(b []byte) (a pubAck, ok bool) {
	b, ok = bytes.CutPrefix(b, []byte(`{"stream":"`))
	if !ok {
		return a, false
	}
	i := bytes.IndexByte(b, '"')
	if i < 0 || bytes.IndexByte(b[:i], '\\') >= 0 {
		return a, false
	}
	if b, ok = bytes.CutPrefix(b[i:], []byte(`","seq":`)); !ok {
		return a, false
	}
	for i = 0; i < len(b) && b[i] >= '0' && b[i] <= '9' && i < 19; i++ {
		a.Seq = a.Seq*10 + uint64(b[i]-'0')
	}
	if a.Seq == 0 {
		return a, false
	}
	switch string(b[i:]) {
	case `}`:
		return a, true
	case `,"duplicate": true}`:
		a.Duplicate = true
		return a, true
	}
	return a, false
}

func apiError(subject string, e *jetstream.APIError) error {
	if IsConflict(e) {
		return fmt.Errorf("publish %s: %w: %s", subject, ErrConflict, e.Description)
	}
	return fmt.Errorf("publish %s: %w", subject, e)
}

// NewMsg makes a message with its id for the server's duplicate window.
func NewMsg(subject, msgID string, data []byte) *nats.Msg {
	m := &nats.Msg{Subject: subject, Header: make(nats.Header, 4), Data: data}
	if msgID != "" {
		m.Header[HeaderMsgID] = []string{msgID}
	}
	return m
}

// Expect makes msg's publish fail with ErrConflict unless the last message on
// filter has sequence seq (0: there is none).
func Expect(msg *nats.Msg, filter string, seq uint64) {
	values := []string{strconv.FormatUint(seq, 10), filter}
	msg.Header[HeaderExpectSeq] = values[:1:1]
	msg.Header[HeaderExpectOf] = values[1:]
}
