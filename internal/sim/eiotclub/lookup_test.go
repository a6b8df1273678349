package eiotclub_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/simline/simline/internal/sim/eiotclub"
)

type row struct {
	OrderNumber, OutTradeNo, ICCID, PackageCode, Currency, CreateDate, StartDate, EndDate, UpdateDate string
	OrderID                                                                                           int64
	Price, FlowTotal, FlowRemain                                                                      json.Number
	State, IsRefund, TotalActive, PeriodType                                                          int
	FlowUsageBytes                                                                                    *int64
}

func (r *rig) details(p obj) []row {
	r.t.Helper()
	full := obj{"page": 1, "pageSize": 50}
	for k, v := range p {
		full[k] = v
	}
	var rows []row
	r.want(`"200"`, r.call("/package/getOrderPackageDetails", full)).into(r.t, &rows)
	return rows
}

func TestOrderPackageDetails(t *testing.T) {
	r := newRig(t, eiotclub.Config{FirstOrderID: 101}) // 104 is the one whose finished row shows -9
	for _, out := range []string{"a", "b", "c", "d"} {
		r.buyPackage(out)
		r.clock.Add(time.Second)
	}
	in := func(state int) (outs []string) {
		for _, x := range r.details(obj{"outTradeNoArrStr": "a,b,c,d,nope", "state": state}) {
			outs = append(outs, fmt.Sprintf("%s:%d", x.OutTradeNo, x.State))
		}
		return outs
	}
	check := func(when string, want ...string) {
		t.Helper()
		for s, w := range want {
			if got := strings.Join(in(s), " "); got != w {
				t.Errorf("%s, state %d: %q, want %q", when, s, got, w)
			}
		}
	}
	check("at first", "b:0 c:0 d:0", "a:1", "")
	if err := r.Refund("b", nil, true); err != nil { // waiting, so its row shows -9
		t.Fatal(err)
	}
	check("after a refund", "c:0 d:0", "a:1", "b:-9")
	r.clock.Add(8 * 24 * time.Hour)
	check("a week later", "c:0 d:0", "", "a:2 b:-9") // b's turn, which it does not take
	r.clock.Add(28 * 24 * time.Hour)
	check("at last", "", "", "a:2 b:-9 c:2 d:-9")

	got := r.details(obj{"outTradeNoArrStr": "a", "state": 2})[0]
	if got.CreateDate != "2026-01-15 08:00:00" || got.StartDate != "2026-01-15 08:00:00" || got.EndDate != "2026-01-22 08:00:00" {
		t.Errorf("dates must be UTC+8: %+v", got)
	}
	if got.Price != "0.5" || got.Currency != "USD" || got.PackageCode != eiotclub.PackageCode || got.TotalActive != 7 || got.PeriodType != 2 || got.FlowTotal != "5" {
		t.Errorf("row %+v", got)
	}
	if x := r.details(obj{"outTradeNoArrStr": "b", "state": 2})[0]; x.IsRefund != 1 || x.StartDate != "" {
		t.Errorf("refunded row %+v", x)
	}
	if x := r.details(obj{"orderNumberArrStr": got.OrderNumber, "outTradeNoArrStr": "a,c", "state": 2}); len(x) != 2 {
		t.Errorf("%d rows for a number and two outTradeNos, one order in both; want 2", len(x))
	}
	pages := [][]row{r.details(obj{"outTradeNoArrStr": "a,b,c,d", "state": 2, "page": 1, "pageSize": 3}),
		r.details(obj{"outTradeNoArrStr": "a,b,c,d", "state": 2, "page": 2, "pageSize": 3}),
		r.details(obj{"outTradeNoArrStr": "a,b,c,d", "state": 2, "page": 3, "pageSize": 3})}
	if len(pages[0]) != 3 || len(pages[1]) != 1 || pages[2] == nil || len(pages[2]) != 0 {
		t.Errorf("pages of %d, %d, %d rows", len(pages[0]), len(pages[1]), len(pages[2]))
	}
}

