package orderer

import (
	"context"
	"time"

	"github.com/simline/simline/internal/order"
)

// A person who has to judge a held order compares the account's balance before its
// first call with what it is then. Some suppliers tell the balance with each order;
// of the others it is asked now and then, beside the line.

// balanceEvery is how old the balance may be that an order notes before its call.
const balanceEvery = time.Minute

// balanceLoop keeps what is known of an account's balance young until ctx ends.
func (w *Worker) balanceLoop(ctx context.Context, a *account) error {
	for {
		if a.wantsBalance() && !w.switches.paused(a.Supplier) {
			w.askBalance(ctx, a)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(balanceEvery):
		}
	}
}

// askBalance asks once; where it is not told, what was known before stays.
func (w *Worker) askBalance(ctx context.Context, a *account) {
	if s, err := w.budgetGate(ctx, a); s != nil || err != nil {
		return
	}
	var balance order.Money
	err := a.call(ctx, func(ctx context.Context) (err error) {
		balance, err = a.Client.Balance(ctx)
		return err
	})
	if err == nil {
		a.sawBalance(&balance)
	}
}

// wantsBalance: it is not known, or old; where calls are counted, only the former. An
// account that was stopped is left alone: that the balance is told does not mean that
// it may buy.
func (a *account) wantsBalance() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stopped.IsZero() {
		return false
	}
	return a.balance == nil || a.budget.limit == 0 && a.now().Sub(a.seen) >= balanceEvery/2
}
