package eiotclub

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

func packageQuery() supplier.Query {
	return supplier.Query{Request: order.Request{OrderID: "430000199808051427", Product: order.ProductPackage,
		ICCID: "89852243101000600107", PackageCode: "GJ-LLB-50M-180-1LTCSCP20210308161656"}}
}

const empty = `{"code":"200","data":[],"total":0}`

// The document's example of getOrderPackageDetails has rows in state -9, which no
// filter knows, and two systems' orders under ids that look like ours.
func TestSeedDetails(t *testing.T) {
	answer := testdata(t, "order_details.json")
	s, c := newStub(t, always(answer))
	got, err := c.Lookup(t.Context(), packageQuery())
	if err != nil {
		t.Fatal(err)
	}
	want := supplier.Sighting{Found: true, Where: "getOrderPackageDetails", Placement: supplier.Placement{State: order.Fulfilled,
		SupplierOrderID: "2224", SupplierOrderNumber: "f2e84914-c749-437e-a087-888f4b4597e8", Total: supplier.Amount("30", "EUR")}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b order.Money) bool { return a.String() == b.String() })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	p := s.asked[0].params
	if p["outTradeNoArrStr"] != "430000199808051427" || p["state"] != json.Number("0") || p["page"] != json.Number("1") || p["pageSize"] != json.Number("50") {
		t.Errorf("asked %v", p)
	}

	other := packageQuery()
	other.OrderID, other.ICCID, other.PackageCode = "630000198311142676", "8988308650100524999", "CN-5M-7D-C-US-20230103AC4BF927"
	got, err = c.Lookup(t.Context(), other)
	if err != nil || !got.Found || got.SupplierOrderID != "10003188" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if diff := cmp.Diff([]string{"iccid", "package_code"}, got.Mismatch); diff != "" {
		t.Errorf("mismatch:\n%s", diff)
	}

	rows, err := c.OrderDetails(t.Context(), []string{"a", "b"}, PackageFinished, 2, 50)
	if err != nil || len(rows) != 6 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	first := rows[0]
	if first.State != -9 || first.Refunded || first.Renewal || first.ICCID != "89852243101000600107" || first.PackageName != "国际-流量包-50M-180天" ||
		!first.CreatedAt.Equal(time.Date(2023, 2, 20, 12, 55, 5, 0, time.UTC)) || !rows[2].StartsAt.IsZero() {
		t.Errorf("row %+v", first)
	}
}

// The states are asked in the order of a package's life, then the card's records.
func TestLookupAsksEverywhereBeforeItSaysNotFound(t *testing.T) {
	s, c := newStub(t, always(empty))
	got, err := c.Lookup(t.Context(), packageQuery())
	if err != nil || got.Found || got.Where != "getOrderPackageDetails packageOrderRecord" {
		t.Errorf("got %+v, %v", got, err)
	}
	var states []string
	for _, a := range s.asked {
		if n, ok := a.params["state"].(json.Number); ok {
			states = append(states, n.String())
		}
	}
	if diff := cmp.Diff([]string{"0", "1", "2"}, states); diff != "" {
		t.Errorf("states:\n%s", diff)
	}
	want := []string{"package/getOrderPackageDetails", "package/getOrderPackageDetails", "package/getOrderPackageDetails", "package/packageOrderRecord"}
	if diff := cmp.Diff(want, s.ops()); diff != "" {
		t.Errorf("asked:\n%s", diff)
	}
}

