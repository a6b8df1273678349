package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

// Ledger follows ORDER_EVENTS as any upstream may, and knows each order's last
// event.
type Ledger struct {
	mu   sync.Mutex
	last map[string]order.Record
	bad  error
	stop func()
	done chan struct{}
}

// WatchLedger follows the ledger from its beginning.
func WatchLedger(ctx context.Context, b *bus.Bus) (*Ledger, error) {
	cons, err := b.JS.OrderedConsumer(ctx, bus.StreamOrderEvents, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, fmt.Errorf("follow the ledger: %w", err)
	}
	it, err := cons.Messages()
	if err != nil {
		return nil, fmt.Errorf("follow the ledger: %w", err)
	}
	l := &Ledger{last: map[string]order.Record{}, stop: it.Stop, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for {
			m, err := it.Next()
			if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
				return
			}
			if err != nil {
				continue // the ordered consumer starts itself anew
			}
			r, _, err := wire.DecodeOrderEvent(m.Data())
			l.mu.Lock()
			if err != nil && l.bad == nil {
				l.bad = fmt.Errorf("%s: %w", m.Subject(), err)
			}
			if err == nil {
				l.last[r.OrderID] = r
			}
			l.mu.Unlock()
		}
	}()
	return l, nil
}

// Records copies the last event of each order; the error is of the first event
// that could not be read.
func (l *Ledger) Records() (map[string]order.Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.last), l.bad
}

// States counts the orders by state.
func (l *Ledger) States() map[order.State]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := map[order.State]int{}
	for _, r := range l.last {
		n[r.State]++
	}
	return n
}

// Close ends following.
func (l *Ledger) Close() {
	l.stop()
	<-l.done
}
