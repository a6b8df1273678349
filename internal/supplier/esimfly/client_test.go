package esimfly

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

type answer struct {
	status int
	header http.Header
	body   string
}

// stub gives one answer to every call and keeps what was asked.
type stub struct {
	*httptest.Server
	mu    sync.Mutex
	asked []*http.Request
	body  string
}

func newStub(t *testing.T, a answer, change func(*Config)) (*stub, *Client) {
	t.Helper()
	s := &stub{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		s.asked, s.body = append(s.asked, r), string(body)
		s.mu.Unlock()
		for k, v := range a.header {
			w.Header()[k] = v
		}
		w.WriteHeader(max(a.status, http.StatusOK))
		io.WriteString(w, a.body)
	}))
	t.Cleanup(s.Close)
	cfg := Config{BaseURL: s.URL + "/", AccessCode: "esf_code", SecretKey: "sk_secret"}
	if change != nil {
		change(&cfg)
	}
	return s, New(cfg)
}

func testdata(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func seedRequest(t testing.TB) order.Request {
	t.Helper()
	price, err := order.NewMoney("2.72", "USD")
	if err != nil {
		t.Fatal(err)
	}
	return order.Request{OrderID: "ord-1", Supplier: order.ESIMFly, Product: order.ProductESIM, PackageCode: "merhaba-7days-1gb",
		PackageName: "Turkey 1 GB 7 Days", Price: &price, Quantity: 1, DurationDays: 7, FlagURL: "/img/flags/tr.png"}
}

func TestRequestID(t *testing.T) {
	v4 := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]string{}
	for i := range 500 {
		for round := range 3 {
			id := RequestID("ord"+strconv.Itoa(i), round)
			if !v4.MatchString(id) {
				t.Fatalf("%s is no UUID v4", id)
			}
			key := strconv.Itoa(i) + " " + strconv.Itoa(round)
			if other, twice := seen[id]; twice {
				t.Fatalf("%s for %s and %s", id, key, other)
			}
			seen[id] = key
		}
	}
	// Written down: another version of simline must send the same id for the same order.
	if got, want := RequestID("630000198311142676", 0), "c0d54cb8-8338-49bb-b762-d614df92335b"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if RequestID("a", 11) == RequestID("a1", 1) {
		t.Error("order id and round run into each other")
	}
}

// What goes over the wire for the document's own order, byte for byte where it matters.
func TestSeedOrderIsSigned(t *testing.T) {
	s, c := newStub(t, answer{body: testdata(t, "completed.json")}, nil)
	if _, err := c.Place(t.Context(), supplier.Purchase{Request: seedRequest(t), Round: 2}); err != nil {
		t.Fatal(err)
	}
	var want, got map[string]any
	for text, v := range map[string]*map[string]any{testdata(t, "request.json"): &want, s.body: &got} {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if err := d.Decode(v); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("body (-seed +sent):\n%s", diff)
	}
	r := s.asked[0]
	if r.Method != http.MethodPost || r.URL.Path != "/api/v1/business/esims/order" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
	}
	if r.Header.Get("RT-RequestID") != RequestID("ord-1", 2) || r.Header.Get("RT-AccessCode") != "esf_code" {
		t.Errorf("headers %v", r.Header)
	}
	ms, err := strconv.ParseInt(r.Header.Get("RT-Timestamp"), 10, 64)
	if err != nil || time.Since(time.UnixMilli(ms)).Abs() > time.Minute {
		t.Errorf("timestamp %q", r.Header.Get("RT-Timestamp"))
	}
	mac := hmac.New(sha256.New, []byte("sk_secret"))
	io.WriteString(mac, r.Header.Get("RT-Timestamp")+r.Header.Get("RT-RequestID")+"esf_code"+s.body)
	if want := strings.ToUpper(hex.EncodeToString(mac.Sum(nil))); r.Header.Get("RT-Signature") != want {
		t.Errorf("signature %s, want %s", r.Header.Get("RT-Signature"), want)
	}
	for name := range r.Header {
		if strings.Contains(strings.ToLower(name), "idempotency") {
			t.Errorf("%s would make net/http repeat a purchase", name)
		}
	}
}

