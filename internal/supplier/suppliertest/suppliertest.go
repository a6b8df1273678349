// Package suppliertest is the conformance suite of supplier clients: what the
// engine relies on, whoever the supplier is.
//
// Input: a client and a supplier that behaves (a simulator). Output: a test that
// fails. It must not know any supplier: what differs between them comes in by
// Harness.
package suppliertest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// Client is what the engine uses of a supplier's client.
type Client interface {
	Place(context.Context, supplier.Purchase) (supplier.Placement, error)
	Lookup(context.Context, supplier.Query) (supplier.Sighting, error)
	Balance(context.Context) (order.Money, error)
	Price(context.Context, order.Request) (order.Money, error)
	RequestID(orderID string, round int) string
	Rules(product string) (supplier.Rules, bool)
}

// Refusal is an answer that says no, and what it must be taken for.
type Refusal struct {
	Status int // 0 is 200
	Header http.Header
	Body   string
	Kind   supplier.Kind
	Code   string
}

// Harness is one supplier and product under test.
type Harness struct {
	// Supplier behaves as documented. It is fresh for each call of Run.
	Supplier http.Handler
	// Client makes a client of the account that Supplier knows.
	Client func(baseURL string, http *supplier.HTTP) Client
	// Request is a valid request under an order id; Wrong is one that the supplier
	// refuses as it stands.
	Request func(orderID string) order.Request
	Wrong   func(orderID string) order.Request
	// Bought is how many orders the supplier's book has under our order id.
	Bought func(orderID string) int
	// Balance is the account's balance by the supplier's own book.
	Balance func() order.Money
	// Price of Request, and whether the supplier can tell it by itself.
	Price    order.Money
	HasPrice bool
	// ReplyState is what a good reply alone proves.
	ReplyState order.State
	// Refusals are the supplier's, by name.
	Refusals map[string]Refusal
}

// rig is a client before a front before the supplier.
type rig struct {
	h      Harness
	front  *front
	url    string
	client Client

	mu    sync.Mutex
	codes []string // as observed for metrics
}

func newRig(t *testing.T, h Harness, behind http.Handler, timeout time.Duration) *rig {
	t.Helper()
	r := &rig{h: h, front: &front{behind: behind}}
	server := httptest.NewUnstartedServer(r.front)
	server.Config.ErrorLog = nil
	server.Start()
	t.Cleanup(server.Close)
	r.url = server.URL
	httpClient := supplier.NewHTTP(supplier.HTTPConfig{Timeout: timeout, Observe: func(_, code string, took time.Duration) {
		if took < 0 {
			t.Errorf("a call took %v", took)
		}
		r.mu.Lock()
		r.codes = append(r.codes, code)
		r.mu.Unlock()
	}})
	t.Cleanup(httpClient.CloseIdle)
	r.client = h.Client(server.URL, httpClient)
	return r
}

func (r *rig) observed() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.codes...)
}

func (r *rig) place(t *testing.T, id string) (supplier.Placement, error) {
	return r.client.Place(t.Context(), supplier.Purchase{Request: r.h.Request(id)})
}

// failure is err as the *supplier.Error that it must be.
func failure(t *testing.T, err error) *supplier.Error {
	t.Helper()
	var e *supplier.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a *supplier.Error", err)
	}
	if len(e.Message) > 500 {
		t.Errorf("message of %d bytes", len(e.Message))
	}
	return e
}

// Run holds a client to what the engine relies on.
func Run(t *testing.T, h Harness) {
	r := newRig(t, h, h.Supplier, 10*time.Second)
	rules, ok := r.client.Rules(h.Request("x").Product)
	if !ok {
		t.Fatal("no rules for the product")
	}
	t.Run("purchase, repeat, look-up", func(t *testing.T) { purchase(t, r, rules) })
	t.Run("many at once, one purchase each", func(t *testing.T) { atOnce(t, r) })
	t.Run("wrong request", func(t *testing.T) { wrong(t, r) })
	t.Run("money", func(t *testing.T) { money(t, r) })
	t.Run("damaged answers are unknown", func(t *testing.T) { damaged(t, h, r) })
	t.Run("look-up of what is not there", func(t *testing.T) { notThere(t, r, rules) })
	t.Run("damaged look-ups find nothing out", func(t *testing.T) { damagedLookups(t, h, rules) })
	t.Run("never sent", func(t *testing.T) { neverSent(t, h) })
	t.Run("refusals by the table", func(t *testing.T) { refusals(t, h) })
	t.Run("rules", func(t *testing.T) { checkRules(t, rules, h) })
}
