package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
)

// Reguard enters into the index, as due at that moment, every unsettled order of the
// ledger that is not there, and returns how many that were. Streams are restored
// from copies of different moments: an order that had left the queue in one and was
// not yet in the index in another would be looked after by nobody. It reads the
// whole ledger and holds what is unsettled.
func (l *Ledger) Reguard(ctx context.Context, due time.Time) (int, error) {
	unsettled, err := l.unsettled(ctx)
	if err != nil {
		return 0, fmt.Errorf("reguard: %w", err)
	}
	for o, err := range WalkOpen(ctx, l.bus) {
		if err != nil {
			return 0, fmt.Errorf("reguard: %w", err)
		}
		delete(unsettled, o.OrderID)
	}
	n := 0
	for id := range unsettled {
		cur, found, err := l.Get(ctx, id)
		if err != nil {
			return n, fmt.Errorf("reguard: %w", err)
		}
		if !found || cur.State.Settled() {
			continue
		}
		// If we die here: the rest is found the next time.
		if err := l.Guard(ctx, Open{OrderID: id, Supplier: cur.Supplier, Account: cur.Account, State: cur.State, WaitingFor: cur.WaitingFor,
			Due: due, ExpiresAt: cur.Request.ExpiresAt, AcceptedAt: cur.AcceptedAt}); err != nil {
			return n, fmt.Errorf("reguard: %w", err)
		}
		n++
	}
	return n, nil
}

// unsettled reads what the ledger's subjects say: their last token is the state.
func (l *Ledger) unsettled(ctx context.Context) (map[string]bool, error) {
	s, err := l.bus.JS.Stream(ctx, bus.StreamOrderEvents)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	if s.CachedInfo().State.Msgs == 0 {
		return out, nil
	}
	last := s.CachedInfo().State.LastSeq
	cons, err := l.bus.JS.OrderedConsumer(ctx, bus.StreamOrderEvents, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		return nil, err
	}
	it, err := cons.Messages()
	if err != nil {
		return nil, err
	}
	defer it.Stop()
	for {
		m, err := it.Next(jetstream.NextMaxWait(30 * time.Second))
		if errors.Is(err, nats.ErrTimeout) {
			return nil, errors.New("the ledger stops in the middle")
		}
		if err != nil {
			return nil, err
		}
		tokens := strings.Split(m.Subject(), ".")
		if len(tokens) < 3 {
			return nil, fmt.Errorf("an event on %s", m.Subject())
		}
		id, state := tokens[len(tokens)-3], order.State(tokens[len(tokens)-1])
		if state.Settled() {
			delete(out, id)
		} else {
			out[id] = true
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, err
		}
		if meta.Sequence.Stream >= last {
			return out, nil
		}
	}
}
