package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/supplier"
)

// Budget counts the calls of one account over all workers: orderer takes from the
// same count. Comparing never uses more than its share, so that it cannot keep an
// order from being sent.
type Budget struct {
	KV     jetstream.KeyValue // the bucket budgets
	Key    string
	Limit  int // calls in a window
	Window time.Duration
	Now    func() time.Time
}

// share is the part of a window's calls, in percent, after which only orderer may
// still take some.
const share = 50

// BudgetKey is where an account's calls are counted.
func BudgetKey(supplier, account string) string { return "calls." + supplier + "." + account }

// count is the common count; orderer reads and writes the same.
type count struct {
	Start time.Time `json:"start"` // of the window
	Used  int       `json:"used"`
	Pause time.Time `json:"pause,omitzero"` // the supplier said too many: no call before
}

// Take counts one call, or refuses it with an error of kind Busy that says when to
// come back.
func (b *Budget) Take(ctx context.Context) error {
	for range 10 {
		now := b.Now()
		var c count
		var revision uint64
		e, err := b.KV.Get(ctx, b.Key)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
		case err != nil:
			return fmt.Errorf("call budget %s: %w", b.Key, err)
		default:
			revision = e.Revision()
			if err := json.Unmarshal(e.Value(), &c); err != nil {
				c = count{} // unreadable: begin anew, as orderer does
			}
		}
		if !now.Before(c.Start.Add(b.Window)) {
			c.Start, c.Used = now.UTC(), 0
		}
		switch {
		case c.Pause.After(now):
			return b.refuse(c.Pause.Sub(now))
		case c.Used >= b.Limit*share/100:
			return b.refuse(c.Start.Add(b.Window).Sub(now))
		}
		c.Used++
		if revision == 0 {
			_, err = b.KV.Create(ctx, b.Key, raw(c))
		} else {
			_, err = b.KV.Update(ctx, b.Key, raw(c), revision)
		}
		switch {
		case err == nil:
			return nil
		case !bus.IsConflict(err):
			return fmt.Errorf("call budget %s: %w", b.Key, err)
		}
	}
	return b.refuse(time.Second)
}

func (b *Budget) refuse(after time.Duration) error {
	return &supplier.Error{Op: "budget", Kind: supplier.Busy, Code: "(budget)", Message: "reconciliation has used its share of the calls", RetryAfter: after}
}

// frugal looks orders up within a budget.
type frugal struct {
	StatusReader
	budget *Budget
}

// Lookup implements StatusReader.
func (f frugal) Lookup(ctx context.Context, q supplier.Query) (supplier.Sighting, error) {
	if q.SupplierOrderID == "" {
		return supplier.Sighting{}, supplier.ErrNoLookup // it would find nothing, and cost a call
	}
	if err := f.budget.Take(ctx); err != nil {
		return supplier.Sighting{}, err
	}
	return f.StatusReader.Lookup(ctx, q)
}
