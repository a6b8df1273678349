package esimfly_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/simline/simline/internal/sim/esimfly"
)

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

type rig struct {
	*esimfly.Sim
	t     *testing.T
	clock *clock
	url   string
}

func newRig(t *testing.T, cfg esimfly.Config) *rig {
	t.Helper()
	r := &rig{t: t, clock: &clock{t: time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)}}
	cfg.Clock, cfg.Seed = r.clock.Now, 7
	r.Sim = esimfly.New(cfg)
	srv := httptest.NewServer(r.Handler())
	t.Cleanup(func() { srv.Close(); r.Close() })
	r.url = srv.URL
	return r
}

const orderPath = "/api/v1/business/esims/order"

// seedOrder is the document's request example, byte for byte.
const seedOrder = `{
"packageCode": "merhaba-7days-1gb",
"packageName": "Turkey 1 GB 7 Days",
"price": 2.72,
"quantity": 1,
"duration": 7,
"flagUrl": "/img/flags/tr.png"
}`

type answer struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

func (a answer) code() string { c, _ := a.body["code"].(string); return c }

func (r *rig) send(method, path, id, body string, change func(http.Header)) (answer, error) {
	req, err := http.NewRequest(method, r.url+path, bytes.NewBufferString(body))
	if err != nil {
		return answer{}, err
	}
	ts := strconv.FormatInt(r.clock.Now().UnixMilli(), 10)
	req.Header.Set("RT-AccessCode", r.AccessCode())
	req.Header.Set("RT-RequestID", id)
	req.Header.Set("RT-Timestamp", ts)
	req.Header.Set("RT-Signature", esimfly.Sign(ts, id, r.AccessCode(), body, r.SecretKey()))
	if change != nil {
		change(req.Header)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(b)}
	if err == nil && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		err = json.Unmarshal(b, &a.body)
	}
	return a, err
}

func (r *rig) order(id, body string) answer {
	r.t.Helper()
	a, err := r.send(http.MethodPost, orderPath, id, body, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) get(path string) answer {
	r.t.Helper()
	a, err := r.send(http.MethodGet, path, uuid.NewString(), "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func TestOrderErrors(t *testing.T) {
	r := newRig(t, esimfly.Config{Opening: 2550})
	for name, tc := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"no JSON":           {`x`, 400, "MISSING_FIELDS"},
		"no package code":   {`{"packageName":"T","price":2.72}`, 400, "MISSING_FIELDS"},
		"no price":          {`{"packageCode":"merhaba-7days-1gb","packageName":"T"}`, 400, "MISSING_FIELDS"},
		"unknown package":   {`{"packageCode":"x","packageName":"T","price":2.72}`, 400, "INVALID_PACKAGE"},
		"another price":     {`{"packageCode":"merhaba-7days-1gb","packageName":"T","price":2.73}`, 400, "PRICE_MISMATCH"},
		"a fraction more":   {`{"packageCode":"merhaba-7days-1gb","packageName":"T","price":2.7201}`, 400, "PRICE_MISMATCH"},
		"none":              {`{"packageCode":"merhaba-7days-1gb","packageName":"T","price":2.72,"quantity":0}`, 400, "INVALID_QUANTITY"},
		"eleven":            {`{"packageCode":"merhaba-7days-1gb","packageName":"T","price":2.72,"quantity":11}`, 400, "INVALID_QUANTITY"},
		"ten are too dear":  {`{"packageCode":"merhaba-7days-1gb","packageName":"T","price":2.72,"quantity":10}`, 400, "INSUFFICIENT_BALANCE"},
		"price as 2.720000": {`{"packageCode":"merhaba-7days-1gb","packageName":"T","price":2.720000}`, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := r.order(uuid.NewString(), tc.body)
			if a.status != tc.status || a.code() != tc.code || a.body["success"] != (tc.status == 200) {
				t.Fatalf("%d %s, want %d %s", a.status, a.text, tc.status, tc.code)
			}
		})
	}
	poor := newRig(t, esimfly.Config{Opening: 2550})
	a := poor.order(uuid.NewString(), strings.Replace(seedOrder, `"quantity": 1`, `"quantity": 10`, 1))
	for k, want := range map[string]float64{"currentBalance": 25.50, "requiredBalance": 27.20, "needToLoad": 1.70} {
		if a.body[k] != want {
			t.Errorf("%s = %v, want the document's %v", k, a.body[k], want)
		}
	}
	if poor.Orders() != 0 || poor.Balance() != 2550 {
		t.Errorf("a refused order left %d orders and %d cents", poor.Orders(), poor.Balance())
	}
}

