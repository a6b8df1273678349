package orderer

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"

	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/supplier"
)

// 1,000 calls an hour, over all replicas.
func TestCallBudgetIsSharedByReplicas(t *testing.T) {
	w := newWorld(t)
	budgets := []*budget{}
	for range 3 {
		b := w.worker.newBudget(w.accounts[1])
		b.limit = 100
		budgets = append(budgets, b)
	}
	taken := 0
	var until time.Time
	for i := 0; i < 300; i++ {
		u, err := budgets[i%3].take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if u.IsZero() {
			taken++
		} else {
			until = u
		}
	}
	if taken != 100 {
		t.Errorf("%d calls allowed, want 100", taken)
	}
	if d := time.Until(until); d <= 0 || d > time.Hour {
		t.Errorf("the next call is due in %s, want within the hour", d)
	}
	// A replica died with calls in hand: the supplier says that 7 are left.
	budgets[1].remaining(7, time.Time{})
	for range 7 {
		if u, err := budgets[1].take(t.Context()); err != nil || !u.IsZero() {
			t.Fatalf("a call that the supplier says is left has to wait until %s: %v", u, err)
		}
	}
	if u, err := budgets[2].take(t.Context()); err != nil || u.IsZero() {
		t.Errorf("one more than is left: %s, %v", u, err)
	}
	third := w.worker.newBudget(w.accounts[1])
	third.limit = 100
	if err := budgets[1].giveBack(t.Context()); err != nil { // nothing in hand, nothing back
		t.Fatal(err)
	}
	if u, err := third.take(t.Context()); err != nil || u.IsZero() {
		t.Errorf("a call out of nothing: %s, %v", u, err)
	}
	budgets[0].remaining(0, time.Now().Add(2*time.Hour))
	if u, err := budgets[0].take(t.Context()); err != nil || time.Until(u) < time.Hour {
		t.Errorf("the supplier's own reset is not kept: %s, %v", u, err)
	}
}

