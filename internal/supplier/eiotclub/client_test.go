package eiotclub

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// stub answers each endpoint with what the test says and keeps what was asked.
type stub struct {
	*httptest.Server
	mu    sync.Mutex
	asked []asked
}

type asked struct {
	op     string
	params map[string]any
	raw    string
}

func newStub(t *testing.T, answers func(op string, p map[string]any) string) (*stub, *Client) {
	t.Helper()
	s := &stub{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		a := asked{op: strings.TrimPrefix(r.URL.Path, "/api/v3/"), raw: string(raw)}
		d := json.NewDecoder(strings.NewReader(a.raw))
		d.UseNumber()
		if err := d.Decode(&a.params); err != nil {
			t.Errorf("body %q: %v", raw, err)
		}
		if got := r.Header.Get("Content-Type"); r.Method != http.MethodPost || got != "application/json;charset=utf-8" {
			t.Errorf("%s with content type %q", r.Method, got)
		}
		s.mu.Lock()
		s.asked = append(s.asked, a)
		s.mu.Unlock()
		io.WriteString(w, answers(a.op, a.params))
	}))
	t.Cleanup(s.Close)
	return s, New(Config{BaseURL: s.URL + "/", AppKey: "000001", Secret: "a1b1c1d1"})
}

// ops are the endpoints asked, in order.
func (s *stub) ops() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.asked {
		out = append(out, a.op)
	}
	return out
}

func always(answer string) func(string, map[string]any) string {
	return func(string, map[string]any) string { return answer }
}

