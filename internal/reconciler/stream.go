package reconciler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

// readBatch is how many messages are under way from the server at once.
const readBatch = 1000

// countSince is how many messages readSince would hand over now.
func countSince(ctx context.Context, js jetstream.JetStream, stream string, from time.Time, filters ...string) (uint64, error) {
	c, drop, err := windowConsumer(ctx, js, stream, startAt(from), filters)
	if err != nil {
		return 0, err
	}
	defer drop()
	return c.CachedInfo().NumPending, nil
}

// start is where reading a stream begins.
type start func(*jetstream.ConsumerConfig)

func startAt(t time.Time) start {
	return func(c *jetstream.ConsumerConfig) {
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &t
	}
}

func startFrom(sequence uint64) start {
	return func(c *jetstream.ConsumerConfig) {
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, max(sequence, 1)
	}
}

// windowConsumer makes a consumer that begins at from, and what removes it.
func windowConsumer(ctx context.Context, js jetstream.JetStream, stream string, from start, filters []string) (jetstream.Consumer, func(), error) {
	cfg := jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, FilterSubjects: filters, MemoryStorage: true, Replicas: 1,
		InactiveThreshold: time.Minute, Description: "reconciler reads a window"}
	from(&cfg)
	c, err := js.CreateConsumer(ctx, stream, cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", stream, err)
	}
	return c, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = js.DeleteConsumer(ctx, stream, c.CachedInfo().Name) // else it goes by itself in a minute
	}, nil
}

// readSince hands every message of a stream from some point on, up to what is
// stored now, to do, in order and without a gap.
func readSince(ctx context.Context, js jetstream.JetStream, stream string, from start, do func(jetstream.Msg, *jetstream.MsgMetadata) error, filters ...string) error {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	end := s.CachedInfo().State.LastSeq
	c, drop, err := windowConsumer(ctx, js, stream, from, filters)
	if err != nil {
		return err
	}
	defer drop()
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
	return l.SinceOf(ctx, supplier, from, func(string) bool { return true }, do)
}

// SinceOf is Since for those orders whose id keep wants; what the others' events
// hold is not even read.
func (l Ledger) SinceOf(ctx context.Context, supplier string, from time.Time, keep func(orderID string) bool, do func(order.Record) error) error {
	return readSince(ctx, l.bus.JS, bus.StreamOrderEvents, startAt(from), func(msg jetstream.Msg, _ *jetstream.MsgMetadata) error {
		if !keep(bus.OrderOf(msg.Subject())) {
			return nil
		}
		r, err := wire.ReadOrderEvent(msg.Data())
		if err != nil {
			return fmt.Errorf("order event on %s: %w", msg.Subject(), err)
		}
		return do(r)
	}, bus.SubjectOrderEvent("*", supplier, "*"))
}

// CountSince is how many events Since would hand over now.
func (l Ledger) CountSince(ctx context.Context, supplier string, from time.Time) (uint64, error) {
	return countSince(ctx, l.bus.JS, bus.StreamOrderEvents, from, bus.SubjectOrderEvent("*", supplier, "*"))
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

// openAtOnce is how many orders are read from the ledger at the same time.
const openAtOnce = 32

// Open hands the last event of every order in the index of open ones to do, one
// at a time, each order once. An entry that cannot be read does not keep the others
// from it; the error tells of it in the end.
func (l Ledger) Open(ctx context.Context, do func(order.Record) error) error {
	var batch []string
	flush := func() error {
		records := make([]order.Record, len(batch))
		g, gctx := errgroup.WithContext(ctx)
		for i, id := range batch {
			g.Go(func() (err error) {
				records[i], _, err = l.Get(gctx, id)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		batch = batch[:0]
		for _, r := range records {
			if r.OrderID == "" {
				continue // its entry is there before its event, or after it
			}
			if err := do(r); err != nil {
				return err
			}
		}
		return nil
	}
	var faults []error
	for o, err := range ledger.WalkOpen(ctx, l.bus) {
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if batch = append(batch, o.OrderID); len(batch) == openAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return errors.Join(append(faults, flush())...)
}
