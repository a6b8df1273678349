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
// order from being sent. Where a supplier documents no limit nothing is counted;
// what it says, "too many for now", holds for everybody all the same. A nil Budget
// has no bounds.
type Budget struct {
	KV     jetstream.KeyValue // the bucket budgets
	Key    string
	Limit  int // calls in a window; 0: not documented
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
	At    time.Time `json:"at,omitzero"`    // when somebody last took of it
}

// Take counts one call, or refuses it with an error of kind Busy that says when to
// come back.
func (b *Budget) Take(ctx context.Context) error {
	if b == nil {
		return nil
	}
	for range 10 {
		now := b.Now()
		c, revision, err := b.read(ctx)
		switch {
		case err != nil:
			return err
		case c.Pause.After(now):
			return b.refuse(c.Pause.Sub(now))
		case b.Limit == 0:
			return nil
		}
		if !now.Before(c.Start.Add(b.Window)) {
			c.Start, c.Used = now.UTC(), 0
		}
		if c.Used >= b.Limit*share/100 {
			return b.refuse(c.Start.Add(b.Window).Sub(now))
		}
		c.Used, c.At = c.Used+1, now.UTC()
		// If we die here: one call of the window is lost to everyone.
		if err := b.write(ctx, c, revision); err == nil || !bus.IsConflict(err) {
			return err
		}
	}
	return b.refuse(time.Second)
}

// Busy tells everybody that the supplier said "too many": no call before pause is
// over. It is a courtesy: who does not hear of it hears it from the supplier.
func (b *Budget) Busy(ctx context.Context, pause time.Duration) {
	if b == nil {
		return
	}
	c, revision, err := b.read(ctx)
	until := b.Now().Add(pause).UTC()
	if err != nil || c.Pause.After(until) {
		return
	}
	c.Pause = until
	_ = b.write(ctx, c, revision) // at worst somebody makes one call too many
}

func (b *Budget) read(ctx context.Context) (c count, revision uint64, err error) {
	e, err := b.KV.Get(ctx, b.Key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return c, 0, nil
	}
	if err != nil {
		return c, 0, fmt.Errorf("call budget %s: %w", b.Key, err)
	}
	if err := json.Unmarshal(e.Value(), &c); err != nil {
		return count{}, e.Revision(), nil // unreadable: begin anew, as orderer does
	}
	return c, e.Revision(), nil
}

func (b *Budget) write(ctx context.Context, c count, revision uint64) (err error) {
	if revision == 0 {
		_, err = b.KV.Create(ctx, b.Key, raw(c))
	} else {
		_, err = b.KV.Update(ctx, b.Key, raw(c), revision)
	}
	if err != nil {
		return fmt.Errorf("call budget %s: %w", b.Key, err)
	}
	return nil
}

func (b *Budget) refuse(after time.Duration) error {
	return &supplier.Error{Op: "budget", Kind: supplier.Busy, Code: "(budget)", Message: "reconciliation has used its share of the calls", RetryAfter: after}
}