func testdata(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The document's own vector.
func TestSignature(t *testing.T) {
	p := params{}.text("userName", "wx").text("age", "24").text("sex", "1").text("appkey", "000001").
		number("timestamp", 1556595508).number("nonce", 24523).text("empty", "")
	if got := p.signature("a1b1c1d1"); got != "963A56BAEBED746F2746E4D9B3B77BE0F2E171E7" {
		t.Errorf("signature %s", got)
	}
}

// What is signed is what is read at the other end, whatever the values hold.
func TestSignedBodyReadsBack(t *testing.T) {
	values := map[string]string{"iccid": "8988308650100524999", "packageCode": `a<b>&"c"\d`, "memo": "套餐  \t=&", "outTradeNo": "x"}
	p := params{}.digits("big", "101106255").digits("padded", "007").digits("long", "12345678901234567890").number("state", 0)
	for k, v := range values {
		p = p.text(k, v)
	}
	var got map[string]any
	d := json.NewDecoder(strings.NewReader(string(p.signed("000001", "a1b1c1d1", time.Unix(1556595508, 0)))))
	d.UseNumber()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	sign := got["sign"]
	delete(got, "sign")
	back := params{}
	for k, v := range got {
		switch v := v.(type) {
		case string:
			back = back.text(k, v)
		case json.Number:
			back = append(back, param{name: k, literal: v.String(), number: true})
		}
	}
	if want := back.signature("a1b1c1d1"); sign != want {
		t.Errorf("sign %v, the other end computes %s", sign, want)
	}
	for k, v := range values {
		if got[k] != v {
			t.Errorf("%s: %q, want %q", k, got[k], v)
		}
	}
	for k, want := range map[string]any{"big": json.Number("101106255"), "padded": "007", "long": "12345678901234567890",
		"state": json.Number("0"), "timestamp": json.Number("1556595508"), "appkey": "000001"} {
		if got[k] != want {
			t.Errorf("%s: %#v, want %#v", k, got[k], want)
		}
	}
	if n, err := strconv.Atoi(string(got["nonce"].(json.Number))); err != nil || n < 10000 || n > 99999 {
		t.Errorf("nonce %v is not five digits", got["nonce"])
	}
}

// No two parameters of one call of ours sort differently by D's prose and D's sample.
func TestNoNameIsAPrefixBeforeADigit(t *testing.T) {
	names := []string{"appkey", "timestamp", "nonce", "sign", "iccid", "packageCode", "outTradeNo", "eSIMGoodsCode", "eid", "pool_object_id",
		"pool_type_code", "out_trade_no", "outTradeNoArrStr", "state", "stateArrStr", "page", "pageSize", "page_size", "orderId", "orderIdArrStr",
		"createDateStart", "createDateEnd", "updateDateStart", "updateDateEnd", "orderBy", "out_trade_no_arr", "order_no_arr", "create_at_start",
		"create_at_end", "ids", "iccids", "dateType", "startDate", "endDate", "month", "eshopOrderId"}
	pairs := slices.Clone(names)
	slices.Sort(names)
	slices.SortFunc(pairs, func(a, b string) int { return strings.Compare(a+"=", b+"=") })
	if diff := cmp.Diff(names, pairs); diff != "" {
		t.Errorf("by name and by pair:\n%s", diff)
	}
}

// Every code of the document's table (seed 002, 错误代码) is in ours, and nothing else,
// and means what the last column says.
func TestEveryDocumentedCode(t *testing.T) {
	documented := map[string]bool{}
	lines := bufio.NewScanner(strings.NewReader(testdata(t, "error_codes.tsv")))
	for lines.Scan() {
		f := strings.Split(lines.Text(), "\t")
		if len(f) != 4 {
			t.Fatalf("line %q", lines.Text())
		}
		if f[0] != "code" && f[0] != "200" {
			documented[f[0]] = true
			if got := KindOf(f[0]); string(got) != f[3] {
				t.Errorf("code %s (%s) is %s, want %s", f[0], f[2], got, f[3])
			}
		}
	}
	if len(documented) != 88 {
		t.Errorf("%d documented codes, want 88", len(documented))
	}
	for code := range documented {
		if _, ok := codes[code]; !ok {
			t.Errorf("code %s is not in the table", code)
		}
	}
	for code := range codes {
		if !documented[code] {
			t.Errorf("code %s is in the table and not documented", code)
		}
	}
	for kind, list := range map[supplier.Kind]string{
		supplier.Exists:     "42002 503016",
		supplier.Busy:       "501 44001",
		supplier.NoFunds:    "45112",
		supplier.OutOfStock: "45110",
		supplier.Setup:      "403 502 42101 42102 42104 42201 42203 42301 42401 42402 41030 41998 900910",
		supplier.Refused:    "41003 41018 41028 41050 42001 42007 42405 45109 43332 50001 900911",
		supplier.Unknown:    "500 43331 41036 200 0 12345 (timeout) -1",
	} {
		for code := range strings.FieldsSeq(list) {
			if got := KindOf(code); got != kind {
				t.Errorf("code %s is %s, want %s", code, got, kind)
			}
		}
	}
}

// The document's own order (seed 001): what is sent, and what comes back.
func TestSeedOrder(t *testing.T) {
	s, c := newStub(t, always(testdata(t, "order_package.json")))
	got, err := c.Place(t.Context(), supplier.Purchase{Request: order.Request{OrderID: "630000198311142676", Product: order.ProductPackage,
		ICCID: "8988308650100524999", PackageCode: "CN-5M-7D-C-US-20230103AC4BF927"}, Round: 3})
	if err != nil {
		t.Fatal(err)
	}
	want := supplier.Placement{SupplierOrderID: "101106255", SupplierOrderNumber: "1611558040873b105b2678de34504a35", State: order.Placed}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("placement (-want +got):\n%s", diff)
	}
	p := s.asked[0].params
	if len(p) != 7 || p["outTradeNo"] != "630000198311142676" || p["iccid"] != "8988308650100524999" ||
		p["packageCode"] != "CN-5M-7D-C-US-20230103AC4BF927" || p["appkey"] != "000001" {
		t.Errorf("sent %v", p)
	}
	if ts, _ := p["timestamp"].(json.Number).Int64(); time.Since(time.Unix(ts, 0)).Abs() > time.Minute {
		t.Errorf("timestamp %v", p["timestamp"])
	}
}

func TestAdjustClock(t *testing.T) {
	s, c := newStub(t, always(`{"code":"42203"}`))
	c.AdjustClock(-time.Hour)
	_, err := c.Balance(t.Context())
	var e *supplier.Error
	if !errors.As(err, &e) || e.Kind != supplier.Setup || !e.HasClock {
		t.Errorf("got %+v, want kind setup with the clock measured", e)
	}
	if ts, _ := s.asked[0].params["timestamp"].(json.Number).Int64(); (time.Since(time.Unix(ts, 0)) - time.Hour).Abs() > time.Minute {
		t.Errorf("timestamp %d is not an hour back", ts)
	}
}