func TestLookUpErrors(t *testing.T) {
	r := newRig(t, eiotclub.Config{StrictCards: true})
	id := r.buyPackage("a")
	ids := func(n int) string { return strings.TrimSuffix(strings.Repeat("x,", n), ",") }
	base := obj{"outTradeNoArrStr": "a", "state": 1, "page": 1, "pageSize": 50}
	without := func(k string) obj { p := copyOf(base); delete(p, k); return p }
	with := func(k string, v any) obj { p := copyOf(base); p[k] = v; return p }
	seed := eiotclub.SeedICCID
	for _, tc := range []struct {
		name, path string
		p          obj
		code       string
	}{
		{"state missing", "/package/getOrderPackageDetails", without("state"), `"43332"`},
		{"state -9", "/package/getOrderPackageDetails", with("state", -9), `"43332"`},
		{"state 3", "/package/getOrderPackageDetails", with("state", 3), `"43332"`},
		{"state no number", "/package/getOrderPackageDetails", with("state", "two"), `"43332"`},
		{"state as text", "/package/getOrderPackageDetails", with("state", "1"), `"200"`},
		{"page missing", "/package/getOrderPackageDetails", without("page"), `"43332"`},
		{"page 0", "/package/getOrderPackageDetails", with("page", 0), `"43332"`},
		{"51 a page", "/package/getOrderPackageDetails", with("pageSize", 51), `"42407"`},
		{"no ids", "/package/getOrderPackageDetails", without("outTradeNoArrStr"), `"43332"`},
		{"51 ids", "/package/getOrderPackageDetails", with("outTradeNoArrStr", ids(51)), `"42009"`},
		{"51 numbers", "/package/getOrderPackageDetails", with("orderNumberArrStr", ids(51)), `"42009"`},
		{"50 ids", "/package/getOrderPackageDetails", with("outTradeNoArrStr", ids(50)), `"200"`},

		{"no card", "/package/packageOrderRecord", obj{}, `"41003"`},
		{"foreign card", "/package/packageOrderRecord", obj{"iccid": "8988308650100524888"}, `"42405"`},
		{"date as RFC 3339", "/package/packageOrderRecord", obj{"iccid": seed, "createDateStart": "2026-01-15T00:00:00Z"}, `"42409"`},
		{"state 7", "/package/packageOrderRecord", obj{"iccid": seed, "state": 7}, `"43332"`},
		{"page -1", "/package/packageOrderRecord", obj{"iccid": seed, "page": -1}, `"42403"`},
		{"1001 a page", "/package/packageOrderRecord", obj{"iccid": seed, "pageSize": 1001}, `"42407"`},

		{"no orderId", "/package/queryPackage", obj{"iccid": seed}, `"42003"`},
		{"unknown orderId", "/package/queryPackage", obj{"iccid": seed, "orderId": 1}, `"42004"`},
		{"another card's order", "/package/queryPackage", obj{"iccid": "8988308650106000007", "orderId": id}, `"42004"`},
		{"unknown eSIM order", "/esim/orderStatus", obj{"orderId": "1"}, `"45111"`},
		{"unknown cloud order", "/cloudesim/orderStatus", obj{"eshopOrderId": 1}, `"42004"`},
		{"a package is no cloud order", "/cloudesim/orderStatus", obj{"eshopOrderId": id}, `"42004"`},
		{"cloud records without eid", "/cloudesim/pkg/record/list", obj{}, `"43332"`},
		{"pool records without a page", "/pool/record/list", obj{"pool_object_id": eiotclub.SeedPoolID}, `"43332"`},
		{"pool records of no pool", "/pool/record/list", obj{"pool_object_id": 9, "page": 1, "page_size": 10}, `"42404"`},
		{"pool records, 1001 a page", "/pool/record/list", obj{"pool_object_id": eiotclub.SeedPoolID, "page": 1, "page_size": 1001}, `"42407"`},
		{"no task ids", "/task/query", obj{}, `"43332"`},
		{"101 task ids", "/task/query", obj{"ids": ids(101)}, `"43332"`},
		{"100 task ids", "/task/query", obj{"ids": ids(100)}, `"200"`},
		{"no cards to reset", "/card/reset", obj{}, `"41001"`},
		{"101 cards to reset", "/card/reset", obj{"iccids": ids(101)}, `"41007"`},
		{"packages of no card", "/package/listOrderPackageByIccid", obj{}, `"41003"`},
		{"unknown package", "/package/queryOrderPackageByPackageCode", obj{"packageCode": "x"}, `"42007"`},
		{"card info of a foreign card", "/card/getCardsInfo", obj{"iccid": "8988308650100524888"}, `"42405"`},
		{"all cards without a page", "/card/getAllCardInfo", obj{}, `"42403"`},
		{"traffic of no card", "/cdr/traffic/query", obj{"dateType": "daily"}, `"41001"`},
		{"traffic by year", "/cdr/traffic/query", obj{"dateType": "yearly", "iccids": seed}, `"43332"`},
		{"traffic from never", "/cdr/traffic/query", obj{"dateType": "daily", "iccids": seed, "startDate": "x", "endDate": "2026-01-01"}, `"41004"`},
		{"traffic to never", "/cdr/traffic/query", obj{"dateType": "daily", "iccids": seed, "startDate": "2026-01-01", "endDate": "x"}, `"41005"`},
		{"traffic backwards", "/cdr/traffic/query", obj{"dateType": "daily", "iccids": seed, "startDate": "2026-01-02", "endDate": "2026-01-01"}, `"41006"`},
		{"refresh", "/card/refreshUsage", obj{"iccid": seed}, `"200"`},
		{"refresh again", "/card/refreshUsage", obj{"iccid": seed}, `"44001"`},
	} {
		if a := r.call(tc.path, tc.p); a.code() != tc.code {
			t.Errorf("%s: code %s (%s), want %s", tc.name, a.Code, a.Message, tc.code)
		}
	}
}

