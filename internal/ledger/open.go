package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
)

// Open is the index's entry of an order that left the queue unsettled. It guards
// the order: a sweep goes on with it when it is due. Its state may be a moment
// old; the ledger's is the truth.
type Open struct {
	OrderID    string      `json:"order_id"`
	Supplier   string      `json:"supplier"`
	Account    string      `json:"account"`
	State      order.State `json:"state"`
	WaitingFor string      `json:"waiting_for,omitempty"`
	// Due is when something is to be done with the order.
	Due time.Time `json:"due"`
	// ExpiresAt is the request's: a waiting order is taken up then at the latest.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	// AcceptedAt is when the request was first seen.
	AcceptedAt time.Time `json:"accepted_at,omitzero"`
	// InDoubt: a call may have placed the order and nothing says whether it did.
	// AtStake is then what it may have cost, as far as anything told a price.
	InDoubt bool         `json:"in_doubt,omitempty"`
	AtStake *order.Money `json:"at_stake,omitempty"`

	Revision uint64 `json:"-"` // of the entry as it was read
	page     string // key of the page that it was read from; empty: an entry of its own
	of       int    // orders on that page
}

// write writes o as encoding/json does.
func (o *Open) write(w *order.Writer) {
	w.Open()
	w.Text("order_id", o.OrderID)
	w.Text("supplier", o.Supplier)
	w.Text("account", o.Account)
	w.Text("state", string(o.State))
	w.Some("waiting_for", o.WaitingFor)
	w.Time("due", o.Due)
	w.Moment("expires_at", o.ExpiresAt)
	if !o.AcceptedAt.IsZero() {
		w.Time("accepted_at", o.AcceptedAt)
	}
	w.Flag("in_doubt", o.InDoubt)
	w.Money("at_stake", o.AtStake)
	w.Close()
}

// Guard writes the entry of an order, whatever was there. It comes before the ack
// of the order's queue message.
func (l *Ledger) Guard(ctx context.Context, o Open) error {
	return l.putOpen(ctx, o, func(*nats.Msg) {})
}

// GuardLast is Guard for an order whose turn may be far off: it writes the entry only
// if the order's last event is seq, and ErrMoved says that another has moved the order
// since. An entry that came behind the removal of another's would list a settled order
// until its turn. So the index is read before the ledger, and written as it was read:
// who moves the order after that brings its entry in line after ours, or ours is
// refused and the ledger read again. Only what is on its way for longer than the mark
// of a removal stays, a minute, can still come behind it.
func (l *Ledger) GuardLast(ctx context.Context, o Open, seq uint64) error {
	for {
		// From the leaders: what a replica has not heard of yet would pass for the last.
		at, _, err := l.bus.LastFromLeader(ctx, bus.StreamKV(bus.BucketOpenOrders), bus.SubjectKV(bus.BucketOpenOrders, o.OrderID))
		if err != nil {
			return fmt.Errorf("open order %s: %w", o.OrderID, err)
		}
		last, _, err := l.bus.LastFromLeader(ctx, bus.StreamOrderEvents, bus.SubjectOrderHistory(o.OrderID))
		if err != nil {
			return fmt.Errorf("open order %s: %w", o.OrderID, err)
		}
		if last.Sequence != seq {
			return ErrMoved
		}
		err = l.putOpen(ctx, o, func(m *nats.Msg) { bus.Expect(m, m.Subject, at.Sequence) })
		if !errors.Is(err, ErrMoved) {
			return err
		}
	}
}

// Claim moves the Due of an entry that was read, so that no other replica takes
// it up meanwhile. ErrMoved if the entry was changed since. What was on a page gets
// an entry of its own by it.
func (l *Ledger) Claim(ctx context.Context, o Open, due time.Time) error {
	o.Due = due
	if o.page == "" {
		return l.putOpen(ctx, o, func(m *nats.Msg) { bus.Expect(m, m.Subject, o.Revision) })
	}
	err := l.putOpen(ctx, o, func(m *nats.Msg) { bus.Expect(m, m.Subject, 0) })
	if err == nil || errors.Is(err, ErrMoved) {
		// If we die here: the page has the order still. Whoever takes it up from there
		// finds that it has an entry of its own, or had one not long ago, or else asks
		// the ledger.
		if l.turned.note(o) {
			_ = l.purge(ctx, o.page) // should it fail, the next walk does it
		}
	}
	return err
}

func (l *Ledger) putOpen(ctx context.Context, o Open, guard func(*nats.Msg)) error {
	w := order.NewWriter(make([]byte, 0, 256))
	o.write(&w)
	data, err := w.Done()
	if err != nil {
		return fmt.Errorf("open order %s: %w", o.OrderID, err)
	}
	msg := bus.NewMsg(bus.SubjectKV(bus.BucketOpenOrders, o.OrderID), "", data)
	guard(msg)
	if _, err := l.open.Publish(ctx, msg); errors.Is(err, bus.ErrConflict) {
		return ErrMoved
	} else if err != nil {
		return fmt.Errorf("open order %s: %w", o.OrderID, err)
	}
	return nil
}

