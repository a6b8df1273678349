package esimfly_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/sim/fault"
)

func TestRequestIDs(t *testing.T) {
	id := uuid.NewString()
	t.Run("refused for 24 hours, not replayed", func(t *testing.T) {
		r := newRig(t, esimfly.Config{})
		r.order(id, seedOrder)
		r.clock.Add(24*time.Hour - time.Second)
		if a := r.order(id, seedOrder); a.status != 409 || a.code() != "DUPLICATE_REQUEST" {
			t.Errorf("%d %s", a.status, a.text)
		}
		r.clock.Add(time.Second)
		if a := r.order(id, seedOrder); a.status != 200 || r.Orders() != 2 {
			t.Errorf("after 24 hours: %d %s, %d orders", a.status, a.text, r.Orders())
		}
	})
	t.Run("the other code", func(t *testing.T) {
		r := newRig(t, esimfly.Config{DuplicateCode: "AUTH_DUPLICATE_REQUEST_ID"})
		r.order(id, seedOrder)
		if a := r.order(id, seedOrder); a.status != 401 || a.code() != "AUTH_DUPLICATE_REQUEST_ID" {
			t.Errorf("%d %s", a.status, a.text)
		}
	})
	t.Run("a refused order burns it", func(t *testing.T) {
		r := newRig(t, esimfly.Config{})
		r.order(id, `{}`)
		if a := r.order(id, seedOrder); a.status != 409 {
			t.Errorf("%d %s", a.status, a.text)
		}
	})
	t.Run("or not", func(t *testing.T) {
		r := newRig(t, esimfly.Config{Burns: esimfly.BurnPlaced})
		r.order(id, `{}`)
		if a := r.order(id, seedOrder); a.status != 200 {
			t.Errorf("%d %s", a.status, a.text)
		}
		if a := r.order(id, seedOrder); a.status != 409 {
			t.Errorf("%d %s", a.status, a.text)
		}
	})
	t.Run("64 at once buy one", func(t *testing.T) {
		r := newRig(t, esimfly.Config{})
		var mu sync.Mutex
		got := map[int]int{}
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				a, err := r.send(http.MethodPost, orderPath, id, seedOrder, nil)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				got[a.status]++
			})
		}
		wg.Wait()
		if got[200] != 1 || got[409] != 63 || r.Purchases(id) != 1 || r.Orders() != 1 {
			t.Errorf("answers %v, %d purchases", got, r.Purchases(id))
		}
	})
	t.Run("duplicates as faults say", func(t *testing.T) {
		r := newRig(t, esimfly.Config{})
		first := r.order(id, seedOrder)
		r.Faults().MustAdd(fault.Rule{Kind: fault.DuplicateWithData, Times: 1})
		if a := r.order(id, seedOrder); a.status != 409 || a.body["orderReference"] != first.body["orderReference"] {
			t.Errorf("with data: %d %s", a.status, a.text)
		}
		r.Faults().MustAdd(fault.Rule{Kind: fault.DuplicateReplay, Order: id, Times: 1})
		if a := r.order(id, seedOrder); a.status != 200 || a.text != first.text {
			t.Errorf("replay: %d %s", a.status, a.text)
		}
		r.Faults().MustAdd(fault.Rule{Kind: fault.DuplicateBare, Code: "AUTH_DUPLICATE_REQUEST_ID"})
		if a := r.order(id, seedOrder); a.status != 401 || a.code() != "AUTH_DUPLICATE_REQUEST_ID" {
			t.Errorf("bare: %d %s", a.status, a.text)
		}
	})
}

