package supplier

import "time"

// Repeat is what a supplier does with a purchase under a request id that it knows.
type Repeat string

// The ways. Only where a repeat is refused or replayed can it not buy twice.
const (
	RepeatBuys     Repeat = ""         // it may buy again, or nobody says
	RepeatRefused  Repeat = "refused"  // as a duplicate, which proves that the first arrived
	RepeatReplayed Repeat = "replayed" // with the first answer
)

// Safe says that a repeat cannot buy twice.
func (r Repeat) Safe() bool { return r == RepeatRefused || r == RepeatReplayed }

// Rules is what a supplier allows for one product, as data. The engine derives
// from it what it may do; a new supplier is a client and such a table.
type Rules struct {
	Supplier, Product string

	// Repeat is what becomes of a repeat under the same request id, for RepeatWindow
	// after the first call; a window of 0 is for ever.
	Repeat       Repeat
	RepeatWindow time.Duration
	// LookupByOurID: the supplier finds an order by our own id.
	LookupByOurID bool
	// LookupBySupplierID: it finds an order by its own id.
	LookupBySupplierID bool
	// RefusalBurnsID: an order that was refused uses up its request id, or may (it is
	// not documented), so that "exists" alone is no proof of a purchase: the answer that
	// was lost may have been a refusal.
	RefusalBurnsID bool

	// Settle is how long "not found" may not be believed after the last call.
	Settle time.Duration
	// Looks is how many times "not found" must be heard, the first after Settle,
	// LookInterval apart.
	Looks        int
	LookInterval time.Duration
	// FulfilInterval is how often a placed order is looked at until fulfilled.
	FulfilInterval time.Duration

	// HasPrice: the supplier can tell the price before the call.
	HasPrice bool
	// RateLimit calls per RateWindow and account; 0 is not documented.
	RateLimit  int
	RateWindow time.Duration
}