func copyOf(p obj) obj {
	out := obj{}
	for k, v := range p {
		out[k] = v
	}
	return out
}

func TestPackageOrderRecord(t *testing.T) {
	r := newRig(t, eiotclub.Config{FirstOrderID: 101})
	var ids []string
	for i := range 5 {
		ids = append(ids, strconv.FormatInt(r.buyPackage(fmt.Sprint("o", i)), 10))
		r.clock.Add(time.Hour)
	}
	if _, err := r.Plant(eiotclub.Order{Channel: "USER"}, false, false); err != nil {
		t.Fatal(err)
	}
	records := func(p obj) (string, int) {
		t.Helper()
		p["iccid"] = eiotclub.SeedICCID
		a := r.want(`"200"`, r.call("/package/packageOrderRecord", p))
		var rows []row
		a.into(t, &rows)
		var outs []string
		for _, x := range rows {
			outs = append(outs, strings.TrimPrefix(x.OutTradeNo, "o"))
			if x.UpdateDate == "" || x.FlowUsageBytes == nil || x.OrderNumber != "" {
				t.Errorf("row %+v: want updateDate and flowUsageBytes, no orderNumber", x)
			}
		}
		return strings.Join(outs, ","), *a.Total
	}
	for _, tc := range []struct {
		name  string
		p     obj
		want  string // our own ids in order; the USER row has none
		total int
	}{
		{"all", obj{}, "0,1,2,3,4,", 6},
		{"newest first", obj{"orderBy": "createDateDesc"}, ",4,3,2,1,0", 6},
		{"page 2 of 4", obj{"page": 2, "pageSize": 4}, "4,", 6},
		{"in use", obj{"state": 1}, "0", 1},
		{"waiting or in use", obj{"stateArrStr": "0,1"}, "0,1,2,3,4,", 6},
		{"by orderId", obj{"orderIdArrStr": ids[1] + "," + ids[3]}, "1,3", 2},
		{"from 09:00 to 11:00 in UTC+8", obj{"createDateStart": "2026-01-15 09:00:00", "createDateEnd": "2026-01-15 11:00:00"}, "1,2,3", 3},
		{"changed since", obj{"updateDateStart": "2026-01-15 12:00:00"}, "4,", 2},
	} {
		if got, total := records(tc.p); got != tc.want || total != tc.total {
			t.Errorf("%s: %q of %d, want %q of %d", tc.name, got, total, tc.want, tc.total)
		}
	}
}