func TestReplies(t *testing.T) {
	for name, c := range map[string]struct {
		product, body string
		want          supplier.Placement
	}{
		"package, id as a string":          {order.ProductPackage, `{"code":"200","data":{"orderNumber":"n","orderId":"5"}}`, supplier.Placement{State: order.Placed, SupplierOrderID: "5", SupplierOrderNumber: "n"}},
		"package, id as a float":           {order.ProductPackage, `{"code":200,"data":{"orderId":1.01106255E8}}`, supplier.Placement{State: order.Placed, SupplierOrderID: "101106255"}},
		"package, number like a float":     {order.ProductPackage, `{"code":0,"data":{"orderNumber":"1611e15","orderId":9007199254740993}}`, supplier.Placement{State: order.Placed, SupplierOrderID: "9007199254740993", SupplierOrderNumber: "1611e15"}},
		"eSIM in hand":                     {order.ProductESIM, `{"code":0,"data":{"orderId":"e1","iccid":"8942","activationCode":"LPA:1$a$b"}}`, supplier.Placement{State: order.Fulfilled, SupplierOrderID: "e1", ESIMs: []order.ESIM{{ICCID: "8942", ActivationCode: "LPA:1$a$b"}}}},
		"eSIM to come":                     {order.ProductESIM, `{"code":0,"data":{"orderId":"e1","iccid":"","activationCode":null}}`, supplier.Placement{State: order.Placed, SupplierOrderID: "e1"}},
		"eSIM without its activation code": {order.ProductESIM, `{"code":0,"data":{"orderId":"e1","iccid":"8942"}}`, supplier.Placement{State: order.Placed, SupplierOrderID: "e1"}},
		"eSIM with odd details":            {order.ProductESIM, `{"code":0,"data":{"orderId":"e1","iccid":{},"activationCode":["x"]}}`, supplier.Placement{State: order.Placed, SupplierOrderID: "e1"}},
		"cloud eSIM (D's example)":         {order.ProductCloudESIMPackage, `{"code":"200","message":"success","data":{"outTradeNo":"2025000000055050505050","eshopOrderId":1111111}}`, supplier.Placement{State: order.Placed, SupplierOrderID: "1111111"}},
		"pool":                             {order.ProductPoolPackage, `{"code":"200","data":{"order_no":"P-1"}}`, supplier.Placement{State: order.Placed, SupplierOrderID: "P-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := newStub(t, always(c.body))
			got, err := client.Place(t.Context(), supplier.Purchase{Request: order.Request{OrderID: "x", Product: c.product}})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A duplicate refusal may bring the order that is there.
func TestDuplicateWithData(t *testing.T) {
	_, c := newStub(t, always(`{"code":503016,"message":"重复订单号","data":{"orderId":"e1","iccid":"8942","activationCode":"LPA:1$a$b"}}`))
	_, err := c.Place(t.Context(), supplier.Purchase{Request: order.Request{OrderID: "x", Product: order.ProductESIM}})
	var e *supplier.Error
	if !errors.As(err, &e) || e.Kind != supplier.Exists || e.Existing == nil {
		t.Fatalf("got %+v, want kind exists with the order", e)
	}
	if e.Existing.SupplierOrderID != "e1" || e.Existing.State != order.Fulfilled || len(e.Existing.ESIMs) != 1 {
		t.Errorf("existing %+v", e.Existing)
	}
}

func TestUnknownProductIsRefusedUnsent(t *testing.T) {
	s, c := newStub(t, always(`{}`))
	_, err := c.Place(t.Context(), supplier.Purchase{Request: order.Request{OrderID: "x", Product: "hat"}})
	if e := supplier.AsError("", err); e.Kind != supplier.Refused || e.Sent || len(s.ops()) != 0 {
		t.Errorf("got %+v, asked %v", e, s.ops())
	}
}

// Whatever comes back, reading it ends in an envelope or an error, and a purchase
// never in success without an id.
func FuzzAnswers(f *testing.F) {
	for _, s := range []string{`{"code":"200","message":"success","data":{"orderNumber":"1611558040873b105b2678de34504a35","orderId":101106255}}`,
		`{"code":0,"data":{"orderId":"","iccid":"","activationCode":""},"message":"string"}`, `{"code":"42002","data":null}`, `{"code":200,"data":[]}`,
		`{"code":1e999999999,"data":{"orderId":1e999999999}}`, `[]`, `{"code":{}}`, testdata(f, "order_details.json")} {
		f.Add([]byte(s))
	}
	c := New(Config{})
	f.Fuzz(func(t *testing.T, body []byte) {
		sameAsSlow(t, body)
		e, err := decodeAnswer("op", supplier.Answer{Status: http.StatusOK, Body: body})
		if err != nil {
			if failure := supplier.AsError("op", err); failure.Code == "" || len(failure.Message) > 500 {
				t.Errorf("error %+v", failure)
			}
			return
		}
		for _, product := range order.Products(order.EIOTCLUB) {
			_, _, read := purchase(order.Request{Product: product})
			if p, err := read(e.Data); err == nil && p.State != order.Placed && p.SupplierOrderID == "" && len(p.ESIMs) == 0 {
				t.Errorf("%s: %+v", product, p)
			}
		}
		var rows []orderJSON
		if json.Unmarshal(e.Data, &rows) == nil {
			for _, o := range c.orders(rows) {
				if o.Price != nil {
					if _, err := json.Marshal(o.Price); err != nil {
						t.Error(err)
					}
				}
			}
		}
	})
}
