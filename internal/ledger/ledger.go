package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/trace"
	"github.com/simline/simline/internal/wire"
)

// Ledger writes and reads order events. It is safe for concurrent use.
type Ledger struct {
	bus    *bus.Bus
	events *bus.Committer
	open   *bus.Committer
	source string // CloudEvents source
	token  string // of this process, the beginning of each writer token
	writes atomic.Uint64
	pages  pages
	turned turned
}

// Entry is an order as its last event has it. The zero Entry is an order of which
// there is no event yet. What was once made is handed on and not changed: an order
// moves by its next entry.
type Entry struct {
	order.Record
	Seq    uint64    // of the event in ORDER_EVENTS
	Stored time.Time // when the server stored it; zero right after Append
	Trace  string    // W3C traceparent of the event; of the request while nothing is traced
	// New: no event of the order was there when it was taken up, and none since but
	// its intent, so that it cannot be in the index of open orders yet.
	New bool
}

// ErrMoved: another worker moved the order. Read it again.
var ErrMoved = errors.New("the order was moved by another worker")

// New makes a ledger on a connection; worker stands in the events' source.
func New(b *bus.Bus, worker string) (*Ledger, error) {
	events, err := bus.NewCommitter(b, bus.CommitOptions{})
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	open, err := bus.NewCommitter(b, bus.CommitOptions{})
	if err != nil {
		events.Close()
		return nil, fmt.Errorf("ledger: index of open orders: %w", err)
	}
	return &Ledger{bus: b, events: events, open: open, source: wire.Source(worker), token: nuid.Next()}, nil
}

// Close ends the ledger; appends that are under way become unknown.
func (l *Ledger) Close() {
	l.events.Close()
	l.open.Close()
}

// Get reads the last event of an order; false if there is none.
func (l *Ledger) Get(ctx context.Context, orderID string) (Entry, bool, error) {
	m, found, err := l.bus.Last(ctx, bus.StreamOrderEvents, bus.SubjectOrderHistory(orderID))
	if err != nil || !found {
		return Entry{}, false, err
	}
	return decode(m)
}

// Raw is the last event of an order byte for byte; false if there is none.
func (l *Ledger) Raw(ctx context.Context, orderID string) ([]byte, bool, error) {
	m, found, err := l.bus.Last(ctx, bus.StreamOrderEvents, bus.SubjectOrderHistory(orderID))
	return m.Data, found, err
}

func decode(m bus.Stored) (Entry, bool, error) {
	rec, meta, err := wire.DecodeOrderEvent(m.Data)
	if err != nil {
		return Entry{}, false, fmt.Errorf("order event %d on %s: %w", m.Sequence, m.Subject, err)
	}
	return Entry{Record: rec, Seq: m.Sequence, Stored: m.Time, Trace: meta.TraceParent}, true, nil
}

// Append moves an order from prev to next and returns once that is durable. It
// refuses what order's transitions do not allow, and returns ErrMoved if prev is
// not the order's last event any more. It keeps trying while the outcome is unknown,
// until ctx ends, another has moved the order, or NATS refuses: its error then wraps
// bus.ErrOutcomeUnknown, and the event may stand, behind the other's, or not. The
// entry is nil with every error.
func (l *Ledger) Append(ctx context.Context, prev *Entry, next order.Record) (*Entry, error) {
	if err := order.CheckMove(prev.State, &next); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	ctx, span := trace.Child(ctx, "ledger append", trace.Producer)
	defer span.End()
	span.Set("simline.order_id", next.OrderID)
	span.Set("simline.state", string(next.State))
	entry, err := l.append(ctx, prev, &Entry{Record: next, Trace: span.Parent(prev.Trace), New: prev.New && next.State == order.Intent})
	if err != nil {
		span.Fail(err.Error())
	}
	return entry, err
}

