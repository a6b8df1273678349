package orderer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
)

// day is the UTC day that a moment's spending counts against.
func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func spendKey(a *account, day string) string {
	return "spend." + a.Supplier + "." + a.Name + "." + day
}

// counts says whether an order is yet to be counted against today's limit.
func (w *Worker) counts(a *account, cur *order.Record) bool {
	return a.DailyLimit != nil && (cur.SpendReserved == nil || cur.SpendDay != day(w.now()))
}

// reserved is what was counted for an order against a day's limit.
type reserved struct {
	amount *order.Money // nil: nothing was
	day    string       // UTC, 2026-01-15
}

func reservedFor(r *order.Record) reserved { return reserved{r.SpendReserved, r.SpendDay} }

// counting is cur with what was counted for it just now, which its intent will say.
func counting(cur *ledger.Entry, r reserved) *ledger.Entry {
	if r.amount == nil {
		return cur
	}
	ahead := *cur
	ahead.SpendReserved, ahead.SpendDay = r.amount, r.day
	return &ahead
}

// spendGate counts an order's price against its account's limit of the day, over all
// replicas. What it counts the order's intent must say.
func (w *Worker) spendGate(ctx context.Context, a *account, price order.Money) (reserved, *shut, error) {
	if price.Currency != a.DailyLimit.Currency {
		return reserved{}, rejects("currency", fmt.Sprintf("the daily limit is in %s, the price in %s", a.DailyLimit.Currency, price.Currency)), nil
	}
	today := day(w.now())
	spent, err := w.spend(ctx, spendKey(a, today), price.Amount, a.DailyLimit.Amount)
	if err != nil {
		return reserved{}, nil, err
	}
	if !spent {
		// The day's end frees the limit, and so does an order that comes to nothing.
		again, midnight := w.now().Add(w.cfg.WaitMax), w.now().UTC().Truncate(24*time.Hour).Add(24*time.Hour)
		if again.After(midnight) {
			again = midnight
		}
		return reserved{}, waits(forSpend, again), nil
	}
	// If we die here: the amount stays counted for the day although nothing was
	// bought. That errs on the side of spending less.
	return reserved{&price, today}, nil, nil
}

// unspend takes back what was counted for an order that was certainly not placed, or
// for a call that was not made and of which no intent tells.
func (w *Worker) unspend(ctx context.Context, a *account, r reserved) {
	if r.amount == nil {
		return
	}
	if _, err := w.spend(ctx, spendKey(a, r.day), r.amount.Amount.Neg(), decimal.Decimal{}); err != nil {
		w.failed("unspend", err)
	}
}

// spend adds amount to a day's sum by compare-and-set, unless that would put it
// above limit; a negative amount is always taken.
func (w *Worker) spend(ctx context.Context, key string, amount, limit decimal.Decimal) (bool, error) {
	w.spendMu.Lock() // within a replica there is no need to race
	defer w.spendMu.Unlock()
	for try := range 50 {
		if try > 2 { // in step with another replica one would lose each time
			<-time.After(rand.N(time.Duration(try) * time.Millisecond))
		}
		sum, revision := decimal.Decimal{}, uint64(0)
		e, err := w.budgets.Get(ctx, key)
		switch {
		case err == nil:
			revision = e.Revision()
			if err := json.Unmarshal(e.Value(), &sum); err != nil {
				return false, fmt.Errorf("daily spend %s: %w", key, err)
			}
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			return false, fmt.Errorf("daily spend %s: %w", key, err)
		}
		sum = sum.Add(amount)
		if amount.Sign() > 0 && sum.Cmp(limit) > 0 {
			return false, nil
		}
		data, err := json.Marshal(sum)
		if err != nil {
			return false, err
		}
		if revision == 0 {
			_, err = w.budgets.Create(ctx, key, data)
		} else {
			_, err = w.budgets.Update(ctx, key, data, revision)
		}
		switch {
		case err == nil:
			return true, nil
		case bus.IsConflict(err):
		default:
			return false, fmt.Errorf("daily spend %s: %w", key, err)
		}
	}
	return false, fmt.Errorf("daily spend %s: too many at once", key)
}
