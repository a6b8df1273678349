package archiver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/trace"
	"github.com/simline/simline/internal/warehouse"
)

// line archives one stream into one table.
type line[R any] struct {
	stream string
	table  warehouse.EventTable[R]
	into   *warehouse.EventInserter[R]
	decode func(m record, epoch, now time.Time) (R, error)

	cfg Config
	d   Deps
	log *slog.Logger
	m   *metrics

	lagEvery time.Duration
	settled  atomic.Uint64 // sequence up to which all is in ClickHouse; 0 while that is not known
}

func newLine[R any](stream string, table warehouse.EventTable[R], decode func(m record, epoch, now time.Time) (R, error), cfg Config, d Deps, m *metrics) *line[R] {
	return &line[R]{stream: stream, table: table, into: warehouse.NewEventInserter(d.Warehouse, table), decode: decode, cfg: cfg, d: d, m: m, lagEvery: lagEvery, log: d.Log.With("stream", stream)}
}

// batch is what goes into ClickHouse at once: rows in stream order, within one
// partition, and perhaps a message behind them that could not be read.
type batch[R any] struct {
	epoch       time.Time
	first, last uint64 // sequences
	rows        *warehouse.EventBlock[R]
	bytes       int       // of its messages
	traces      []string  // of the rows, while tracing is on
	oldest      time.Time // when its first message was published
	poison      *poison
	ack         func() error // all of it, and what came before
}

type poison struct {
	record
	err error
}

// run archives while this replica holds the stream's lease, until ctx ends.
func (l *line[R]) run(ctx context.Context) {
	l.m.active.WithLabelValues(l.stream).Set(0)
	for ctx.Err() == nil {
		err := l.withLease(ctx, l.sittings)
		if err != nil && ctx.Err() == nil && !errors.Is(err, bus.ErrLeaseHeld) {
			l.log.Warn("archiving interrupted", "error", err)
		}
		sleep(ctx, l.cfg.LeaseTTL/3)
	}
}

// withLease calls do while this replica holds the lease, and cuts it off when the
// lease is lost. The lease saves work; that two replicas at once do no harm is
// the tables' business.
func (l *line[R]) withLease(ctx context.Context, do func(context.Context)) error {
	lease, err := l.d.Bus.Acquire(ctx, "archiver-"+l.stream, l.d.Owner, l.cfg.LeaseTTL)
	if err != nil {
		return err
	}
	active := l.m.active.WithLabelValues(l.stream)
	active.Set(1)
	defer active.Set(0)
	held, lose := context.WithCancel(ctx)
	defer lose()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(held)
	}()
	tick := time.NewTicker(l.cfg.LeaseTTL / 3)
	defer tick.Stop()
	renewed := time.Now()
	for {
		select {
		case <-done:
			release, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			return lease.Release(release)
		case <-tick.C:
			err := lease.Renew(held)
			if err == nil {
				renewed = time.Now()
				continue
			}
			if errors.Is(err, bus.ErrLeaseHeld) || time.Since(renewed) > l.cfg.LeaseTTL {
				lose()
				<-done
				return fmt.Errorf("lease lost: %w", err)
			}
		}
	}
}

// sittings repeats sitting until ctx ends, more slowly while it fails.
func (l *line[R]) sittings(ctx context.Context) {
	var watch sync.WaitGroup
	watch.Go(func() { l.watchLag(ctx) })
	defer watch.Wait()
	wait := newBackoff()
	for ctx.Err() == nil {
		start := time.Now()
		err := l.sitting(ctx)
		if ctx.Err() != nil {
			return
		}
		l.log.Warn("archiving begins anew from what ClickHouse has", "error", err)
		if time.Since(start) > time.Minute {
			wait.Reset()
		}
		sleep(ctx, wait.NextBackOff())
	}
}