// append writes next, and who wrote it, as the event that follows prev, and returns it
// as it then stands.
func (l *Ledger) append(ctx context.Context, prev, next *Entry) (*Entry, error) {
	next.Writer = l.token + "-" + strconv.FormatUint(l.writes.Add(1), 36)
	e := events.Get().(*event)
	if err := l.write(e, prev.Seq, &next.Record, next.Trace); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	var unknown error // of an earlier try
	for again := false; ; again = true {
		ack, err := l.events.Publish(ctx, &e.msg)
		// If we die here: the event stands, and is the truth for whoever comes next.
		if err == nil {
			if !again && cap(e.msg.Data) <= maxKept {
				events.Put(e)
			}
			next.Seq = ack.Sequence
			return next, nil
		}
		if !errors.Is(err, bus.ErrConflict) && !errors.Is(err, bus.ErrOutcomeUnknown) {
			return nil, fmt.Errorf("ledger: %w", errors.Join(err, unknown))
		}
		now, found, readErr := l.fromLeader(ctx, next.OrderID)
		switch {
		case readErr == nil && found && now.Writer == next.Writer:
			return &now, nil // our own write, whose acknowledgement was lost
		case errors.Is(err, bus.ErrConflict) && readErr != nil:
			// Nobody tells whose event it met: it may be ours, stored by a batch that broke.
			return nil, errors.Join(ErrMoved, bus.ErrOutcomeUnknown, readErr)
		case errors.Is(err, bus.ErrConflict):
			return nil, errors.Join(ErrMoved, unknown)
		case readErr == nil && found && now.Seq != prev.Seq:
			return nil, errors.Join(ErrMoved, err)
		case ctx.Err() != nil:
			return nil, fmt.Errorf("ledger: %w", err)
		}
		// Unknown and not there: it may still be on its way. The same event again is
		// harmless: only one of the two can follow prev. It is not to be changed any more.
		unknown = err
		e = &event{msg: nats.Msg{Subject: e.msg.Subject, Header: maps.Clone(e.msg.Header), Data: e.msg.Data}}
	}
}

// event is an order event on its way. Two are written for each order that is bought, so
// those that are stored are used again.
type event struct {
	msg                       nats.Msg
	id, seq, history, parents [1]string // values of its header
}

// maxKept is the largest event that is kept to be used again, in bytes.
const maxKept = 16 << 10

var events = sync.Pool{New: func() any {
	return &event{msg: nats.Msg{Header: make(nats.Header, 4), Data: make([]byte, 0, 1536)}}
}}

// write makes e the event by which an order moves from the event prev to r.
func (l *Ledger) write(e *event, prev uint64, r *order.Record, trace string) error {
	env, err := wire.NewEnvelope(wire.TypeOrder(string(r.State)), l.source, r.OrderID, r.Writer, r.At, json.RawMessage(nil))
	if err != nil {
		return err
	}
	env.TraceParent = trace
	if e.msg.Data, err = env.Append(e.msg.Data[:0], r.AppendJSON); err != nil {
		return err
	}
	e.msg.Subject = bus.SubjectOrderEvent(r.OrderID, r.Supplier, string(r.State))
	e.id[0], e.seq[0], e.history[0], e.parents[0] = r.Writer, strconv.FormatUint(prev, 10), bus.SubjectOrderHistory(r.OrderID), trace
	h := e.msg.Header
	h[bus.HeaderMsgID], h[bus.HeaderExpectSeq], h[bus.HeaderExpectOf] = e.id[:], e.seq[:], e.history[:]
	if trace != "" {
		h[bus.HeaderTraceParent] = e.parents[:]
	} else {
		delete(h, bus.HeaderTraceParent)
	}
	return nil
}

func (l *Ledger) fromLeader(ctx context.Context, orderID string) (Entry, bool, error) {
	m, found, err := l.bus.LastFromLeader(ctx, bus.StreamOrderEvents, bus.SubjectOrderHistory(orderID))
	if err != nil || !found {
		return Entry{}, false, err
	}
	return decode(m)
}
