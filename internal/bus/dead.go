package bus

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// Headers of a dead letter.
const (
	HeaderError    = "Simline-Error"    // what was wrong, for a person
	HeaderReason   = "Simline-Reason"   // one of wire's reasons
	HeaderAttempts = "Simline-Attempts" // deliveries so far
	HeaderOrigin   = "Simline-Origin"   // the subject it came on
	HeaderOriginID = "Simline-Origin-Msg-Id"
	HeaderOrder    = "Simline-Order" // the order that a conflict is about, of possibly several in the message
)

const maxErrorHeader = 1000

// deadLetter publishes the whole of msg to DEAD with why it could not be taken.
func (b *Bus) deadLetter(ctx context.Context, stream string, msg Message, v Verdict) error {
	attempts, id := "1", ""
	if meta, err := msg.Metadata(); err == nil {
		attempts = strconv.FormatUint(meta.NumDelivered, 10)
		id = fmt.Sprintf("dead:%s:%d:%d", stream, meta.Timestamp.UnixNano(), meta.Sequence.Stream)
	}
	return b.DeadBytes(ctx, DeadLetter{Stream: stream, Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data(),
		Reason: v.reason, Cause: v.err, Attempts: attempts, MsgID: id, Order: v.order})
}

// DeadLetter is a message that cannot be taken, and why.
type DeadLetter struct {
	Stream, Subject string
	Header          nats.Header
	Data            []byte
	Reason          string
	Cause           error
	Attempts        string
	MsgID           string // for the duplicate window of DEAD; may be empty
	Order           string // whose order it is about, if that is known and of use
}

// DeadBytes stores a dead letter that need not have been a message before.
func (b *Bus) DeadBytes(ctx context.Context, d DeadLetter) error {
	_, err := b.Publish(ctx, NewDeadLetter(d))
	return err
}

// NewDeadLetter makes the message that DeadBytes publishes.
func NewDeadLetter(d DeadLetter) *nats.Msg {
	out := NewMsg(SubjectDead(d.Stream), d.MsgID, d.Data)
	for name, values := range d.Header {
		if !strings.HasPrefix(name, "Nats-") {
			out.Header[name] = values
		}
	}
	if id := d.Header.Get(HeaderMsgID); id != "" {
		out.Header.Set(HeaderOriginID, id)
	}
	text := ""
	if d.Cause != nil {
		text = d.Cause.Error()
	}
	out.Header.Set(HeaderError, oneLine(text))
	out.Header.Set(HeaderReason, d.Reason)
	out.Header.Set(HeaderAttempts, d.Attempts)
	out.Header.Set(HeaderOrigin, d.Subject)
	if d.Order != "" {
		out.Header.Set(HeaderOrder, d.Order)
	}
	return out
}

func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), maxErrorHeader)]
}