// sitting archives the stream from where ClickHouse stands: find the place →
// read → gather batches → flush each. It ends with ctx, or with an error after
// which the next sitting finds the place anew.
func (l *line[R]) sitting(ctx context.Context) error {
	l.settled.Store(0)
	place, err := l.findPlace(ctx)
	if err != nil {
		if ctx.Err() == nil {
			l.m.failures.WithLabelValues(l.stream).Inc()
		}
		return err
	}
	l.settled.Store(place.next - 1)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	// One batch is gathered while another is being inserted; that bounds memory
	// while ClickHouse is slow or away.
	batches := make(chan batch[R])
	go func() {
		defer close(batches)
		end(l.gather(ctx, place, batches))
	}()
	for b := range batches {
		if err := l.flush(ctx, b); err != nil {
			end(err)
		}
	}
	return context.Cause(ctx)
}

// flush makes one batch durable in ClickHouse, repeating until it is or ctx ends.
func (l *line[R]) flush(ctx context.Context, b batch[R]) error {
	if ctx.Err() != nil {
		return ctx.Err() // what was not begun is read again
	}
	begin := time.Now()
	count := b.rows.Len()
	token := fmt.Sprintf("%s:%d:%d-%d", l.stream, b.epoch.UnixMilli(), b.first, b.last)
	if err := l.repeat(ctx, "insert", func(ctx context.Context) error {
		return l.into.Insert(ctx, token, b.rows)
	}); err != nil {
		return err
	}
	// If we die here: the rows are in, and the next sitting finds its place behind
	// them. If we died before: they are in or not, as a whole, and it sees which.
	if count > 0 {
		l.m.archived.WithLabelValues(l.stream).Add(float64(count))
		l.m.batches.WithLabelValues(l.stream).Inc()
		l.settled.Store(b.last)
	}
	for _, parent := range b.traces {
		l.d.Trace.Past(parent, "archive", trace.Consumer, begin, "simline.stream", l.stream)
	}
	if b.poison != nil {
		if err := l.setAside(ctx, b.epoch, b.poison); err != nil {
			return err
		}
		l.settled.Store(b.poison.sequence)
	}
	if err := b.ack(); err != nil {
		// Only the server's idea of our lag suffers; our place is in ClickHouse.
		l.log.Warn("acknowledgement not delivered", "error", err)
	}
	return nil
}

// setAside makes a dead letter of a message that cannot be read and notes its
// place, so that the rest goes on behind it.
func (l *line[R]) setAside(ctx context.Context, epoch time.Time, p *poison) error {
	why := warehouse.Skipped{Stream: l.stream, Subject: p.subject, Reason: reasonOf(p.err), Error: p.err.Error(), Epoch: epoch, Sequence: p.sequence, At: time.Now()}
	l.log.Error("message cannot be read, set aside", "sequence", p.sequence, "subject", p.subject, "error", p.err)
	err := l.repeat(ctx, "dead letter", func(ctx context.Context) error {
		return l.d.Bus.DeadBytes(ctx, bus.DeadLetter{Stream: l.stream, Subject: p.subject, Header: p.header, Data: []byte(p.data), Reason: why.Reason, Cause: p.err,
			Attempts: "1", MsgID: fmt.Sprintf("dead:%s:%d:%d", l.stream, epoch.UnixMilli(), p.sequence)})
	})
	if err != nil {
		return err
	}
	// If we die here: the letter lies in DEAD and is written once more; its message
	// id keeps it from lying there twice, within the stream's window.
	if err := l.repeat(ctx, "note", func(ctx context.Context) error { return warehouse.InsertSkipped(ctx, l.d.Warehouse, why) }); err != nil {
		return err
	}
	l.m.skipped.WithLabelValues(l.stream).Inc()
	return nil
}

// repeat calls do until it succeeds or ctx ends. A call in hand may finish after
// ctx's end: cut off, its outcome would be unknown.
func (l *line[R]) repeat(ctx context.Context, what string, do func(context.Context) error) error {
	wait := newBackoff()
	for {
		start := time.Now()
		call, cancel := context.WithTimeout(l.d.Work, l.cfg.InsertTimeout)
		err := do(call)
		cancel()
		if err == nil {
			l.m.insertSeconds.WithLabelValues(l.stream).Observe(time.Since(start).Seconds())
			return nil
		}
		l.m.failures.WithLabelValues(l.stream).Inc()
		l.log.Warn(what+" failed or unknown, repeated", "error", err)
		sleep(ctx, wait.NextBackOff())
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func newBackoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 200*time.Millisecond, 10*time.Second
	return b
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
