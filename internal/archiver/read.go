package archiver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

// place is where a stream is to be gone on with.
type place struct {
	stream jetstream.Stream
	epoch  time.Time
	next   uint64
}

// findPlace asks ClickHouse what it has of the stream and goes on behind it.
func (l *line[R]) findPlace(ctx context.Context) (place, error) {
	s, err := l.d.Bus.JS.Stream(ctx, l.stream)
	if err != nil {
		return place{}, fmt.Errorf("stream %s: %w", l.stream, err)
	}
	info := s.CachedInfo()
	p := place{stream: s, epoch: info.Created.UTC().Truncate(time.Millisecond)}
	call, cancel := context.WithTimeout(ctx, l.cfg.InsertTimeout)
	defer cancel()
	last, err := warehouse.LastArchived(call, l.d.Warehouse, l.table.Name, l.stream, p.epoch)
	if err != nil {
		return place{}, err
	}
	p.next = last + 1
	switch {
	case last > info.State.LastSeq:
		// The server lost its newest messages, as it may with a power cut when it
		// does not sync: their rows stay until the sequences are used again.
		l.log.Error("the stream ends before what was archived", "archived", last, "stream_last", info.State.LastSeq)
		p.next = info.State.LastSeq + 1
	case p.next < info.State.FirstSeq:
		lost := info.State.FirstSeq - p.next
		l.m.lost.WithLabelValues(l.stream).Add(float64(lost))
		l.log.Error("the stream dropped messages before they were archived", "messages", lost, "first", p.next)
		p.next = info.State.FirstSeq
	}
	l.log.Info("archiving", "from", p.next, "pending", info.State.LastSeq+1-p.next)
	return p, nil
}

const (
	// fetchBytes bounds what is fetched ahead; above the largest message.
	fetchBytes = 4 << 20
	heartbeat  = 5 * time.Second
)

