package orderer

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
)

// openEntry is an order as the index of open ones has it.
func openEntry(r *order.Record, due time.Time) ledger.Open {
	o := ledger.Open{OrderID: r.OrderID, Supplier: r.Supplier, Account: r.Account, State: r.State,
		WaitingFor: r.WaitingFor, Due: due, ExpiresAt: r.Request.ExpiresAt, AcceptedAt: r.AcceptedAt}
	if r.Certainty == order.CertainUnknown && r.LastSentAt != nil {
		o.InDoubt, o.AtStake = true, atStake(r)
	}
	return o
}

// atStake is what an order in doubt may have cost: what the supplier said, the price
// list before the call, or at most what upstream allows. nil if nothing tells.
func atStake(r *order.Record) *order.Money {
	switch {
	case r.Total != nil:
		return r.Total
	case r.SpendReserved != nil:
		return r.SpendReserved
	case r.Request.Price != nil:
		return &order.Money{Amount: r.Request.Price.Amount.Mul(decimal.NewFromInt(int64(max(r.Request.Quantity, 1)))), Currency: r.Request.Price.Currency}
	}
	return r.Request.MaxTotal
}

// census counts one supplier's open orders for the metrics.
type census struct {
	open     map[order.State]int
	overdue  time.Duration
	oldest   time.Duration
	inDoubt  map[string]int // by account
	unpriced map[string]int
	atStake  map[purse]decimal.Decimal
}

// purse is an account's money of one currency.
type purse struct{ account, currency string }

func newCensus() *census {
	return &census{open: map[order.State]int{}, inDoubt: map[string]int{}, unpriced: map[string]int{}, atStake: map[purse]decimal.Decimal{}}
}

func (c *census) count(o ledger.Open, now time.Time) {
	c.open[o.State]++
	c.overdue = max(c.overdue, now.Sub(o.Due))
	if !o.AcceptedAt.IsZero() {
		c.oldest = max(c.oldest, now.Sub(o.AcceptedAt))
	}
	if !o.InDoubt {
		return
	}
	c.inDoubt[o.Account]++
	if o.AtStake == nil {
		c.unpriced[o.Account]++
		return
	}
	p := purse{o.Account, o.AtStake.Currency}
	c.atStake[p] = c.atStake[p].Add(o.AtStake.Amount)
}

// report sets the gauges. What was in doubt before and is not any more is gone from
// them, so that no account is left out and none stays.
func (c *census) report(m *Metrics, supplier string, accounts []string) {
	for _, state := range order.States {
		if !state.Settled() {
			m.open.WithLabelValues(supplier, string(state)).Set(float64(c.open[state]))
		}
	}
	m.overdue.WithLabelValues(supplier).Set(c.overdue.Seconds())
	m.oldest.WithLabelValues(supplier).Set(c.oldest.Seconds())
	for _, a := range accounts {
		m.inDoubt.WithLabelValues(supplier, a).Set(float64(c.inDoubt[a]))
		m.unpriced.WithLabelValues(supplier, a).Set(float64(c.unpriced[a]))
	}
	m.atStake.DeletePartialMatch(prometheus.Labels{"supplier": supplier})
	for p, sum := range c.atStake {
		m.atStake.WithLabelValues(supplier, p.account, p.currency).Set(sum.InexactFloat64())
	}
}