// Unguard removes the entry of an order, after it was settled. What stays is a
// mark that the server itself removes after a minute, so that the index's size is
// that of what is open.
func (l *Ledger) Unguard(ctx context.Context, orderID string) error {
	if err := l.purge(ctx, orderID); err != nil {
		return fmt.Errorf("remove open order %s: %w", orderID, err)
	}
	return nil
}

func (l *Ledger) purge(ctx context.Context, key string) error {
	msg := bus.NewMsg(bus.SubjectKV(bus.BucketOpenOrders, key), "", nil)
	msg.Header["KV-Operation"] = []string{"PURGE"}
	msg.Header[jetstream.MsgTTLHeader] = []string{strconv.Itoa(60)}
	_, err := l.open.Publish(ctx, msg)
	return err
}

// All walks through the open orders, oldest entry first, holding only a few at a
// time. What changes meanwhile may be seen or not. Pages from which all was taken up
// are removed on the way.
func (l *Ledger) All(ctx context.Context) iter.Seq2[Open, error] {
	return func(yield func(Open, error) bool) {
		seen := map[string]bool{}
		for e, err := range entries(ctx, l.bus) {
			if err != nil {
				if !yield(Open{}, err) {
					return
				}
				continue
			}
			if !isPage(e.key) {
				if !yield(single(e)) {
					return
				}
				continue
			}
			seen[e.key] = true
			open, err := l.turned.left(e)
			if err != nil && !yield(Open{}, err) {
				return
			}
			if err == nil && len(open) == 0 {
				// Should it fail, the next walk does it.
				if err := l.purge(ctx, e.key); err != nil && !yield(Open{}, fmt.Errorf("remove page of open orders: %w", err)) {
					return
				}
			}
			for _, o := range open {
				if !yield(o, nil) {
					return
				}
			}
		}
		l.turned.keep(seen)
	}
}

// WalkOpen walks through the open orders for those who only read: each order once,
// first those that have an entry of their own, then those that are on pages alone,
// which it keeps in memory until then.
func WalkOpen(ctx context.Context, b *bus.Bus) iter.Seq2[Open, error] {
	return func(yield func(Open, error) bool) {
		had, paged := map[string]bool{}, []Open(nil)
		for e, err := range entries(ctx, b) {
			var o Open
			switch {
			case err != nil:
			case isPage(e.key):
				var open []Open
				if open, err = pageOf(e); err == nil {
					paged = append(paged, open...)
					continue
				}
			default:
				if o, err = single(e); err == nil {
					had[o.OrderID] = true
				}
			}
			if !yield(o, err) {
				return
			}
		}
		for _, o := range paged {
			if !had[o.OrderID] {
				had[o.OrderID] = true
				if !yield(o, nil) {
					return
				}
			}
		}
	}
}

// entry is one of the bucket: of an order, or a page.
type entry struct {
	key      string
	value    []byte
	revision uint64
}

// readAhead is how many entries are on their way from the server at once: a walk may
// stand still for long, while all that it found is looked at, and must not gather
// the rest in memory meanwhile.
const readAhead = 500

// entries are those of the bucket, oldest first.
func entries(ctx context.Context, b *bus.Bus) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		cons, err := b.JS.OrderedConsumer(ctx, bus.StreamKV(bus.BucketOpenOrders), jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy})
		if err != nil {
			yield(entry{}, fmt.Errorf("open orders: %w", err))
			return
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bus.PublishTimeout)
			defer cancel()
			// Should it fail, the server removes the consumer itself once nobody has asked it for a while.
			_ = b.JS.DeleteConsumer(ctx, bus.StreamKV(bus.BucketOpenOrders), cons.CachedInfo().Name)
		}()
		if cons.CachedInfo().NumPending == 0 {
			return
		}
		it, err := cons.Messages(jetstream.PullMaxMessages(readAhead))
		if err != nil {
			yield(entry{}, fmt.Errorf("open orders: %w", err))
			return
		}
		defer it.Stop()
		for {
			msg, err := it.Next(jetstream.NextContext(ctx))
			if err != nil {
				yield(entry{}, fmt.Errorf("open orders: %w", err))
				return
			}
			meta, err := msg.Metadata()
			if err != nil {
				yield(entry{}, fmt.Errorf("open orders: %w", err))
				return
			}
			if msg.Headers().Get("KV-Operation") == "" && msg.Headers().Get(jetstream.MarkerReasonHeader) == "" {
				e := entry{key: strings.TrimPrefix(msg.Subject(), bus.SubjectKV(bus.BucketOpenOrders, "")), value: msg.Data(), revision: meta.Sequence.Stream}
				if !yield(e, nil) {
					return
				}
			}
			if meta.NumPending == 0 {
				return // what there was has been seen
			}
		}
	}
}

func single(e entry) (Open, error) {
	o := Open{Revision: e.revision}
	if err := json.Unmarshal(e.value, &o); err != nil || o.OrderID != e.key {
		return Open{}, fmt.Errorf("open order %s: entry %.80q: %w", e.key, e.value, errors.Join(err, ErrEntry))
	}
	return o, nil
}

// ErrEntry: one entry of the index is not one; the walk goes on behind it.
var ErrEntry = errors.New("not an entry of the index")
