package order_test

import (
	"strings"
	"testing"

	"github.com/simline/simline/internal/order"
)

func price(t *testing.T, s string) *order.Money {
	t.Helper()
	m, err := order.NewMoney(s, "USD")
	if err != nil {
		t.Fatal(err)
	}
	return &m
}

func TestRequestValidate(t *testing.T) {
	pkg := order.Request{OrderID: "o-1", Supplier: order.EIOTCLUB, Product: order.ProductPackage, Account: "default", ICCID: "8988308650100524999", PackageCode: "CN-5M-7D-C-US-20230103AC4BF927"}
	fly := order.Request{OrderID: "o-2", Supplier: order.ESIMFly, Product: order.ProductESIM, Account: "default", PackageCode: "c", PackageName: "n", Price: price(t, "2.72"), Quantity: 1}
	with := func(r order.Request, change func(*order.Request)) order.Request { change(&r); return r }
	for _, c := range []struct {
		name string
		r    order.Request
		want []string // in the error; none: valid
	}{
		{"package", pkg, nil},
		{"esimfly", fly, nil},
		{"esim", order.Request{OrderID: "o", Supplier: order.EIOTCLUB, Product: order.ProductESIM, Account: "a", GoodsCode: "g"}, nil},
		{"cloud eSIM", order.Request{OrderID: "o", Supplier: order.EIOTCLUB, Product: order.ProductCloudESIMPackage, Account: "a", EID: strings.Repeat("8", 32), PackageCode: "p"}, nil},
		{"pool", order.Request{OrderID: "o", Supplier: order.EIOTCLUB, Product: order.ProductPoolPackage, Account: "a", PoolObjectID: "p", PoolTypeCode: "t"}, nil},
		{"255 characters of two bytes", with(pkg, func(r *order.Request) { r.PackageCode = strings.Repeat("é", 255) }), nil},

		{"nothing", order.Request{}, []string{"order_id", "account", "no product"}},
		{"id of 33", with(pkg, func(r *order.Request) { r.OrderID = strings.Repeat("x", 33) }), []string{"order_id"}},
		{"id with a subject wildcard", with(pkg, func(r *order.Request) { r.OrderID = "a.>" }), []string{"order_id"}},
		{"id that ends a line", with(pkg, func(r *order.Request) { r.OrderID = "a\n" }), []string{"order_id"}},
		{"account with a dot", with(pkg, func(r *order.Request) { r.Account = "a.b" }), []string{"account"}},
		{"no card", with(pkg, func(r *order.Request) { r.ICCID = "" }), []string{"iccid is missing"}},
		{"card with a letter", with(pkg, func(r *order.Request) { r.ICCID = "89883086501005249F" }), []string{"iccid is not"}},
		{"another product's field", with(pkg, func(r *order.Request) { r.GoodsCode = "g" }), []string{"goods_code does not belong"}},
		{"the other supplier's fields", with(pkg, func(r *order.Request) { r.Quantity = 1 }), []string{"belong to esimfly only"}},
		{"256 characters", with(pkg, func(r *order.Request) { r.PackageCode = strings.Repeat("x", 256) }), []string{"package_code is over"}},
		{"control character", with(pkg, func(r *order.Request) { r.PackageCode = "a\x00" }), []string{"package_code is over 255 characters or holds control"}},
		{"no price", with(fly, func(r *order.Request) { r.Price = nil }), []string{"price is missing"}},
		{"price of nothing", with(fly, func(r *order.Request) { r.Price = price(t, "0") }), []string{"price is not above"}},
		{"quantity 11", with(fly, func(r *order.Request) { r.Quantity = 11 }), []string{"quantity 11"}},
		{"negative limit", with(pkg, func(r *order.Request) { r.MaxTotal = price(t, "-1") }), []string{"max_total"}},
		{"line end in the flag", with(fly, func(r *order.Request) { r.FlagURL = "/a\nb" }), []string{"flag_url"}},
		{"two faults", with(fly, func(r *order.Request) { r.DurationDays, r.PackageName = -1, "" }), []string{"duration_days", "package_name is missing"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.r.Validate()
			if len(c.want) == 0 && err != nil {
				t.Errorf("refused: %v", err)
			}
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, wants %q", err, want)
				}
			}
		})
	}
}

func TestObject(t *testing.T) {
	for _, c := range []struct {
		name string
		r    order.Request
		want string
	}{
		{"card", order.Request{OrderID: "o", ICCID: "1"}, "iccid:1"},
		{"cloud eSIM", order.Request{OrderID: "o", EID: "2"}, "eid:2"},
		{"pool: many at once", order.Request{OrderID: "o", PoolObjectID: "3"}, "order:o"},
		{"new eSIM", order.Request{OrderID: "o"}, "order:o"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.r.Object(); got != c.want {
				t.Errorf("%q, wants %q", got, c.want)
			}
		})
	}
}

func TestHashFillsInDefaults(t *testing.T) {
	r := order.Request{OrderID: "o", Supplier: order.ESIMFly, Product: order.ProductESIM, Price: price(t, "2.720")}
	full := r
	full.Account, full.Quantity, full.Price = order.DefaultAccount, 1, price(t, "2.72")
	if r.Hash() != full.Hash() {
		t.Error("defaults filled in change the hash")
	}
	full.Quantity = 2
	if r.Hash() == full.Hash() {
		t.Error("another quantity has the same hash")
	}
}
