package eiotclub

import (
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// What EIOTCLUB allows, by product. No consistency delay, rate limit or life of an
// outTradeNo is documented: the times are ours, chosen so that a lost reply is
// settled within minutes and an order that is there is not declared missing.
var rules = map[string]supplier.Rules{
	order.ProductPackage: {
		Repeat:             supplier.RepeatRefused, // D: 42002
		LookupByOurID:      true,                   // D: getOrderPackageDetails, packageOrderRecord
		LookupBySupplierID: true,                   // D: queryPackage
		RefusalBurnsID:     true,                   // not documented
		Settle:             2 * time.Minute,
		Looks:              3,
		LookInterval:       30 * time.Second,
		// A main package begins at once (D), so its record is there within seconds.
		FulfilInterval: 15 * time.Second,
		HasPrice:       true,
	},
	order.ProductESIM: {
		Repeat:             supplier.RepeatRefused, // D: 503016
		LookupBySupplierID: true,                   // D: esim/orderStatus
		RefusalBurnsID:     true,
		Settle:             2 * time.Minute,
		Looks:              3,
		LookInterval:       30 * time.Second,
		FulfilInterval:     15 * time.Second,
		HasPrice:           true,
	},
	order.ProductCloudESIMPackage: {
		Repeat:             supplier.RepeatRefused, // I: 42002 is in the general table, cloudesim/purchase lists no codes of its own
		LookupBySupplierID: true,                   // D: cloudesim/orderStatus
		RefusalBurnsID:     true,
		Settle:             2 * time.Minute,
		Looks:              3,
		LookInterval:       30 * time.Second,
		FulfilInterval:     15 * time.Second,
		HasPrice:           true,
	},
	order.ProductPoolPackage: {
		Repeat:             supplier.RepeatRefused, // D: 42002
		LookupByOurID:      true,                   // D: pool/record/list
		LookupBySupplierID: true,                   // D: the same, by order_no
		RefusalBurnsID:     true,
		Settle:             2 * time.Minute,
		Looks:              3,
		LookInterval:       30 * time.Second,
		FulfilInterval:     15 * time.Second,
	},
}

// Rules are what EIOTCLUB allows for one product; false for a product it has not.
func Rules(product string) (supplier.Rules, bool) {
	r, ok := rules[product]
	r.Supplier, r.Product = order.EIOTCLUB, product
	return r, ok
}

// Rules is the function of that name, for those who hold a client.
func (c *Client) Rules(product string) (supplier.Rules, bool) { return Rules(product) }
