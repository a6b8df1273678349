package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
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
}

// Guard writes the entry of an order, whatever was there. It comes before the ack
// of the order's queue message.
func (l *Ledger) Guard(ctx context.Context, o Open) error {
	return l.putOpen(ctx, o, func(*nats.Msg) {})
}

// Claim moves the Due of an entry that was read, so that no other replica takes
// it up meanwhile. ErrMoved if the entry was changed since.
func (l *Ledger) Claim(ctx context.Context, o Open, due time.Time) error {
	o.Due = due
	return l.putOpen(ctx, o, func(m *nats.Msg) { bus.Expect(m, m.Subject, o.Revision) })
}

func (l *Ledger) putOpen(ctx context.Context, o Open, guard func(*nats.Msg)) error {
	data, err := json.Marshal(o)
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

// IsGuarded says whether an order has an entry.
func (l *Ledger) IsGuarded(ctx context.Context, orderID string) (bool, error) {
	kv, err := l.bus.JS.KeyValue(ctx, bus.BucketOpenOrders)
	if err != nil {
		return false, fmt.Errorf("open order %s: %w", orderID, err)
	}
	_, err = kv.Get(ctx, orderID)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Unguard removes the entry of an order, after it was settled. What stays is a
// mark that the server itself removes after a minute, so that the index's size is
// that of what is open.
func (l *Ledger) Unguard(ctx context.Context, orderID string) error {
	msg := bus.NewMsg(bus.SubjectKV(bus.BucketOpenOrders, orderID), "", nil)
	msg.Header["KV-Operation"] = []string{"PURGE"}
	msg.Header[jetstream.MsgTTLHeader] = []string{strconv.Itoa(60)}
	if _, err := l.open.Publish(ctx, msg); err != nil {
		return fmt.Errorf("remove open order %s: %w", orderID, err)
	}
	return nil
}

// All walks through the open orders, oldest entry first, holding only a few at a
// time. What changes meanwhile may be seen or not.
func (l *Ledger) All(ctx context.Context) iter.Seq2[Open, error] {
	return func(yield func(Open, error) bool) {
		kv, err := l.bus.JS.KeyValue(ctx, bus.BucketOpenOrders)
		if err != nil {
			yield(Open{}, fmt.Errorf("open orders: %w", err))
			return
		}
		w, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
		if err != nil {
			yield(Open{}, fmt.Errorf("open orders: %w", err))
			return
		}
		defer w.Stop()
		for {
			select {
			case <-ctx.Done():
				yield(Open{}, ctx.Err())
				return
			case e, ok := <-w.Updates():
				if !ok {
					yield(Open{}, errors.New("open orders: the watch ended early"))
					return
				}
				if e == nil {
					return // what there was has been seen
				}
				o := Open{Revision: e.Revision()}
				if err := json.Unmarshal(e.Value(), &o); err != nil || o.OrderID != e.Key() {
					if !yield(Open{}, fmt.Errorf("open order %s: entry %.80q: %w", e.Key(), e.Value(), errors.Join(err, errEntry))) {
						return
					}
					continue
				}
				if !yield(o, nil) {
					return
				}
			}
		}
	}
}

var errEntry = errors.New("not an entry of the index")
