package esimfly

import (
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

var rules = supplier.Rules{
	Supplier: order.ESIMFly, Product: order.ProductESIM,
	// D: a repeated request id is refused, and kept for 24 hours. An hour is left
	// off for clocks and for a call that is slow to arrive.
	Repeat:       supplier.RepeatRefused,
	RepeatWindow: 23 * time.Hour,
	// D: by orderReference alone, which a lost answer has taken with it. So neither
	// does a duplicate refusal lead to the details.
	LookupBySupplierID: true,
	// I: any answered request uses up its id. After a certain refusal the next round
	// has another; after a lost answer or a 500 the id stays, and "duplicate" proves that
	// the first request arrived, and not that it was granted.
	RefusalBurnsID: true,
	// The page shows an order taking 1.5 to 3.2 s ("processing_time_ms"); past two
	// minutes a purchase that was under way has ended, so a repeat finds its id used.
	Settle:       2 * time.Minute,
	Looks:        1,
	LookInterval: time.Minute,
	// D: "Check order status after 1-2 minutes".
	FulfilInterval: time.Minute,
	HasPrice:       true, // the request's own
	RateLimit:      1000, // D
	RateWindow:     time.Hour,
}

// Rules are what eSIMfly allows for one product; false for a product it has not.
func Rules(product string) (supplier.Rules, bool) {
	r := rules
	r.Product = product
	return r, product == order.ProductESIM
}

// Rules is the function of that name, for those who hold a client.
func (c *Client) Rules(product string) (supplier.Rules, bool) { return Rules(product) }
