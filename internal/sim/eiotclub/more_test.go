package eiotclub_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/sim/fault"
)

func TestTasks(t *testing.T) {
	r := newRig(t, eiotclub.Config{TaskDuration: 10 * time.Second})
	a := r.want(`"200"`, r.call("/card/reset", obj{"iccids": eiotclub.SeedICCID, "nonce": "12345"}))
	if string(a.Data) != "null" {
		t.Errorf("card/reset answers data %s; the document has none", a.Data)
	}
	id := r.Book().Tasks[0].ID
	status := func() string {
		var rows []struct{ ID, Status, Result string }
		r.call("/task/query", obj{"ids": id + ",999"}).into(t, &rows)
		if len(rows) != 1 || rows[0].ID != id {
			t.Fatalf("rows %+v", rows)
		}
		return rows[0].Status
	}
	var got []string
	for range 3 {
		got = append(got, status())
		r.clock.Add(5 * time.Second)
	}
	if err := r.SetTask(id, -2, "SIM offline"); err != nil {
		t.Fatal(err)
	}
	if got = append(got, status()); !slices.Equal(got, []string{"0", "1", "2", "-2"}) {
		t.Errorf("states %v, want 0 1 2 -2 as strings", got)
	}
}

func TestPricesAndCatalogues(t *testing.T) {
	r := newRig(t, eiotclub.Config{})
	var pk []struct {
		PackageCode, ProductCode string
		Price                    json.Number
	}
	r.call("/package/listOrderPackageByIccid", obj{"iccid": eiotclub.SeedICCID}).into(t, &pk)
	found := false
	for _, p := range pk {
		found = found || p.PackageCode == eiotclub.PackageCode && p.Price == "0.5"
		if p.ProductCode != eiotclub.ProductCode {
			t.Errorf("%+v cannot be bought on this card", p)
		}
	}
	if !found {
		t.Errorf("packages %+v", pk)
	}
	var goods struct {
		List []struct {
			Code  string
			Price json.Number
		}
	}
	a := r.want(`200`, r.call("/esim/goods", obj{}))
	a.into(t, &goods)
	if i := slices.IndexFunc(goods.List, func(g struct {
		Code  string
		Price json.Number
	}) bool {
		return g.Code == eiotclub.GoodsCode
	}); i < 0 || goods.List[i].Price != "140" {
		t.Errorf("goods must cost whole US cents: %s", a.Data)
	}
	var b struct{ Balance, Currency string }
	r.call("/agent/balance", obj{}).into(t, &b)
	if b.Balance != "1000000.00" || b.Currency != "USD" {
		t.Errorf("%+v", b)
	}
	var cards struct {
		CardInfoList []struct{ ICCID, CardStatus string }
		TotalPage    int
	}
	r.buyPackage("a")
	r.call("/card/getAllCardInfo", obj{"pageNum": "1", "pageSize": 20}).into(t, &cards)
	if cards.TotalPage != 2 || len(cards.CardInfoList) != 20 || cards.CardInfoList[0].CardStatus != "ACTIVATED_NAME" {
		t.Errorf("%d pages, first %+v", cards.TotalPage, cards.CardInfoList[0])
	}
	for path, p := range map[string]obj{
		"/cloudesim/pkg/list": {"eid": eiotclub.SeedEID}, "/pool/pkg/list": {}, "/card/product": {"iccid": eiotclub.SeedICCID},
		"/package/listOrderPackageByProduct":      {"productCode": eiotclub.ProductCode},
		"/package/queryOrderPackageByPackageCode": {"packageCode": eiotclub.PackageCode},
		"/card/getCardsInfo":                      {"iccid": eiotclub.SeedICCID}, "/pool/create": {"pool_type_code": eiotclub.PoolTypeCode},
	} {
		r.want(`"200"`, r.call(path, p))
	}
}