func TestAuthentication(t *testing.T) {
	r := newRig(t, esimfly.Config{})
	at := func(d time.Duration) func(http.Header) {
		return func(h http.Header) {
			ts := strconv.FormatInt(r.clock.Now().Add(d).UnixMilli(), 10)
			h.Set("RT-Timestamp", ts)
			h.Set("RT-Signature", esimfly.Sign(ts, h.Get("RT-RequestID"), r.AccessCode(), seedOrder, r.SecretKey()))
		}
	}
	for name, tc := range map[string]struct {
		change func(http.Header)
		id     string
		status int
		code   string
	}{
		"no access code":      {func(h http.Header) { h.Del("RT-AccessCode") }, uuid.NewString(), 401, ""},
		"no request id":       {func(h http.Header) { h.Del("RT-RequestID") }, uuid.NewString(), 401, ""},
		"no timestamp":        {func(h http.Header) { h.Del("RT-Timestamp") }, uuid.NewString(), 401, ""},
		"no signature":        {func(h http.Header) { h.Del("RT-Signature") }, uuid.NewString(), 401, ""},
		"lower-case hex":      {func(h http.Header) { h.Set("RT-Signature", strings.ToLower(h.Get("RT-Signature"))) }, uuid.NewString(), 401, "INVALID_SIGNATURE"},
		"another user":        {func(h http.Header) { h.Set("RT-AccessCode", "x") }, uuid.NewString(), 403, "INVALID_USER"},
		"5 min 1 ms behind":   {at(-5*time.Minute - time.Millisecond), uuid.NewString(), 401, "INVALID_TIMESTAMP"},
		"5 min 1 ms ahead":    {at(5*time.Minute + time.Millisecond), uuid.NewString(), 401, "INVALID_TIMESTAMP"},
		"5 min behind":        {at(-5 * time.Minute), uuid.NewString(), 200, ""},
		"timestamp no number": {func(h http.Header) { h.Set("RT-Timestamp", "now") }, uuid.NewString(), 401, "INVALID_TIMESTAMP"},
		"id no UUID":          {nil, "order-1", 401, "INVALID_REQUEST_ID"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := r.send(http.MethodPost, orderPath, tc.id, seedOrder, tc.change)
			if err != nil || a.status != tc.status || a.code() != tc.code {
				t.Errorf("%d %s, %v; want %d %s", a.status, a.text, err, tc.status, tc.code)
			}
		})
	}
	t.Run("another byte than signed", func(t *testing.T) {
		id := uuid.NewString()
		a, err := r.send(http.MethodPost, orderPath, id, seedOrder+" ", func(h http.Header) {
			h.Set("RT-Signature", esimfly.Sign(h.Get("RT-Timestamp"), id, r.AccessCode(), seedOrder, r.SecretKey()))
		})
		if err != nil || a.code() != "INVALID_SIGNATURE" {
			t.Errorf("%s, %v", a.text, err)
		}
	})
	other := newRig(t, esimfly.Config{NotBusiness: true})
	if a := other.order(uuid.NewString(), seedOrder); a.status != 403 || a.code() != "INVALID_USER" {
		t.Errorf("no business account: %d %s", a.status, a.text)
	}
}

func TestCompletedAndPending(t *testing.T) {
	r := newRig(t, esimfly.Config{Opening: 5000, PendingEvery: 2, PendingLooks: 2, PendingFor: time.Minute})
	done := r.order(uuid.NewString(), seedOrder)
	if done.body["status"] != "completed" || done.body["newBalance"] != 47.28 || done.body["final_price"] != 2.72 || done.body["profit"] != 0.2 {
		t.Errorf("completed: %s", done.text)
	}
	esims := done.body["esims"].([]any)
	first := esims[0].(map[string]any)
	if first["isPending"] != false || first["status"] != "New" || len(first["iccid"].(string)) != 19 {
		t.Errorf("completed eSIM: %v", first)
	}
	a := r.order(uuid.NewString(), strings.Replace(seedOrder, `"quantity": 1`, `"quantity": 3`, 1))
	esims = a.body["esims"].([]any)
	first = esims[0].(map[string]any)
	if a.body["status"] != "pending_details" || len(esims) != 3 || first["isPending"] != true ||
		!strings.HasPrefix(first["iccid"].(string), "PENDING_B") || a.body["note"] == nil || a.body["newBalance"] != 39.12 {
		t.Fatalf("pending: %s", a.text)
	}
	ref := a.body["orderReference"].(string)
	status := func() string {
		return r.get(orderPath + "?orderReference=" + ref).body["order"].(map[string]any)["status"].(string)
	}
	if s1, s2 := status(), status(); s1 != "pending_details" || s2 != "pending_details" {
		t.Errorf("before its time: %s, %s", s1, s2)
	}
	r.clock.Add(time.Minute)
	if s := status(); s != "completed" {
		t.Errorf("after it: %s", s)
	}
	if a := r.get(orderPath + "?orderReference=nope"); a.status != 404 {
		t.Errorf("unknown reference: %d", a.status)
	}
	if a := r.get("/api/v1/business/balance"); a.body["balance"] != 39.12 {
		t.Errorf("balance: %s", a.text)
	}
	if a := r.get("/api/v1/business/packages?search=turkey"); len(a.body["data"].(map[string]any)["packages"].([]any)) != 2 {
		t.Errorf("packages: %s", a.text)
	}
}
