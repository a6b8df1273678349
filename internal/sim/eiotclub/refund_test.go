package eiotclub_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/simline/simline/internal/sim/eiotclub"
)

func TestRefundRule(t *testing.T) {
	pkg := func(typ int, mb int64, days int, price int64) []eiotclub.Package {
		return []eiotclub.Package{{Code: eiotclub.PackageCode, ProductCode: eiotclub.ProductCode, Type: typ, MB: mb, Days: days, Price: price}}
	}
	const day = 24 * time.Hour
	for _, tc := range []struct {
		name     string
		currency string
		pkg      []eiotclub.Package
		after    time.Duration
		used     int64
		want     string
		minor    int64
	}{
		{"within 24 hours all of it, used or not", "USD", pkg(2, 100, 10, 1000), day, 99 << 20, "10.00", 1000},
		{"a second later by days", "USD", pkg(2, 100, 10, 1000), day + time.Second, 0, "8.00", 800},
		{"less data than days left", "USD", pkg(2, 100, 10, 1000), day + time.Second, 75 << 20, "2.50", 250},
		{"a package by time does not look at data", "USD", pkg(3, 100, 10, 1000), day + time.Second, 75 << 20, "8.00", 800},
		{"down to the cent", "USD", pkg(2, 100, 3, 1000), day + time.Second, 0, "3.33", 333},
		{"down to the yen", "JPY", pkg(2, 100, 3, 1000), day + time.Second, 0, "333", 333},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, eiotclub.Config{Packages: tc.pkg, Currency: tc.currency})
			id := r.buyPackage("a")
			before := r.Balance().Minor
			r.clock.Add(tc.after)
			if err := r.SetUsage("a", tc.used); err != nil {
				t.Fatal(err)
			}
			p := obj{"iccid": eiotclub.SeedICCID, "orderId": fmt.Sprint(id), "remark": "用户要求"}
			var d struct {
				Amount    string
				AmountInt int64 `json:"amount_int"`
				Currency  string
			}
			r.want(`"200"`, r.call("/package/queryRefundAmount", p)).into(t, &d)
			if d.Amount != tc.want || d.AmountInt != tc.minor || d.Currency != tc.currency {
				t.Errorf("%+v, want %s = %d", d, tc.want, tc.minor)
			}
			r.want(`"200"`, r.call("/package/refundPackage", p))
			if got := r.Balance().Minor - before; got != tc.minor {
				t.Errorf("the balance grew by %d, want %d", got, tc.minor)
			}
			r.want(`"42008"`, r.call("/package/refundPackage", p))
			var st struct{ Status int }
			r.call("/package/queryPackage", p).into(t, &st)
			if st.Status != -1 {
				t.Errorf("status %d, want -1", st.Status)
			}
			checkBooks(t, r.Sim)
		})
	}
}

func TestRefundErrors(t *testing.T) {
	r := newRig(t, eiotclub.Config{ESimProcessing: time.Minute})
	id := r.buyPackage("a")
	var e struct{ OrderID string }
	r.call("/esim/purchase", obj{"eSIMGoodsCode": eiotclub.GoodsCode, "outTradeNo": "e"}).into(t, &e)
	r.want(`"45106"`, r.call("/package/refundPackage", obj{"iccid": eiotclub.SeedICCID, "orderId": id}))
	r.want(`"42004"`, r.call("/package/refundPackage", obj{"iccid": eiotclub.SeedICCID, "orderId": 1, "remark": "x"}))
	r.want(`45106`, r.call("/esim/refund", obj{"orderId": e.OrderID}))
	r.want(`45113`, r.call("/esim/refund", obj{"orderId": e.OrderID, "remark": "x"})) // still processing
	r.clock.Add(time.Minute)
	var a struct{ Amount json.Number }
	r.want(`"200"`, r.call("/esim/queryRefundAmount", obj{"orderId": e.OrderID})).into(t, &a)
	if a.Amount != "140" {
		t.Errorf("amount %s, want 140 cents as a number", a.Amount)
	}
	r.want(`200`, r.call("/esim/refund", obj{"orderId": e.OrderID, "remark": "x"}))
	r.want(`45113`, r.call("/esim/refund", obj{"orderId": e.OrderID, "remark": "x"}))
	r.want(`45111`, r.call("/esim/refund", obj{"orderId": "1", "remark": "x"}))
	var c struct{ EshopOrderID int64 }
	r.call("/cloudesim/purchase", obj{"eid": eiotclub.SeedEID, "packageCode": eiotclub.CloudPackageCode, "outTradeNo": "c"}).into(t, &c)
	r.want(`"200"`, r.call("/cloudesim/queryRefundAmount", obj{"eshopOrderId": c.EshopOrderID}))
	r.want(`"200"`, r.call("/cloudesim/refund", obj{"eshopOrderId": c.EshopOrderID, "remark": "x"}))
	r.want(`"45113"`, r.call("/cloudesim/refund", obj{"eshopOrderId": c.EshopOrderID, "remark": "x"}))
	checkBooks(t, r.Sim)
}
