package eiotclub_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/simline/simline/internal/sim/eiotclub"
)

// clock is a clock that a test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)} }

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

// rig is a simulator behind a real HTTP server, with a clock.
type rig struct {
	*eiotclub.Sim
	t     *testing.T
	clock *clock
	url   string
}

func newRig(t *testing.T, cfg eiotclub.Config) *rig {
	t.Helper()
	r := &rig{t: t, clock: newClock()}
	cfg.Clock, cfg.Seed = r.clock.Now, 7
	r.Sim = eiotclub.New(cfg)
	srv := httptest.NewServer(r.Handler())
	t.Cleanup(func() { srv.Close(); r.Close() })
	r.url = srv.URL
	return r
}

type obj = map[string]any

// answer is a decoded reply; codes as the text they have in JSON, quotes included.
type answer struct {
	Code    json.RawMessage
	Message string
	Total   *int
	Data    json.RawMessage
}

func (a answer) code() string { return string(a.Code) }

func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Data, v); err != nil {
		t.Fatalf("data %s: %v", a.Data, err)
	}
}

// signed adds the system parameters and the signature to a call's parameters, as the document says.
func (r *rig) signed(p obj) []byte {
	r.t.Helper()
	full := obj{"appkey": r.AppKey(), "timestamp": r.clock.Now().Unix(), "nonce": 12345}
	for k, v := range p {
		full[k] = v
	}
	text := map[string]string{}
	for k, v := range full {
		text[k] = fmt.Sprint(v)
	}
	if _, given := full["sign"]; !given {
		full["sign"] = eiotclub.Sign(text, r.Secret())
	}
	b, err := json.Marshal(full)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func (r *rig) post(path string, body []byte) (*http.Response, error) {
	return http.Post(r.url+path, "application/json;charset=utf-8", bytes.NewReader(body))
}

// call makes a signed call and wants an HTTP 200 with an envelope.
func (r *rig) call(path string, p obj) answer {
	r.t.Helper()
	return r.raw(path, r.signed(p))
}

func (r *rig) raw(path string, body []byte) answer {
	r.t.Helper()
	resp, err := r.post("/api/v3"+path, body)
	if err != nil {
		r.t.Fatalf("%s: %v", path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("%s: status %d, %v: %s", path, resp.StatusCode, err, b)
	}
	var a answer
	if err := json.Unmarshal(b, &a); err != nil {
		r.t.Fatalf("%s: %v in %s", path, err, b)
	}
	return a
}

func (r *rig) want(code string, a answer) answer {
	r.t.Helper()
	if a.code() != code {
		r.t.Fatalf("code %s (%s), want %s", a.Code, a.Message, code)
	}
	return a
}

// buyPackage buys the default package for the default card and returns its orderId.
func (r *rig) buyPackage(out string) int64 {
	r.t.Helper()
	a := r.want(`"200"`, r.call("/package/orderPackage", obj{"iccid": eiotclub.SeedICCID, "packageCode": eiotclub.PackageCode, "outTradeNo": out}))
	var d struct {
		OrderNumber string
		OrderID     json.Number
	}
	a.into(r.t, &d)
	id, err := strconv.ParseInt(d.OrderID.String(), 10, 64)
	if err != nil || d.OrderNumber == "" {
		r.t.Fatalf("data %s: orderId must be a number and orderNumber be there", a.Data)
	}
	return id
}
