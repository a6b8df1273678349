package reconciler

import (
	"time"

	"github.com/simline/simline/internal/order"
)

// Line is one order as one of the two books has it, in words that both share.
type Line struct {
	ID      string // our order id, which is their outTradeNo
	TheirID string // the supplier's order id; may be empty in our book
	Card    string // ICCID or EID; may be empty
	Package string // package code; may be empty
	// Price is what it cost. Without a currency it is not known.
	Price order.Money
	// Max is the most that it was allowed to cost; our book only, nil for no limit.
	Max      *order.Money
	Standing Standing
	State    string    // the book's own word for it, for a person to read
	At       time.Time // when the book last changed it; zero if the book does not say
	Born     time.Time // when it was ordered: first sent, or created there; zero if not known
}

// Standing is what a book says of the money.
type Standing uint8

// The standings. Open occurs in our book only, Failed in theirs only.
const (
	Open      Standing = iota // undecided: orderer is still at it
	NotPlaced                 // certainly not bought
	Bought                    // bought, and paid for
	Refunded                  // bought, and the money given back
	Failed                    // accepted, then given up by the supplier
)

// OurLine is an order of the ledger as a line of our book.
func OurLine(r order.Record) Line {
	l := Line{ID: r.OrderID, TheirID: r.SupplierOrderID, Card: r.Request.ICCID + r.Request.EID, Package: r.Request.PackageCode + r.Request.PoolTypeCode,
		Max: r.Request.MaxTotal, State: string(r.State), At: r.At}
	if r.FirstSentAt != nil {
		l.Born = *r.FirstSentAt
	}
	if r.Total != nil {
		l.Price = *r.Total
	}
	switch {
	case r.State == order.Refunded:
		l.Standing = Refunded
	case r.State == order.Placed || r.State == order.Fulfilled:
		l.Standing = Bought
	case r.State.Settled():
		l.Standing = NotPlaced
	default:
		l.Standing = Open
	}
	return l
}

// view is what a finding shows of a line.
type view struct {
	State           string       `json:"state,omitempty"`
	SupplierOrderID string       `json:"supplier_order_id,omitempty"`
	PackageCode     string       `json:"package_code,omitempty"`
	Price           *order.Money `json:"price,omitempty"`
	MaxTotal        *order.Money `json:"max_total,omitempty"`
	CreatedAt       *time.Time   `json:"created_at,omitempty"` // of a line of theirs
}

func (l Line) view() view {
	v := view{State: l.State, SupplierOrderID: l.TheirID, PackageCode: l.Package, MaxTotal: l.Max}
	if l.Price.Currency != "" {
		v.Price = &l.Price
	}
	return v
}
