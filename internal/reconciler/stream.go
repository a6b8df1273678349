package reconciler

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

// readBatch is how many messages are under way from the server at once.
const readBatch = 1000

// readSince hands every message of a stream that was stored at from or later,
// up to what is stored now, to do, in order and without a gap.
func readSince(ctx context.Context, js jetstream.JetStream, stream string, from time.Time, do func(jetstream.Msg, *jetstream.MsgMetadata) error, filters ...string) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	end := s.CachedInfo().State.LastSeq
	c, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &from, AckPolicy: jetstream.AckNonePolicy,
		FilterSubjects: filters, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
		Description: "reconciler reads a window",
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = s.DeleteConsumer(ctx, c.CachedInfo().Name) // else it goes by itself in a minute
	}()
	left, next := c.CachedInfo().NumPending, uint64(1)
	for left > 0 {
		batch, err := c.Fetch(int(min(left, readBatch)), jetstream.FetchMaxWait(5*time.Second)) // waits for all of them
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		got := 0
		for msg := range batch.Messages() {
			meta, err := msg.Metadata()
			if err != nil {
				return fmt.Errorf("read %s: %w", stream, err)
			}
			// Without acknowledgements a lost message would go unnoticed otherwise.
			if meta.Sequence.Consumer != next {
				return fmt.Errorf("read %s: message %d after %d: some were lost", stream, meta.Sequence.Consumer, next-1)
			}
			next++
			got++
			left = meta.NumPending
			if meta.Sequence.Stream > end {
				return nil
			}
			if err := do(msg, meta); err != nil {
				return err
			}
		}
		if err := batch.Error(); err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		if got == 0 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("read %s: %d messages did not come", stream, left)
		}
	}
	return ctx.Err()
}

// Ledger reads the ledger; it never writes it.
type Ledger struct{ bus *bus.Bus }

// Since hands every event of a supplier's orders from then on to do.
func (l Ledger) Since(ctx context.Context, supplier string, from time.Time, do func(order.Record) error) error {
	return readSince(ctx, l.bus.JS, bus.StreamOrderEvents, from, func(msg jetstream.Msg, _ *jetstream.MsgMetadata) error {
		r, _, err := wire.DecodeOrderEvent(msg.Data())
		if err != nil {
			return fmt.Errorf("order event on %s: %w", msg.Subject(), err)
		}
		return do(r)
	}, bus.SubjectOrderEvent("*", supplier, "*"))
}

// Get is an order's last event; false if the ledger does not know it.
func (l Ledger) Get(ctx context.Context, orderID string) (order.Record, bool, error) {
	if !order.ValidID(orderID) {
		return order.Record{}, false, nil // never ours: no order of ours has such an id
	}
	msg, found, err := l.bus.Last(ctx, bus.StreamOrderEvents, bus.SubjectOrderHistory(orderID))
	if err != nil || !found {
		return order.Record{}, false, err
	}
	r, _, err := wire.DecodeOrderEvent(msg.Data)
	if err != nil {
		return order.Record{}, false, fmt.Errorf("ledger: order %s: %w", orderID, err)
	}
	return r, true, nil
}
