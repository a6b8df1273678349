package supplier

import (
	"errors"
	"fmt"
	"time"

	"github.com/simline/simline/internal/order"
)

// Kind says what a supplier's refusal means for the order. It is the error.kind
// of an order event.
type Kind string

// The kinds. Only Unknown leaves open whether the order was placed; Exists says
// that an order under our id is there already.
const (
	Exists     Kind = "exists"       // refused as a duplicate: look it up
	Busy       Kind = "busy"         // not placed, try again soon
	NoFunds    Kind = "no_funds"     // not placed, wait for money
	OutOfStock Kind = "out_of_stock" // not placed, wait or give up by policy
	Setup      Kind = "setup"        // not placed, our set-up is wrong: stop the account and alert
	Refused    Kind = "refused"      // not placed, this order is wrong
	Price      Kind = "price"        // not placed, the price is not what we said
	Unknown    Kind = "unknown"      // nobody knows
)

// Certainty is what a kind says of the order.
func (k Kind) Certainty() order.Certainty {
	switch k {
	case Exists:
		return order.CertainPlaced
	case Busy, NoFunds, OutOfStock, Setup, Refused, Price:
		return order.CertainNotPlaced
	}
	return order.CertainUnknown
}

// Error is a call that did not give what was asked for.
type Error struct {
	Op   string // the endpoint, "package/orderPackage"
	Kind Kind
	// Code is the supplier's own code, or ours in brackets: "(timeout)",
	// "(reset)", "(http 502)", "(not json)".
	Code    string
	Message string // the supplier's text, at most 500 bytes
	// Sent is false only if the request certainly never left us: the kernel was handed
	// no byte of it.
	Sent bool
	// RetryAfter is the supplier's wish, 0 if it named none.
	RetryAfter time.Duration
	// Clock is how far the supplier's clock (its Date header) is ahead of ours
	// when the code is about the clock; HasClock says whether it could be told.
	Clock    time.Duration
	HasClock bool
	// Existing is what a duplicate refusal told about the order that is there.
	Existing *Placement
	Err      error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s %s", e.Op, e.Kind, e.Code)
	if e.Message != "" {
		s += " " + e.Message
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Certainty is what the error says of the order whose call it ended.
func (e *Error) Certainty() order.Certainty {
	if !e.Sent {
		return order.CertainNotPlaced
	}
	return e.Kind.Certainty()
}

// AsError finds the *Error in err's chain; any other error is Unknown.
func AsError(op string, err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Op: op, Kind: Unknown, Code: "(error)", Sent: true, Err: err}
}

// Purchase is one call that may spend money.
type Purchase struct {
	order.Request
	// Round makes eSIMfly's RequestID anew after a certain refusal.
	Round int
	// Until is when the call is over, answered or not: from then on others may act on the
	// order. Nothing of it leaves after that. Zero is the client's own time-out.
	Until time.Time
}

// Placement is an order as its supplier knows it.
type Placement struct {
	SupplierOrderID     string
	SupplierOrderNumber string
	// State is Placed, Fulfilled, Refunded or Rejected.
	State   order.State
	ESIMs   []order.ESIM
	Total   *order.Money
	Balance *order.Money
}

// Query asks a supplier for one order by whatever it can be found by.
type Query struct {
	order.Request
	Round               int
	SupplierOrderID     string // known after a reply
	SupplierOrderNumber string
}

// Sighting is the answer to a Query.
type Sighting struct {
	Found bool
	Placement
	// Partial: the supplier says that the order is completed, and shows fewer eSIMs than
	// were ordered, all of them in hand. Such a look will never show the rest, which only
	// the supplier's dashboard does; State is Placed.
	Partial bool
	// Where names the endpoints that were asked, for the record.
	Where string
	// Mismatch names the fields, "iccid" or "package_code", in which the order
	// there is not what was asked for: our id may have been used by another
	// system of the account, or the package moved to another card since.
	Mismatch []string
}

// ErrNoPrice: the supplier tells no price for such a product.
var ErrNoPrice = errors.New("no price can be had for this product")

// ErrNoLookup: this supplier cannot look such an order up by what we know of it.
var ErrNoLookup = errors.New("no look-up for this product by what is known")
