package reconciler

import (
	"time"

	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/order"
)

// Snapshot is what an account held at one moment, which lies between From and At.
type Snapshot struct {
	From    time.Time   `json:"from"`
	At      time.Time   `json:"at"`
	Balance order.Money `json:"balance"`
	// Order is the order whose reply told the balance: that is after it, and for
	// certain. Empty if the account itself was asked.
	Order string `json:"order,omitempty"`
	// Runs of records when it was taken: it is judged once records had its turn.
	Runs int64 `json:"runs,omitempty"`
	// Prices is what the eSIMs that we buy cost at that moment, by code.
	Prices map[string]order.Money `json:"prices,omitempty"`
}

// Movement is money that an account paid (below zero) or got back, as far as is
// known: an amount between Low and High at some moment between From and To.
type Movement struct {
	Order     string
	From, To  time.Time
	Low, High decimal.Decimal
	// Open: how much below Low it may be is not known.
	Open bool
}

// clockSkew is how far the clocks of two of our machines may differ.
const clockSkew = 2 * time.Second

// moneySum is what the movements within two snapshots add up to, as far as is
// known. Movements are added in any order, each once.
type moneySum struct {
	low, high decimal.Decimal
	open      bool
}

// add takes one movement in. One that certainly lies between the two snapshots
// counts whole, one that may lie there may count, so many orders at the edges widen
// what is allowed and never make a gap of their own.
func (s *moneySum) add(opening, closing Snapshot, m Movement) {
	from, to := m.From.Add(-clockSkew), m.To.Add(clockSkew)
	told := m.Order != "" && m.Order == closing.Order
	after, before := told || from.After(opening.At), told || to.Before(closing.From)
	switch {
	case m.Order != "" && m.Order == opening.Order && m.High.Sign() <= 0:
		return // paid before the opening was told
	case to.Before(opening.From) || from.After(closing.At):
		return
	case after && before:
		s.low, s.high = s.low.Add(m.Low), s.high.Add(m.High)
	default: // at an edge: it may have been before or after
		s.low, s.high = s.low.Add(decimal.Min(m.Low, decimal.Zero)), s.high.Add(decimal.Max(m.High, decimal.Zero))
	}
	s.open = s.open || m.Open
}

// gap is how far closing lies outside of what opening and the movements allow:
// zero if they explain it, below zero for money that is gone unexplained.
func (s moneySum) gap(opening, closing Snapshot) decimal.Decimal {
	low, high := opening.Balance.Amount.Add(s.low), opening.Balance.Amount.Add(s.high)
	c := closing.Balance.Amount
	switch {
	case c.GreaterThan(high):
		return c.Sub(high)
	case c.LessThan(low) && !s.open:
		return c.Sub(low)
	}
	return decimal.Zero
}

// movementsOf is what one order did to its account, given all we know of it. paid
// is when it was first known to be placed; price is nil if nobody told it, and most
// not nil if it may have been up to that.
func movementsOf(r order.Record, paid time.Time, price, most *order.Money) []Movement {
	if r.FirstSentAt == nil {
		return nil
	}
	sent := *r.FirstSentAt
	buy := Movement{Order: r.OrderID, From: sent, To: paid}
	if price != nil {
		buy.Low, buy.High = price.Amount.Neg(), price.Amount.Neg()
		if most != nil {
			buy.Low = most.Amount.Neg()
		}
	} else {
		buy.Open = true
	}
	back := Movement{From: sent, To: r.At, High: buy.Low.Neg()} // how much was given back is not known
	switch {
	case r.State == order.Refunded:
		return []Movement{buy, back}
	case r.Certainty == order.CertainPlaced:
		return []Movement{buy}
	case !paid.IsZero():
		return []Movement{buy, back} // placed once, then given up by the supplier
	case r.Certainty == order.CertainUnknown:
		buy.To, buy.High = r.At, decimal.Zero
		return []Movement{buy}
	}
	return nil
}
