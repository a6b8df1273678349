package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ORDERS keeps its messages when they are acknowledged, since removing each would
// cost an fsync each, one after the other: what is done lies behind the floor of its
// durable and is removed there, many at a time (decision 0015).

// Floor is how far a durable is.
type Floor struct {
	*jetstream.ConsumerInfo
	Filters []string // of the durable as Provision makes it
	// Doubt is empty if a message behind AckFloor was acknowledged, for sure. Else it
	// says what somebody changed so that the server may pass one that nobody
	// acknowledged: a limit of deliveries, above all.
	Doubt string
}

// Floor asks how far a durable of the topology is.
func (b *Bus) Floor(ctx context.Context, stream, durable string) (Floor, error) {
	cons, err := b.JS.Consumer(ctx, stream, durable)
	if err != nil {
		return Floor{}, fmt.Errorf("consumer %s of %s: %w", durable, stream, err)
	}
	f := Floor{ConsumerInfo: cons.CachedInfo()}
	for _, want := range NewTopology(DefaultSettings()).Consumers[stream] {
		if want.Durable == durable {
			var d differs
			d.see("max_deliver", f.Config.MaxDeliver, want.MaxDeliver)
			d.see("ack_policy", f.Config.AckPolicy, want.AckPolicy)
			d.see("deliver_policy", f.Config.DeliverPolicy, want.DeliverPolicy)
			d.see("filter", filtersOf(f.Config), filtersOf(want))
			f.Filters, f.Doubt = filtersOf(want), strings.Join(d, "; ")
			return f, nil
		}
	}
	return Floor{}, fmt.Errorf("consumer %s of %s is not in the topology", durable, stream)
}

// Clear removes the messages on filter that lie before sequence below. It is
// idempotent, and any number of processes may do it at once.
func (b *Bus) Clear(ctx context.Context, stream, filter string, below uint64) error {
	if below <= 1 {
		return nil // to the server 0 is all there is
	}
	s, err := b.JS.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("stream %s: %w", stream, err)
	}
	subjects, ok := aside(filter)
	if !ok {
		return b.clearEach(ctx, s, filter, below)
	}
	for _, subject := range subjects {
		// If we die here: what is done lies there a little longer.
		if err := s.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(below)); err != nil {
			return fmt.Errorf("purge %s of %s: %w", filter, stream, err)
		}
	}
	return nil
}

// aside names what filter matches by subjects that neither contain the filter nor
// are contained in it: a first token of any kind, and a last one that is. After a
// purge the server goes through the durables whose filters contain the purged
// subject, or are contained in it, and forgets which of their messages were to be
// delivered again at once: each would come after AckWait instead (measured, 2.15.2).
// They have nothing to learn from a purge behind their floor. A filter without ">"
// at its end has no such names.
func aside(filter string) (subjects []string, ok bool) {
	_, rest, _ := strings.Cut(filter, ".")
	rest, ok = strings.CutSuffix(rest, ".>")
	if !ok || strings.HasPrefix(filter, "*.") {
		return nil, false
	}
	return []string{"*." + rest + ".*", "*." + rest + ".*.>"}, true
}

// clearPage is how many messages clearEach asks for at once.
const clearPage = 256

// clearEach removes message by message, for what is rare: cancels.
func (b *Bus) clearEach(ctx context.Context, s jetstream.Stream, filter string, below uint64) error {
	stream := s.CachedInfo().Config.Name
	for from, more := uint64(1), true; more && from < below; {
		var msgs []Stored
		var err error
		if msgs, more, err = b.Range(ctx, stream, filter, from, clearPage); err != nil {
			return err
		}
		for _, m := range msgs {
			if m.Sequence >= below {
				return nil
			}
			if err := s.DeleteMsg(ctx, m.Sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
				return fmt.Errorf("remove message %d of %s: %w", m.Sequence, stream, err)
			}
			from = m.Sequence + 1
		}
	}
	return nil
}

// Message is what a handler reads of a message, however it came to it.
type Message interface {
	Subject() string
	Data() []byte
	Headers() nats.Header
	Metadata() (*jetstream.MsgMetadata, error)
}

// HandleStored handles a message where it lies, as Consume would if it were
// delivered for the deliveries-th time. done says that it may be removed: its effect
// is durable elsewhere, or it lies in DEAD. Else it is to be handled another time.
func (b *Bus) HandleStored(ctx context.Context, stream string, m Stored, deliveries uint64, handle func(context.Context, Message) Verdict) (done bool, err error) {
	msg := lying{m, stream, deliveries}
	return b.conclude(ctx, stream, msg, handle(ctx, msg))
}

// lying is a stored message as handlers take it.
type lying struct {
	m          Stored
	stream     string
	deliveries uint64
}

func (l lying) Subject() string      { return l.m.Subject }
func (l lying) Data() []byte         { return l.m.Data }
func (l lying) Headers() nats.Header { return l.m.Header }
func (l lying) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Stream: l.stream, Sequence: jetstream.SequencePair{Stream: l.m.Sequence}, NumDelivered: l.deliveries, Timestamp: l.m.Time}, nil
}

// oldestOpen is when the oldest message of stream was stored that one of its
// durables has not acknowledged; zero if there is none.
func (b *Bus) oldestOpen(ctx context.Context, stream string) (oldest time.Time, err error) {
	for _, c := range NewTopology(DefaultSettings()).Consumers[stream] {
		f, err := b.Floor(ctx, stream, c.Durable)
		if err != nil {
			return oldest, err
		}
		for _, filter := range f.Filters {
			msgs, _, err := b.Range(ctx, stream, filter, f.AckFloor.Stream+1, 1)
			if err != nil {
				return oldest, err
			}
			if len(msgs) > 0 && (oldest.IsZero() || msgs[0].Time.Before(oldest)) {
				oldest = msgs[0].Time
			}
		}
	}
	return oldest, nil
}