func TestHiddenOrders(t *testing.T) {
	r := newRig(t, eiotclub.Config{})
	r.Faults().MustAdd(fault.Rule{Kind: fault.Hide, Order: "a", Looks: 2, Path: "/package/getOrderPackageDetails"})
	id := r.buyPackage("a")
	r.buyPackage("b")
	look := func() int { return len(r.details(obj{"outTradeNoArrStr": "a", "state": 1})) }
	if n := []int{look(), look(), look()}; !slices.Equal(n, []int{0, 0, 1}) {
		t.Errorf("rows at three looks: %v, want the third to show it", n)
	}
	r.want(`"200"`, r.call("/package/queryPackage", obj{"iccid": eiotclub.SeedICCID, "orderId": id})) // another path
	r.Faults().Clear()
	r.Faults().MustAdd(fault.Rule{Kind: fault.Hide, For: fault.Duration(time.Minute)})
	if look() != 0 {
		t.Error("shown within the minute")
	}
	r.clock.Add(time.Minute)
	if look() != 1 {
		t.Error("hidden after the minute")
	}
}

func TestTrafficComesFromTheRecords(t *testing.T) {
	r := newRig(t, eiotclub.Config{})
	at := func(s string) time.Time {
		v, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	r.buyPackage("a")
	r.RecordUsage(eiotclub.SeedICCID, at("2026-01-15 23:59:59"), 100)
	r.RecordUsage(eiotclub.SeedICCID, at("2026-01-16 00:00:00"), 20)
	r.RecordUsage("8988308650106000007", at("2026-01-16 00:00:00"), 1<<40)
	r.RecordUsage(eiotclub.SeedICCID, at("2026-02-01 00:00:00"), 3)
	query := func(p obj) string {
		p["iccids"] = eiotclub.SeedICCID + ",8988308650106000007,898830865010600000"
		a := r.want(`"200"`, r.call("/cdr/traffic/query", p))
		return string(a.Data)
	}
	if got, want := query(obj{"dateType": "daily", "startDate": "2026-01-15", "endDate": "2026-01-15"}), `[{"iccid":"8988308650100524999","traffic":"100"}]`; got != want {
		t.Errorf("day: %s, want %s", got, want)
	}
	if got, want := query(obj{"dateType": "monthly", "month": "2026-01"}), `[{"iccid":"8988308650100524999","traffic":"120"},{"iccid":"8988308650106000007","traffic":"1099511627776"}]`; got != want {
		t.Errorf("month: %s, want %s", got, want)
	}
	if o, _ := r.Order("a"); o.UsedBytes != 120 {
		t.Errorf("the package in use has %d bytes used, want 120", o.UsedBytes)
	}
}

func TestTransfer(t *testing.T) {
	r := newRig(t, eiotclub.Config{})
	id := r.buyPackage("a")
	const to = "8988308650106999990"
	p := obj{"oldIccid": eiotclub.SeedICCID, "newIccid": to, "orderId": id, "orderNumber": "x"}
	var d struct {
		NewPkgCode string
		NewOrderID int64
	}
	r.want(`"200"`, r.call("/card/transferPkg", p)).into(t, &d)
	n, found := r.Order(strconv.FormatInt(d.NewOrderID, 10))
	if !found || n.Channel != "TRANSFER" || n.ICCID != to || n.FromICCID != eiotclub.SeedICCID || n.FromOrderID != id || n.OutTradeNo != "" || n.Price.Minor != 0 {
		t.Errorf("%+v", n)
	}
	if len(r.details(obj{"outTradeNoArrStr": "a", "state": 2})) != 1 {
		t.Error("the old package has not ended")
	}
	r.want(`"42006"`, r.call("/card/transferPkg", p)) // not twice
	p["orderId"] = 1
	r.want(`"42004"`, r.call("/card/transferPkg", p))
	checkBooks(t, r.Sim)
}

func TestRateLimit(t *testing.T) {
	r := newRig(t, eiotclub.Config{RateLimit: 2})
	for _, want := range []string{`"200"`, `"200"`, `"501"`, `"501"`} {
		r.want(want, r.call("/agent/balance", obj{}))
	}
	r.clock.Add(time.Second)
	r.want(`"200"`, r.call("/agent/balance", obj{}))
}