func TestRateLimit(t *testing.T) {
	r := newRig(t, esimfly.Config{RateLimit: 3})
	for i := range 3 {
		a := r.get("/api/v1/business/balance")
		if a.status != 200 || a.header.Get("X-RateLimit-Limit") != "3" || a.header.Get("X-RateLimit-Remaining") != fmt.Sprint(2-i) ||
			a.header.Get("X-RateLimit-Reset") != fmt.Sprint(r.clock.Now().Add(time.Hour).Unix()) {
			t.Errorf("call %d: %d %v", i, a.status, a.header)
		}
	}
	id := uuid.NewString()
	if a := r.order(id, seedOrder); a.status != 429 || a.header.Get("Retry-After") == "" || r.Orders() != 0 {
		t.Errorf("the fourth: %d %v", a.status, a.header)
	}
	r.clock.Add(time.Hour)
	if a := r.order(id, seedOrder); a.status != 200 {
		t.Errorf("an hour later the same RequestID: %d %s", a.status, a.text)
	}
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		name   string
		rule   fault.Rule
		status int // 0: no answer
		code   string
		orders int
	}{
		{"reset", fault.Rule{Kind: fault.Reset}, 0, "", 0},
		{"lost reply", fault.Rule{Kind: fault.LostReply}, 0, "", 1},
		{"half body", fault.Rule{Kind: fault.HalfBody}, 0, "", 1},
		{"500 before", fault.Rule{Kind: fault.CodeBefore, Code: "ORDER_PROCESSING_ERROR"}, 500, "ORDER_PROCESSING_ERROR", 0},
		{"500 after", fault.Rule{Kind: fault.CodeAfter, Code: "ORDER_PROCESSING_ERROR"}, 500, "ORDER_PROCESSING_ERROR", 1},
		{"504 after", fault.Rule{Kind: fault.StatusAfter, Status: 504}, 504, "", 1},
		{"HTML", fault.Rule{Kind: fault.HTMLAfter}, 200, "", 1},
		{"10 MiB", fault.Rule{Kind: fault.HugeBody}, 200, "", 1},
		{"rate limit", fault.Rule{Kind: fault.TooManyRequests}, 429, "RATE_LIMIT_EXCEEDED", 0},
		{"no funds", fault.Rule{Kind: fault.NoFunds}, 400, "INSUFFICIENT_BALANCE", 0},
		{"out of stock", fault.Rule{Kind: fault.OutOfStock}, 400, "INVALID_PACKAGE", 0},
		{"any code", fault.Rule{Kind: fault.CodeBefore, Code: "NEW_ONE", Status: 422}, 422, "NEW_ONE", 0},
		{"another path", fault.Rule{Kind: fault.Reset, Path: "/balance"}, 200, "", 1},
		{"another order", fault.Rule{Kind: fault.Reset, Order: "x"}, 200, "", 1},
		{"the second only", fault.Rule{Kind: fault.Reset, After: 1}, 200, "", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, esimfly.Config{})
			r.Faults().MustAdd(tc.rule)
			a, err := r.send(http.MethodPost, orderPath, uuid.NewString(), seedOrder, nil)
			if (err != nil) != (tc.status == 0) {
				t.Fatalf("error %v, want an answer: %v", err, tc.status != 0)
			}
			if err == nil && (a.status != tc.status || a.code() != tc.code) {
				t.Errorf("%d %.200s, want %d %s", a.status, a.text, tc.status, tc.code)
			}
			if r.Orders() != tc.orders {
				t.Errorf("%d orders, want %d", r.Orders(), tc.orders)
			}
			if tc.rule.Kind == fault.HugeBody && len(a.text) != 10<<20 {
				t.Errorf("%d bytes", len(a.text))
			}
		})
	}
}

func TestHooksKeepTheLedger(t *testing.T) {
	r := newRig(t, esimfly.Config{Opening: 10_000})
	a := r.order(uuid.NewString(), seedOrder)
	ref := a.body["orderReference"].(string)
	r.TopUp(500)
	if _, err := r.Plant(esimfly.Order{Quantity: 2}, true); err != nil {
		t.Fatal(err)
	}
	if err := r.SetTotal(ref, 300, true); err != nil {
		t.Fatal(err)
	}
	if err := r.Refund(ref); err != nil {
		t.Fatal(err)
	}
	if err := r.Refund(ref); err == nil {
		t.Error("refunded twice")
	}
	book := r.Book()
	var sum int64
	for _, e := range book.Ledger {
		if sum += e.Amount; e.Balance != sum {
			t.Errorf("%+v, the lines so far make %d", e, sum)
		}
	}
	if want := int64(10_000 + 500 - 2*272); sum != want || book.Balance != want {
		t.Errorf("balance %d, lines %d, want %d", book.Balance, sum, want)
	}
	resp, err := http.Get(r.url + "/_sim/book")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var over esimfly.Book
	if err := json.NewDecoder(resp.Body).Decode(&over); err != nil || len(over.Orders) != 2 || over.Balance != book.Balance {
		t.Errorf("/_sim/book: %v, %+v", err, over)
	}
}
