package supplier

import "time"

// Rules is what a supplier allows for one product, as data. The engine derives
// from it what it may do; a new supplier is a client and such a table.
type Rules struct {
	Supplier, Product string

	// RepeatSafe: within RepeatWindow a repeat under the same request id cannot
	// buy twice: it is refused as a duplicate (or replayed).
	RepeatSafe bool
	// RepeatReplays: a repeat is answered with the first answer instead of being
	// refused.
	RepeatReplays bool
	// RepeatWindow is how long RepeatSafe holds after the first call; 0 is for ever.
	RepeatWindow time.Duration
	// LookupByOurID: the supplier finds an order by our own id.
	LookupByOurID bool
	// LookupBySupplierID: it finds an order by its own id.
	LookupBySupplierID bool
	// DuplicateTellsDetails: after a duplicate refusal a look-up can tell the
	// details. If not, the order is placed with details unknown: held.
	DuplicateTellsDetails bool
	// RefusalBurnsID: whether a refused order uses up its id is not documented,
	// so that "exists" after a refusal is not yet proof of a purchase.
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