// The price is the request's literal: a float would not match the supplier's.
func TestPriceLiteral(t *testing.T) {
	for _, literal := range []string{"2.72", "15.99", "0.10", "0.1", "100", "123456789012.123456"} {
		s, c := newStub(t, answer{body: testdata(t, "completed.json")}, nil)
		r := seedRequest(t)
		price, err := order.NewMoney(literal, "USD")
		if err != nil {
			t.Fatal(err)
		}
		r.Price, r.Quantity = &price, 0
		if _, err := c.Place(t.Context(), supplier.Purchase{Request: r}); err != nil {
			t.Fatal(err)
		}
		var body struct {
			Price    json.Number `json:"price"`
			Quantity int         `json:"quantity"`
		}
		if err := json.Unmarshal([]byte(s.body), &body); err != nil {
			t.Fatal(err)
		}
		sent, ok := supplier.Decimal(body.Price.String())
		if !ok || !sent.Equal(price.Amount) || strings.ContainsAny(body.Price.String(), "eE") || body.Quantity != 1 {
			t.Errorf("%s sent as %s, quantity %d", literal, body.Price, body.Quantity)
		}
	}
}

func TestOnlyDollars(t *testing.T) {
	s, c := newStub(t, answer{}, nil)
	r := seedRequest(t)
	r.Price.Currency = "EUR"
	_, err := c.Place(t.Context(), supplier.Purchase{Request: r})
	if e := supplier.AsError("", err); e.Kind != supplier.Refused || e.Sent || len(s.asked) != 0 {
		t.Errorf("got %+v: 2.72 EUR would have bought at 2.72 dollars", e)
	}
}

func sameMoney(a, b order.Money) bool { return a.String() == b.String() }

