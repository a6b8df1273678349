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

// Gap is how far closing lies outside of what opening and the movements allow:
// zero if they explain it, below zero for money that is gone unexplained.
//
// A movement that certainly lies between the two snapshots counts whole, one that
// may lie there may count, so many orders at the edges widen what is allowed and
// never make a gap of their own.
func Gap(opening, closing Snapshot, movements []Movement) decimal.Decimal {
	low, high := opening.Balance.Amount, opening.Balance.Amount
	open := false
	for _, m := range movements {
		from, to := m.From.Add(-clockSkew), m.To.Add(clockSkew)
		after := m.Order != "" && m.Order == closing.Order || from.After(opening.At)
		before := m.Order != "" && m.Order == closing.Order || to.Before(closing.From)
		switch {
		case m.Order != "" && m.Order == opening.Order && m.High.Sign() <= 0:
			continue // paid before the opening was told
		case to.Before(opening.From) || from.After(closing.At):
			continue
		case after && before:
			low, high = low.Add(m.Low), high.Add(m.High)
		default: // at an edge: it may have been before or after
			low, high = low.Add(decimal.Min(m.Low, decimal.Zero)), high.Add(decimal.Max(m.High, decimal.Zero))
		}
		open = open || m.Open
	}
	c := closing.Balance.Amount
	switch {
	case c.GreaterThan(high):
		return c.Sub(high)
	case c.LessThan(low) && !open:
		return c.Sub(low)
	}
	return decimal.Zero
}

// movementsOf is what one order did to its account, given all we know of it. paid
// is when it was first known to be placed; price is nil if nobody told it.
func movementsOf(r order.Record, paid time.Time, price *order.Money) []Movement {
	if r.FirstSentAt == nil {
		return nil
	}
	sent := *r.FirstSentAt
	buy := Movement{Order: r.OrderID, From: sent, To: paid}
	if price != nil {
		buy.Low, buy.High = price.Amount.Neg(), price.Amount.Neg()
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