// gather reads the stream from p on, in order, and hands on batches by size or
// time until ctx ends or the reading breaks. The durable consumer is set to p
// first: what a reader that died had taken without acknowledging would otherwise
// come late, behind newer messages.
func (l *line[R]) gather(ctx context.Context, p place, out chan<- batch[R]) error {
	name := bus.ConsumerArchiver(l.stream)
	at, err := l.d.Bus.JS.ResetConsumerToSequence(ctx, l.stream, name, p.next)
	if err != nil {
		return fmt.Errorf("set consumer %s to %d (NATS server 2.14 or newer): %w", name, p.next, err)
	}
	cons, err := p.stream.Consumer(ctx, name)
	if err != nil {
		return fmt.Errorf("bind to consumer %s: %w", name, err)
	}
	r := newReader(at.Delivered.Consumer)
	reading, err := cons.Consume(r.take, jetstream.PullMaxBytes(fetchBytes), jetstream.PullExpiry(30*time.Second), jetstream.PullHeartbeat(heartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { r.broken(err) }))
	if err != nil {
		return fmt.Errorf("read %s: %w", l.stream, err)
	}
	defer func() {
		r.stop(context.Canceled)
		reading.Stop()
		<-reading.Closed()
	}()
	defer context.AfterFunc(ctx, func() { r.stop(ctx.Err()) })()
	for {
		b, err := l.nextBatch(r, p.epoch)
		if b.rows.Len() > 0 || b.poison != nil {
			select {
			case out <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", l.stream, err)
		}
	}
}

// reader hands out a consumer's messages and can take one back.
type reader struct {
	msgs      chan jetstream.Msg
	ended     chan struct{} // closed when no more come; why says what ended it
	end       sync.Once
	why       error
	timer     *time.Timer
	delivered uint64 // by the consumer, as it counts; one of another reader's would be missing
	back      *record
}

// atHand is how soon a message is there if it has arrived already.
const atHand = time.Millisecond

// readAhead messages lie between the connection and the batch; what is fetched
// beyond them is bounded by fetchBytes.
const readAhead = 256

func newReader(delivered uint64) *reader {
	return &reader{msgs: make(chan jetstream.Msg, readAhead), ended: make(chan struct{}), timer: time.NewTimer(time.Hour), delivered: delivered}
}

// take is called with each message, in order; while it waits nothing more is
// asked for.
func (r *reader) take(msg jetstream.Msg) {
	select {
	case r.msgs <- msg:
	case <-r.ended:
	}
}

// broken ends the reading if err says that it cannot go on as if nothing had been.
// Anything else is the everyday business of pulling, such as a pull that was full.
func (r *reader) broken(err error) {
	for _, fatal := range []error{jetstream.ErrNoHeartbeat, jetstream.ErrConsumerDeleted, jetstream.ErrConsumerNotFound, jetstream.ErrBadRequest, jetstream.ErrConnectionClosed, nats.ErrConnectionClosed} {
		if errors.Is(err, fatal) {
			r.stop(err)
		}
	}
}

func (r *reader) stop(why error) {
	r.end.Do(func() { r.why = why; close(r.ended) })
}

// unread makes next return rec again.
func (r *reader) unread(rec record) { r.back = &rec }

// textOf is b as a string, without a copy: the client gives each message memory of
// its own, never uses it again, and nobody here writes to it.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// source is what nextBatch reads from.
type source interface {
	next(wait time.Duration) (record, error)
	unread(rec record)
}

// next waits at most so long for a message; nats.ErrTimeout says that none came.
func (r *reader) next(wait time.Duration) (record, error) {
	if r.back != nil {
		rec := *r.back
		r.back = nil
		return rec, nil
	}
	var msg jetstream.Msg
	select {
	case msg = <-r.msgs:
	default:
		r.timer.Reset(wait)
		select {
		case msg = <-r.msgs:
		case <-r.timer.C:
			return record{}, nats.ErrTimeout
		case <-r.ended:
			return record{}, r.why
		}
	}
	meta, err := msg.Metadata()
	if err != nil {
		return record{}, fmt.Errorf("metadata: %w", err)
	}
	if r.delivered++; meta.Sequence.Consumer != r.delivered || meta.NumDelivered > 1 {
		return record{}, fmt.Errorf("delivery %d (attempt %d) came instead of %d", meta.Sequence.Consumer, meta.NumDelivered, r.delivered)
	}
	return record{subject: msg.Subject(), header: msg.Headers(), messageID: msg.Headers().Get(nats.MsgIdHdr),
		sequence: meta.Sequence.Stream, publishedAt: meta.Timestamp.UTC(), pending: meta.NumPending, data: textOf(msg.Data()), ack: msg.Ack}, nil
}

// nextBatch gathers until the batch is full, its first message has waited long
// enough, the next belongs to another partition, one cannot be read, or the
// reading breaks.
func (l *line[R]) nextBatch(r source, epoch time.Time) (batch[R], error) {
	b := batch[R]{epoch: epoch, rows: &warehouse.EventBlock[R]{}}
	var until time.Time
	for b.rows.Len() < l.cfg.MaxRows && b.bytes < l.cfg.MaxBytes {
		wait := time.Hour
		if b.rows.Len() > 0 {
			wait = max(time.Until(until), atHand)
		}
		rec, err := r.next(wait)
		switch {
		case errors.Is(err, nats.ErrTimeout):
			if b.rows.Len() > 0 {
				return b, nil
			}
			continue
		case err != nil:
			return b, err
		case b.rows.Len() == 0:
			b.first, b.oldest, until = rec.sequence, rec.publishedAt, time.Now().Add(l.cfg.MaxDelay)
			b.rows = l.into.Block(l.room(rec))
		case rec.sequence/warehouse.EventPartition != b.first/warehouse.EventPartition:
			r.unread(rec)
			return b, nil
		}
		b.ack = rec.ack
		row, err := l.decode(rec, epoch, time.Now().UTC())
		if err != nil {
			b.poison = &poison{rec, err}
			return b, nil
		}
		b.rows.Add(row)
		b.last, b.bytes = rec.sequence, b.bytes+len(rec.data)
		if l.d.Trace.On() {
			b.traces = append(b.traces, rec.header.Get(bus.HeaderTraceParent))
		}
		if rec.pending == 0 {
			// Nothing is behind it: what is old already waits no longer.
			if aged := b.oldest.Add(l.cfg.MaxDelay); aged.Before(until) {
				until = aged
			}
		}
	}
	return b, nil
}

// room is how many rows, and bytes of messages, a batch that begins with rec may
// come to hold.
func (l *line[R]) room(rec record) (rows, size int) {
	each := max(1, len(rec.data))
	rows = int(min(rec.pending+1, uint64(l.cfg.MaxRows), uint64(l.cfg.MaxBytes/each)+1))
	return rows, rows * each
}

func reasonOf(err error) string { return wire.ReasonOf(err) }