func TestCloudAndPoolRecords(t *testing.T) {
	r := newRig(t, eiotclub.Config{})
	var d struct {
		OutTradeNo, OrderID string
		EshopOrderID        int64
	}
	r.call("/cloudesim/purchase", obj{"eid": eiotclub.SeedEID, "packageCode": eiotclub.CloudPackageCode, "outTradeNo": "c1"}).into(t, &d)
	if d.OutTradeNo != "c1" || d.OrderID == "" || d.EshopOrderID == 0 {
		t.Fatalf("%+v", d)
	}
	for _, p := range []obj{{"eshopOrderId": d.EshopOrderID}, {"orderId": d.OrderID}} {
		var st struct {
			Status int
			EID    string
		}
		r.call("/cloudesim/orderStatus", p).into(t, &st)
		if st.Status != 2 || st.EID != eiotclub.SeedEID {
			t.Errorf("%v: %+v", p, st)
		}
	}
	var list struct {
		Total int
		List  []struct {
			EshopOrderID, FlowTotalBytes int64
			Price                        json.Number
			State                        int
		}
	}
	r.call("/cloudesim/pkg/record/list", obj{"eid": eiotclub.SeedEID}).into(t, &list)
	if list.Total != 1 || list.List[0].EshopOrderID != d.EshopOrderID || list.List[0].FlowTotalBytes != 1<<30 || list.List[0].Price != "3" || list.List[0].State != 1 {
		t.Errorf("%+v", list)
	}

	var pool struct {
		OrderNo string `json:"order_no"`
	}
	for i := range 3 {
		r.call("/pool/sub", obj{"pool_object_id": eiotclub.SeedPoolID, "pool_type_code": eiotclub.PoolTypeCode, "out_trade_no": fmt.Sprint("p", i)}).into(t, &pool)
	}
	records := func(p obj) string {
		t.Helper()
		p["pool_object_id"], p["page"], p["page_size"] = eiotclub.SeedPoolID, 1, 10
		var out struct {
			List []struct {
				Out    string `json:"out_trade_no"`
				Status int    `json:"status_code"`
				Create int64  `json:"create_at"`
			}
		}
		r.want(`"200"`, r.call("/pool/record/list", p)).into(t, &out)
		var got []string
		for _, x := range out.List {
			if x.Create != r.clock.Now().Unix() {
				t.Errorf("create_at %d, want seconds", x.Create)
			}
			got = append(got, fmt.Sprintf("%s:%d", x.Out, x.Status))
		}
		return strings.Join(got, " ")
	}
	if got := records(obj{}); got != "p0:3 p1:3 p2:3" {
		t.Errorf("all: %s", got)
	}
	if got := records(obj{"out_trade_no_arr": "p1,p7"}); got != "p1:3" {
		t.Errorf("by out_trade_no: %s", got)
	}
	if got := records(obj{"order_no_arr": pool.OrderNo}); got != "p2:3" {
		t.Errorf("by order_no: %s", got)
	}
	r.want(`"200"`, r.call("/pool/unsub", obj{"pool_object_id": strconv.Itoa(eiotclub.SeedPoolID), "out_trade_no": "p1"}))
	r.want(`"42008"`, r.call("/pool/unsub", obj{"pool_object_id": strconv.Itoa(eiotclub.SeedPoolID), "out_trade_no": "p1"}))
	if got := records(obj{"status_code_arr": "-1"}); got != "p1:-1" {
		t.Errorf("refunded: %s", got)
	}
	var pools struct {
		List []struct {
			ID     int `json:"pool_object_id"`
			Lines  int `json:"pool_lines"`
			Status int
		}
	}
	r.call("/pool/list", obj{"pool_object_id_arr": "380,385"}).into(t, &pools)
	if len(pools.List) != 2 || pools.List[0].Status != 2 || pools.List[0].Lines != 20 || pools.List[1].Status != 1 {
		t.Errorf("pools: %+v", pools)
	}
	checkBooks(t, r.Sim)
}