// A replica that ends in order leaves what it took and did not use to the others.
func TestCallBudgetIsGivenBack(t *testing.T) {
	w := newWorld(t)
	for i := range 200 { // each takes a part of 20, of 1,000, and uses one
		b := w.worker.newBudget(w.accounts[1])
		if until, err := b.take(t.Context()); err != nil || !until.IsZero() {
			t.Fatalf("replica %d has no call left: %s, %v", i, until, err)
		}
		if err := b.giveBack(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Others buy with the same key: what the supplier says is left is what all replicas
// share, and its window is theirs.
func TestCallBudgetFollowsTheSuppliersHeaders(t *testing.T) {
	w := newWorld(t)
	first, second := w.worker.newBudget(w.accounts[1]), w.worker.newBudget(w.accounts[1])
	take := func(b *budget) (until time.Time) {
		t.Helper()
		until, err := b.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return until
	}
	take(first)
	reset := time.Now().Add(10 * time.Minute)
	first.remaining(25, reset) // of 1,000
	taken := 0
	var until time.Time
	for range 1000 {
		b := []*budget{first, second}[taken%2]
		if until = take(b); !until.IsZero() {
			if until = take(first); !until.IsZero() {
				break
			}
		}
		taken++
	}
	if taken < 20 || taken > 45 { // what a replica has in hand may be beside it
		t.Errorf("%d calls after the supplier said that 25 are left", taken)
	}
	if until.Sub(reset).Abs() > time.Minute {
		t.Errorf("the next call at %s, want the supplier's reset %s", until, reset)
	}
}

// What an answer's headers say comes to the budget of its account, and to no other.
func TestLimitHeadersReachTheirAccount(t *testing.T) {
	w := newWorld(t)
	stub := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("RT-AccessCode") == "second" {
			rw.Header().Set("X-RateLimit-Remaining", "7")
		}
		_, _ = io.WriteString(rw, `{"success":true,"data":{"balance":"1.00","currency":"USD"}}`)
	}))
	t.Cleanup(stub.Close)
	path := filepath.Join(t.TempDir(), "accounts.yaml")
	if err := os.WriteFile(path, []byte("esimfly: {one: {access_code: first, secret_key: x}, two: {access_code: second, secret_key: x}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	var cfg Config
	if err := service.LoadConfig([]string{"ACCOUNTS_FILE=" + path, "ESIMFLY_BASE_URL=" + stub.URL}, &cfg); err != nil {
		t.Fatal(err)
	}
	var worker *Worker
	metrics := NewMetrics(prometheus.NewRegistry())
	accounts, err := NewAccounts(&cfg, metrics, func(supplier, account string, remaining int, reset time.Time) {
		worker.LimitSeen(supplier, account, remaining, reset)
	})
	if err != nil {
		t.Fatal(err)
	}
	if worker, err = New(cfg, Deps{Bus: w.bus, Ledger: w.ledger, Accounts: accounts, Metrics: metrics, Work: t.Context()}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"one": 0, "two": 7} {
		a, _ := worker.account(order.ESIMFly, name)
		if _, err := a.Client.Balance(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := a.budget.told; got.left != want || got.at.IsZero() != (name == "one") {
			t.Errorf("account %s was told %+v, want %d calls left", name, got, want)
		}
	}
}

// A header that names a year far off does not park the account until then.
func TestCallBudgetDoesNotBelieveAnAbsurdReset(t *testing.T) {
	w := newWorld(t)
	b := w.worker.newBudget(w.accounts[1])
	if until, err := b.take(t.Context()); err != nil || !until.IsZero() {
		t.Fatalf("%s, %v", until, err)
	}
	b.remaining(0, time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC))
	until, err := b.take(t.Context())
	if err != nil || until.IsZero() || time.Until(until) > time.Hour {
		t.Errorf("the next call at %s, %v; want the window's end", until, err)
	}
}

// Where nothing is counted, "too many" said to one replica keeps the others back too,
// and a shorter pause does not cut a longer one short.
func TestTooManyIsHeardByAllReplicas(t *testing.T) {
	w := newWorld(t)
	pause := func(b *budget) time.Duration {
		t.Helper()
		until, err := b.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return max(0, time.Until(until))
	}
	for i, a := range w.accounts {
		t.Run(a.Supplier, func(t *testing.T) {
			first, second, third := w.worker.newBudget(a), w.worker.newBudget(a), w.worker.newBudget(a)
			if (first.limit == 0) != (i == 0) {
				t.Fatalf("a limit of %d", first.limit)
			}
			if d := pause(first); d > 0 {
				t.Errorf("a pause of %s that nobody asked for", d)
			}
			first.busy(time.Minute)
			if d := pause(second); d < 50*time.Second {
				t.Errorf("a replica that did not hear it pauses for %s, want a minute", d)
			}
			third.busy(0)
			third.busy(time.Second)
			if d := pause(w.worker.newBudget(a)); d < 50*time.Second {
				t.Errorf("a pause of a second cut the minute down to %s", d)
			}
		})
	}
}

// An order in doubt that finds no call left does not wait for the end of the window:
// the supplier may say before that it counted fewer.
func TestWhoFindsNoCallLeftComesAgain(t *testing.T) {
	w := newWorld(t)
	a, _ := w.worker.account(order.ESIMFly, "default")
	a.budget.limit = 1
	sent := time.Now().Add(-time.Hour)
	cur := &ledger.Entry{Record: order.Record{State: order.Unknown, Certainty: order.CertainUnknown, Supplier: order.ESIMFly, Product: order.ProductESIM,
		Account: "default", Request: flyOrder("doubt"), FirstSentAt: &sent, LastSentAt: &sent}}
	if s, err := w.worker.budgetGate(t.Context(), a); err != nil || s != nil {
		t.Fatalf("the only call: %+v, %v", s, err)
	}
	s, err := w.worker.look(t.Context(), a, cur)
	if soon := time.Now().Add(w.worker.cfg.WaitMax); err != nil || s.due.IsZero() || s.due.After(soon) {
		t.Errorf("comes again at %s, want it by %s; %v", s.due, soon, err)
	}
	a.budget.remaining(900, time.Time{})
	a.budget.limit = 1000
	if s, err := w.worker.budgetGate(t.Context(), a); err != nil || s != nil {
		t.Errorf("900 are left: %+v, %v", s, err)
	}
}

// At a supplier that is dead orders come by again and again and no call is made: none
// is taken out of the hour's.
func TestAnOpenBreakerCostsNoCalls(t *testing.T) {
	w := newWorld(t)
	a, _ := w.worker.account(order.ESIMFly, "default")
	a.breaker = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{Timeout: time.Hour, ReadyToTrip: func(gobreaker.Counts) bool { return true }})
	done, err := a.breaker.Allow()
	if err != nil {
		t.Fatal(err)
	}
	done(io.ErrUnexpectedEOF) // which opens it
	a.budget.limit, a.budget.left, a.budget.until = 1000, 100, time.Now().Add(time.Hour)
	sent := time.Now().Add(-time.Hour)
	for i := range 10 {
		fresh := &ledger.Entry{New: true, Record: order.Record{OrderID: fmt.Sprint("d-", i), Supplier: order.ESIMFly, Product: order.ProductESIM, Account: "default", Request: flyOrder(fmt.Sprint("d-", i))}}
		proof, _ := fresh.NotPlaced()
		if s, err := w.worker.place(t.Context(), a, fresh, supplier.PermitNew(proof)); err != nil || s.WaitingFor != forBreaker {
			t.Fatalf("%+v, %v", s.Record, err)
		}
		doubted := &ledger.Entry{Record: order.Record{State: order.Unknown, Certainty: order.CertainUnknown, Supplier: order.ESIMFly, Product: order.ProductESIM,
			Account: "default", Request: flyOrder("doubt"), SupplierOrderID: "7", FirstSentAt: &sent, LastSentAt: &sent}}
		if s, err := w.worker.look(t.Context(), a, doubted); err != nil || s.due.IsZero() {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	if a.budget.left != 100 {
		t.Errorf("%d calls are left of 100, and none was made", a.budget.left)
	}
}

// What is asked beside the orders themselves is a call like any other: it comes out of
// the budget, and not at all while the supplier is paused.
func TestTheBalanceIsAskedWithinTheBudget(t *testing.T) {
	w := newWorld(t)
	var asked atomic.Int64
	w.front(func(_ string, _ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/balance") {
			asked.Add(1)
		}
		return false
	})
	w.worker.switches.on = map[string]bool{}
	a, _ := w.worker.account(order.ESIMFly, "default")
	held := func() *order.Money {
		r := order.Record{State: order.Held, Supplier: order.ESIMFly}
		w.worker.describe(t.Context(), a, &r)
		return r.Balance
	}
	if held() == nil || asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
	w.worker.switches.on["esimfly.pause"] = true
	if held() != nil || asked.Load() != 1 {
		t.Errorf("asked %d times, the last while the supplier is paused", asked.Load())
	}
	w.worker.switches.on["esimfly.pause"] = false
	a.budget.limit, a.budget.left = 1, 0 // used up by the first
	if held() != nil || asked.Load() != 1 {
		t.Errorf("asked %d times, the last without a call left", asked.Load())
	}
	a.budget.left, a.budget.until = 1, time.Now().Add(time.Hour) // which the price takes
	a.setFunds(w.worker.now())
	cur := flyOrder("poor")
	if _, s, err := w.worker.priceGate(t.Context(), a, &order.Record{Supplier: order.ESIMFly, Product: order.ProductESIM, Account: "default", Request: cur}, false); err != nil || s == nil || s.why != forBudget {
		t.Errorf("the funds were looked for as %+v, %v", s, err)
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times, the last without a call left", asked.Load())
	}
}