func TestPackageLookups(t *testing.T) {
	row := func(fields string) string {
		return `{"code":"200","data":[{"outTradeNo":"430000199808051427","iccid":"89852243101000600107",` + fields + `}],"total":1}`
	}
	for name, c := range map[string]struct {
		details, records, status string // answers; details that of state 2
		supplierID               string
		want                     supplier.Placement
		notFound                 bool
		code                     string // of an error
	}{
		"refunded": {details: row(`"orderId":7,"isRefund":1,"price":1.5,"currency":"USD"`),
			want: supplier.Placement{State: order.Refunded, SupplierOrderID: "7", Total: supplier.Amount("1.5", "USD")}},
		"details without orderId": {details: row(`"orderNumber":"n"`), records: row(`"orderId":7`),
			want: supplier.Placement{State: order.Fulfilled, SupplierOrderID: "7", SupplierOrderNumber: "n"}},
		"details without orderId, and no record": {details: row(`"orderNumber":"n"`), records: empty, supplierID: "7",
			want: supplier.Placement{State: order.Fulfilled, SupplierOrderID: "7", SupplierOrderNumber: "n"}},
		"in the records only": {details: empty, records: row(`"orderId":"7","state":-9`),
			want: supplier.Placement{State: order.Fulfilled, SupplierOrderID: "7"}},
		"another's rows":        {details: `{"code":"200","data":[{"outTradeNo":"other","orderId":1}]}`, records: `{"code":"200","data":[{"orderId":1}],"total":1}`, notFound: true},
		"by supplier id":        {details: empty, records: empty, status: `{"code":"200","data":{"status":1}}`, supplierID: "7", want: supplier.Placement{State: order.Fulfilled, SupplierOrderID: "7"}},
		"not successful yet":    {details: empty, records: empty, status: `{"code":"200","data":{"status":0}}`, supplierID: "7", want: supplier.Placement{State: order.Placed, SupplierOrderID: "7"}},
		"refunded there":        {details: empty, records: empty, status: `{"code":"200","data":{"status":"-1"}}`, supplierID: "7", want: supplier.Placement{State: order.Refunded, SupplierOrderID: "7"}},
		"42004":                 {details: empty, records: empty, status: `{"code":"42004"}`, supplierID: "7", notFound: true},
		"odd status":            {details: empty, records: empty, status: `{"code":"200","data":{"status":9}}`, supplierID: "7", code: "(odd data)"},
		"details fail":          {details: `{"code":"500"}`, records: empty, code: "500"},
		"records fail":          {details: empty, records: `{"code":"501"}`, code: "501"},
		"details are no list":   {details: `{"code":"200","data":{"a":1}}`, code: "(odd data)"},
		"said in so many words": {details: `{"code":"42004"}`, records: `{"code":"42405"}`, notFound: true},
		"success and null":      {details: `{"code":"200","data":null}`, records: `{"code":"200","data":null}`, notFound: true},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := newStub(t, func(op string, p map[string]any) string {
				switch {
				case op == "package/queryPackage":
					return c.status
				case op == "package/packageOrderRecord":
					return c.records
				case p["state"] == json.Number("2"):
					return c.details
				}
				return empty
			})
			q := packageQuery()
			q.SupplierOrderID = c.supplierID
			got, err := client.Lookup(t.Context(), q)
			if c.code != "" {
				if e := supplier.AsError("", err); err == nil || e.Code != c.code || got.Found {
					t.Errorf("got %+v, %v, want code %s", got, err, c.code)
				}
				return
			}
			if err != nil || got.Found == c.notFound {
				t.Fatalf("got %+v, %v", got, err)
			}
			if diff := cmp.Diff(c.want, got.Placement, cmp.Comparer(func(a, b order.Money) bool { return a.String() == b.String() })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A card with many orders is read page by page, newest first.
func TestRecordsArePaged(t *testing.T) {
	const total = 250
	page := func(n int) string {
		var rows []string
		for i := (n - 1) * 100; i < min(n*100, total); i++ {
			rows = append(rows, fmt.Sprintf(`{"outTradeNo":"o%d","orderId":%d}`, i, i+1))
		}
		return fmt.Sprintf(`{"code":"200","total":%d,"data":[%s]}`, total, strings.Join(rows, ","))
	}
	for name, c := range map[string]struct {
		id    string
		pages int
		found bool
	}{"on the last page": {"o249", 3, true}, "on the first": {"o0", 1, true}, "on none": {"nope", 3, false}} {
		t.Run(name, func(t *testing.T) {
			pages := 0
			_, client := newStub(t, func(op string, p map[string]any) string {
				if op != "package/packageOrderRecord" {
					return empty
				}
				pages++
				if p["page"] != json.Number(fmt.Sprint(pages)) || p["orderBy"] != "createDateDesc" {
					t.Errorf("page %d asked as %v by %v", pages, p["page"], p["orderBy"])
				}
				return page(pages)
			})
			q := packageQuery()
			q.OrderID = c.id
			got, err := client.Lookup(t.Context(), q)
			if err != nil || got.Found != c.found || pages != c.pages {
				t.Errorf("found %v after %d pages, %v", got.Found, pages, err)
			}
		})
	}
	t.Run("more than it looks through", func(t *testing.T) {
		_, client := newStub(t, func(op string, _ map[string]any) string {
			if op != "package/packageOrderRecord" {
				return empty
			}
			return `{"code":"200","total":99999,"data":[{"outTradeNo":"x","orderId":1}]}`
		})
		if got, err := client.Lookup(t.Context(), packageQuery()); err == nil || got.Found {
			t.Errorf("got %+v: a search that was cut short is not \"not found\"", got)
		}
	})
}

func TestStatusLookups(t *testing.T) {
	for name, c := range map[string]struct {
		product, body string
		state         order.State
		esims         int
		notFound, bad bool
	}{
		"eSIM processing":         {product: order.ProductESIM, body: `{"code":"200","message":"操作成功","data":{"status":1}}`, state: order.Placed},
		"eSIM there":              {product: order.ProductESIM, body: `{"code":"200","data":{"status":2,"iccid":"8942","activationCode":"LPA:1$a$b"}}`, state: order.Fulfilled, esims: 1},
		"eSIM there, no details":  {product: order.ProductESIM, body: `{"code":"200","data":{"status":2}}`, state: order.Placed},
		"eSIM refunded":           {product: order.ProductESIM, body: `{"code":0,"data":{"status":3}}`, state: order.Refunded},
		"eSIM failed":             {product: order.ProductESIM, body: `{"code":0,"data":{"status":"-1"}}`, state: order.Rejected},
		"eSIM not found":          {product: order.ProductESIM, body: `{"code":45111}`, notFound: true},
		"eSIM of an odd status":   {product: order.ProductESIM, body: `{"code":0,"data":{"status":5}}`, bad: true},
		"eSIM without a status":   {product: order.ProductESIM, body: `{"code":0,"data":{}}`, bad: true},
		"cloud (D's example)":     {product: order.ProductCloudESIMPackage, body: `{"code":"200","message":"success","data":{"status":2,"eid":"78886666666666666786766666"}}`, state: order.Fulfilled},
		"cloud not found":         {product: order.ProductCloudESIMPackage, body: `{"code":"42004"}`, notFound: true},
		"cloud, server exception": {product: order.ProductCloudESIMPackage, body: `{"code":"43331"}`, bad: true},
		"pool active":             {product: order.ProductPoolPackage, body: `{"code":"200","data":{"list":[{"order_no":"77","out_trade_no":"x","pool_type_code":"T","status_code":3}]}}`, state: order.Fulfilled},
		"pool void":               {product: order.ProductPoolPackage, body: `{"code":"200","data":{"list":[{"order_no":77,"out_trade_no":"x","status_code":-1}]}}`, state: order.Refunded},
		"pool, another's":         {product: order.ProductPoolPackage, body: `{"code":"200","data":{"list":[{"order_no":77,"out_trade_no":"y"}]}}`, notFound: true},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := newStub(t, always(c.body))
			got, err := client.Lookup(t.Context(), supplier.Query{SupplierOrderID: "77",
				Request: order.Request{OrderID: "x", Product: c.product, EID: "1", PoolObjectID: "380", PoolTypeCode: "T"}})
			if c.bad {
				if supplier.AsError("", err).Kind != supplier.Unknown || err == nil {
					t.Errorf("got %+v, %v, want an error", got, err)
				}
				return
			}
			if err != nil || got.Found == c.notFound || got.State != c.state || len(got.ESIMs) != c.esims {
				t.Errorf("got %+v, %v", got, err)
			}
			if got.Found && got.SupplierOrderID != "77" {
				t.Errorf("order id %q", got.SupplierOrderID)
			}
		})
	}
}

// Cloud records are documented without our id: with it they are an answer, without it none.
func TestCloudRecordsWithoutOurID(t *testing.T) {
	for name, c := range map[string]struct {
		row   string
		found bool
	}{
		"documented row":      {`{"eid":"35","orderId":24,"eshopOrderId":99,"price":45.79,"currency":"USD","state":1}`, false},
		"row with outTradeNo": {`{"eid":"35","orderId":24,"eshopOrderId":99,"price":45.79,"currency":"USD","outTradeNo":"x"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := newStub(t, always(`{"code":"200","data":{"list":[`+c.row+`],"total":1}}`))
			got, err := client.Lookup(t.Context(), supplier.Query{Request: order.Request{OrderID: "x", Product: order.ProductCloudESIMPackage, EID: "35"}})
			if c.found {
				if err != nil || !got.Found || got.SupplierOrderID != "99" || got.Total.String() != "45.79 USD" {
					t.Errorf("got %+v, %v", got, err)
				}
			} else if !errors.Is(err, supplier.ErrNoLookup) {
				t.Errorf("got %+v, %v, want ErrNoLookup", got, err)
			}
		})
	}
}