func TestReplies(t *testing.T) {
	const install = "https://esimsetup.apple.com/esim_qrcode_provisioning?carddata=LPA:1$..."
	esim := order.ESIM{ICCID: "8932042000010078801", QRCodeURL: "https://qr.example.com/esim-qr-code.png", AppleInstallURL: install, Status: "New"}
	total, balance := supplier.Amount("2.72", "USD"), supplier.Amount("47.28", "USD")
	for name, c := range map[string]struct {
		body     string
		status   int
		quantity int
		want     supplier.Placement
	}{
		"completed (D)": {body: testdata(t, "completed.json"), want: supplier.Placement{SupplierOrderID: "order_1692123456_ab7cd", State: order.Fulfilled,
			ESIMs: []order.ESIM{esim}, Total: total, Balance: balance}},
		"pending (D)": {body: testdata(t, "pending.json"), want: supplier.Placement{SupplierOrderID: "order_1692123456_ab7cd", State: order.Placed,
			ESIMs: []order.ESIM{{Status: "PENDING"}}, Total: total, Balance: balance}},
		"201":                         {status: 201, body: `{"success":true,"orderReference":"o1"}`, want: supplier.Placement{SupplierOrderID: "o1", State: order.Placed}},
		"completed, one of two":       {quantity: 2, body: testdata(t, "completed.json"), want: supplier.Placement{SupplierOrderID: "order_1692123456_ab7cd", State: order.Placed, ESIMs: []order.ESIM{esim}, Total: total, Balance: balance}},
		"completed and still pending": {body: `{"success":true,"orderReference":"o1","status":"completed","esims":[{"iccid":"PENDING_1","isPending":true}]}`, want: supplier.Placement{SupplierOrderID: "o1", State: order.Placed, ESIMs: []order.ESIM{{}}}},
		"a status of tomorrow":        {body: `{"success":true,"orderReference":"o1","status":"queued","esims":[{"iccid":"89"}]}`, want: supplier.Placement{SupplierOrderID: "o1", State: order.Placed, ESIMs: []order.ESIM{{ICCID: "89"}}}},
		"details of odd types": {body: `{"success":true,"orderReference":"o1","status":1,"esims":{"a":[]},"newBalance":"much","final_price":{},"message":[]}`,
			want: supplier.Placement{SupplierOrderID: "o1", State: order.Placed, ESIMs: []order.ESIM{{}}}},
		"esims no list": {body: `{"success":true,"orderReference":"o1","esims":"soon"}`, want: supplier.Placement{SupplierOrderID: "o1", State: order.Placed}},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := newStub(t, answer{status: c.status, body: c.body}, nil)
			r := seedRequest(t)
			r.Quantity = max(c.quantity, 1)
			got, err := client.Place(t.Context(), supplier.Purchase{Request: r})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.Comparer(sameMoney)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLookups(t *testing.T) {
	body := func(fields string) string {
		return `{"success":true,"order":{"orderReference":"order_1692123456_ab7cd",` + fields + `}}`
	}
	for name, c := range map[string]struct {
		a        answer
		quantity int
		state    order.State
		partial  bool
		notFound bool
		bad      bool
	}{
		"completed (D)":             {a: answer{body: testdata(t, "status.json")}, state: order.Fulfilled},
		"pending":                   {a: answer{body: body(`"status":"pending_details","esim":{"iccid":"PENDING_1","status":"PENDING"}`)}, state: order.Placed},
		"completed without details": {a: answer{body: body(`"status":"completed"`)}, state: order.Placed},
		"one of two":                {a: answer{body: testdata(t, "status.json")}, quantity: 2, state: order.Placed, partial: true},
		"two of three":              {a: answer{body: body(`"status":"completed","esims":[{"iccid":"1"},{"iccid":"2"}]`)}, quantity: 3, state: order.Placed, partial: true},
		"none of two":               {a: answer{body: body(`"status":"completed"`)}, quantity: 2, state: order.Placed, partial: true},
		"one of two, still pending": {a: answer{body: body(`"status":"pending_details","esim":{"iccid":"1","status":"New"}`)}, quantity: 2, state: order.Placed},
		"two, of which one pending": {a: answer{body: body(`"status":"completed","esims":[{"iccid":"1"},{"iccid":"PENDING_1","isPending":true}]`)}, quantity: 2, state: order.Placed},
		"one of two, refunded":      {a: answer{body: body(`"status":"completed","paymentStatus":"refunded","esim":{"iccid":"1"}`)}, quantity: 2, state: order.Refunded},
		"two of two":                {a: answer{body: body(`"status":"completed","esims":[{"iccid":"1"},{"iccid":"2"}]`)}, quantity: 2, state: order.Fulfilled},
		"refunded":                  {a: answer{body: body(`"status":"refunded"`)}, state: order.Refunded},
		"payment refunded":          {a: answer{body: body(`"status":"completed","paymentStatus":"refunded","esim":{"iccid":"1"}`)}, state: order.Refunded},
		"failed":                    {a: answer{body: body(`"status":"failed"`)}, state: order.Rejected},
		"404 with a code":           {a: answer{status: 404, body: `{"success":false,"code":"ORDER_NOT_FOUND"}`}, notFound: true},
		"404 without a code":        {a: answer{status: 404, body: `{"success":false,"message":"Order not found"}`}, notFound: true},
		"404 of a proxy":            {a: answer{status: 404, body: `<html>`}, bad: true},
		"another order":             {a: answer{body: `{"success":true,"order":{"orderReference":"order_2","status":"completed","esim":{"iccid":"1"}}}`}, bad: true},
		"no order":                  {a: answer{body: `{"success":true}`}, bad: true},
		"500":                       {a: answer{status: 500, body: `{"success":false,"code":"ORDER_NOT_FOUND_"}`}, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			s, client := newStub(t, c.a, nil)
			q := supplier.Query{Request: seedRequest(t), SupplierOrderID: "order_1692123456_ab7cd"}
			q.Quantity = max(c.quantity, 1)
			got, err := client.Lookup(t.Context(), q)
			if c.bad {
				if err == nil || got.Found || supplier.AsError("", err).Kind != supplier.Unknown {
					t.Errorf("got %+v, %v, want an error", got, err)
				}
				return
			}
			if err != nil || got.Found == c.notFound || got.State != c.state || got.Partial != c.partial {
				t.Errorf("got %+v, %v", got, err)
			}
			r := s.asked[0]
			if r.Method != http.MethodGet || r.URL.RequestURI() != "/api/v1/business/esims/order?orderReference=order_1692123456_ab7cd" || s.body != "" {
				t.Errorf("asked %s %s %q", r.Method, r.URL.RequestURI(), s.body)
			}
		})
	}
	t.Run("what the page shows", func(t *testing.T) {
		_, client := newStub(t, answer{body: testdata(t, "status.json")}, nil)
		got, err := client.Lookup(t.Context(), supplier.Query{Request: seedRequest(t), SupplierOrderID: "order_1692123456_ab7cd"})
		if err != nil || len(got.ESIMs) != 1 || got.ESIMs[0].ICCID != "8932042000010078801" || got.Total.String() != "2.72 USD" || got.Mismatch != nil {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("no reference", func(t *testing.T) {
		_, client := newStub(t, answer{}, nil)
		if _, err := client.Lookup(t.Context(), supplier.Query{Request: seedRequest(t)}); !errors.Is(err, supplier.ErrNoLookup) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("each question has a request id of its own", func(t *testing.T) {
		s, client := newStub(t, answer{body: testdata(t, "status.json")}, nil)
		for range 2 {
			if _, err := client.Lookup(t.Context(), supplier.Query{Request: seedRequest(t), SupplierOrderID: "order_1692123456_ab7cd"}); err != nil {
				t.Fatal(err)
			}
		}
		if a, b := s.asked[0].Header.Get("RT-RequestID"), s.asked[1].Header.Get("RT-RequestID"); a == b || a == RequestID("ord-1", 0) {
			t.Errorf("request ids %s and %s", a, b)
		}
	})
}

func TestBalance(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"under data (P)": {`{"success": true, "data": {"balance": 1500.00, "currency": "USD"}}`, "1500.00 USD"},
		"at the top (I)": {`{"success":true,"balance":47.28}`, "47.28 USD"},
		"none":           {`{"success":true}`, ""},
	} {
		_, client := newStub(t, answer{body: c.body}, nil)
		got, err := client.Balance(t.Context())
		if c.want == "" {
			if err == nil {
				t.Errorf("%s: %v", name, got)
			}
		} else if err != nil || got.String() != c.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestPriceIsOfAllOfThem(t *testing.T) {
	_, client := newStub(t, answer{}, nil)
	r := seedRequest(t)
	r.Quantity = 5
	if got, err := client.Price(t.Context(), r); err != nil || got.String() != "13.60 USD" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestLimitHeaders(t *testing.T) {
	soon := time.Now().Add(20 * time.Minute).Truncate(time.Second)
	for name, c := range map[string]struct {
		header     http.Header
		status     int
		remaining  int
		reset      time.Time
		retryAfter time.Duration
	}{
		"Unix seconds":  {http.Header{"X-Ratelimit-Remaining": {"999"}, "X-Ratelimit-Reset": {strconv.FormatInt(soon.Unix(), 10)}}, 429, 999, soon, 20 * time.Minute},
		"milliseconds":  {http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {strconv.FormatInt(soon.UnixMilli(), 10)}}, 429, 0, soon, 20 * time.Minute},
		"a date":        {http.Header{"X-Ratelimit-Remaining": {"5"}, "X-Ratelimit-Reset": {soon.UTC().Format(time.RFC3339)}}, 429, 5, soon, 20 * time.Minute},
		"without X-":    {http.Header{"Ratelimit-Remaining": {"5"}, "Ratelimit-Reset": {"1200"}}, 429, 5, soon, 20 * time.Minute},
		"Retry-After":   {http.Header{"Retry-After": {"30"}, "X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"1200"}}, 429, 0, soon, 30 * time.Second},
		"reset in 2099": {http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"4070908800"}}, 429, 0, time.Unix(4070908800, 0), time.Hour},
		"nonsense":      {http.Header{"X-Ratelimit-Remaining": {"many"}, "X-Ratelimit-Reset": {"later"}}, 429, -1, time.Time{}, 0},
		"none":          {nil, 429, -1, time.Time{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			remaining, reset := -1, time.Time{}
			_, client := newStub(t, answer{status: c.status, header: c.header, body: `{"success":false,"code":"RATE_LIMIT_EXCEEDED"}`},
				func(cfg *Config) { cfg.Budget = func(n int, at time.Time) { remaining, reset = n, at } })
			_, err := client.Place(t.Context(), supplier.Purchase{Request: seedRequest(t)})
			e := supplier.AsError("", err)
			if e.Kind != supplier.Busy || (e.RetryAfter-c.retryAfter).Abs() > 5*time.Second {
				t.Errorf("%s after %v, want busy after %v", e.Kind, e.RetryAfter, c.retryAfter)
			}
			if remaining != c.remaining || reset.Sub(c.reset).Abs() > 5*time.Second {
				t.Errorf("%d calls left until %v, want %d until %v", remaining, reset, c.remaining, c.reset)
			}
		})
	}
}

func TestClock(t *testing.T) {
	begin := time.Now()
	header := http.Header{"Date": {time.Now().Add(10 * time.Minute).UTC().Format(http.TimeFormat)}}
	s, client := newStub(t, answer{status: 401, header: header, body: `{"success":false,"code":"INVALID_TIMESTAMP"}`}, nil)
	_, err := client.Place(t.Context(), supplier.Purchase{Request: seedRequest(t)})
	e := supplier.AsError("", err)
	if took := time.Since(begin); e.Kind != supplier.Setup || !e.HasClock || (e.Clock-10*time.Minute).Abs() > 500*time.Millisecond+took {
		t.Fatalf("got %+v, want setup and a clock 10 minutes ahead", e)
	}
	client.AdjustClock(e.Clock)
	client.Place(t.Context(), supplier.Purchase{Request: seedRequest(t)})
	ms, err := strconv.ParseInt(s.asked[1].Header.Get("RT-Timestamp"), 10, 64)
	if err != nil || (time.Until(time.UnixMilli(ms))-10*time.Minute).Abs() > time.Minute {
		t.Errorf("timestamp %d after the clock was adjusted", ms)
	}
}

func TestBalanceInARefusal(t *testing.T) {
	_, client := newStub(t, answer{status: 400, body: `{"success": false, "message": "Insufficient balance", "code": "INSUFFICIENT_BALANCE",
"currentBalance": 25.50, "requiredBalance": 27.20, "needToLoad": 1.70}`}, nil)
	_, err := client.Place(t.Context(), supplier.Purchase{Request: seedRequest(t)})
	if e := supplier.AsError("", err); e.Message != "Insufficient balance: has 25.50, needs 27.20" {
		t.Errorf("message %q", e.Message)
	}
}

// Whatever comes back, a purchase is never success without a reference, and never
// certain of a refusal that says success.
func FuzzReply(f *testing.F) {
	for _, name := range []string{"completed.json", "pending.json", "status.json", "request.json"} {
		f.Add(200, testdata(f, name))
	}
	f.Add(400, `{"success":false,"code":"INSUFFICIENT_BALANCE","currentBalance":1e999}`)
	f.Add(500, `{"success":false,"code":"ORDER_PROCESSING_ERROR"}`)
	f.Add(409, `{"code":"DUPLICATE_REQUEST","success":true}`)
	f.Add(200, `{"success":true,"orderReference":"o","esims":[{"iccid":1,"isPending":"x"},null]}`)
	c := New(Config{})
	r := seedRequest(f)
	f.Fuzz(func(t *testing.T, status int, body string) {
		p, err := decodePlacement("op", supplier.Answer{Status: status, Body: []byte(body), Header: http.Header{}}, r, c)
		if err != nil {
			e := supplier.AsError("op", err)
			var said struct {
				Success bool `json:"success"`
			}
			if json.Unmarshal([]byte(body), &said) == nil && said.Success && status != 429 && e.Kind != supplier.Unknown {
				t.Errorf("success and %s", e.Kind)
			}
			if status >= 500 && e.Kind != supplier.Unknown || e.Code == "" || len(e.Message) > 500 {
				t.Errorf("status %d: %+v", status, e)
			}
			return
		}
		if status/100 != 2 || p.SupplierOrderID == "" || p.State != order.Placed && p.State != order.Fulfilled {
			t.Errorf("status %d: %+v", status, p)
		}
		if p.State == order.Fulfilled && (len(p.ESIMs) == 0 || p.ESIMs[0].ICCID == "") {
			t.Errorf("fulfilled with %+v", p.ESIMs)
		}
	})
}
