package orderer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/sony/gobreaker/v2"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	eiotclubsim "github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/wire"
)

// A wrong key stops the account: a few calls, not one for each order.
func TestWrongSetUpStopsTheAccountAlone(t *testing.T) {
	w := newWorld(t)
	var calls atomic.Int64
	e := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/balance") { // asked once beside the orders
			calls.Add(1)
		}
		w.eiotclub.Handler().ServeHTTP(rw, r)
	}))
	t.Cleanup(e.Close)
	w.accounts[0].Client = eiotclub.New(eiotclub.Config{BaseURL: e.URL, AppKey: w.eiotclub.AppKey(), Secret: "wrong", HTTP: supplier.NewHTTP(supplier.HTTPConfig{Timeout: w.timing.Timeout})})
	w.worker = w.newWorker(func(c *Config, _ []Account) { c.WaitMax = time.Minute })
	wait := w.events()
	w.run()
	for i := range 30 { // each for a card of its own: none waits for another's
		w.publish(esimOrder(fmt.Sprint("k", i)))
	}
	for i := range 30 {
		if got := wait(fmt.Sprint("k", i), order.Waiting); got.WaitingFor != "setup" {
			t.Fatalf("waits for %q", got.WaitingFor)
		}
	}
	if n := calls.Load(); n > 16 { // those that were in work together when the first was refused
		t.Errorf("%d calls with a wrong key", n)
	}
	w.publish(flyOrder("other"))
	wait("other", order.Fulfilled)
}

// An account that may ask and may not buy stays stopped, and the alert with it, while
// its questions are answered; what a question was refused for, another's answer clears.
func TestOnlyAPurchaseShowsThatAnAccountMayBuy(t *testing.T) {
	w := newWorld(t, func(c *Config, _ []Account) { c.WaitMax = time.Minute }) // in which no order tries
	a, _ := w.worker.account(order.EIOTCLUB, "default")
	stopped := w.worker.m.stopped.WithLabelValues(order.EIOTCLUB, "default")
	answer := func(err error) func(context.Context) error { return func(context.Context) error { return err } }
	forbidden := &supplier.Error{Kind: supplier.Setup, Code: "900910", Sent: true}
	check := func(when string, want float64) {
		t.Helper()
		if _, closed := a.stop(); closed != (want == 1) || testutil.ToFloat64(stopped) != want {
			t.Errorf("%s: stopped %t, the metric says %.0f", when, closed, testutil.ToFloat64(stopped))
		}
	}
	a.learn(forbidden, true)
	check("a purchase was refused", 1)
	for _, err := range []error{nil, supplier.ErrNoLookup, &supplier.Error{Kind: supplier.Refused, Code: "42004", Sent: true}} {
		_ = a.call(t.Context(), answer(err))
		check(fmt.Sprint("a question was answered with ", err), 1)
	}
	a.learn(nil, true)
	check("a purchase went through", 0)
	_ = a.call(t.Context(), answer(forbidden))
	check("a question was refused", 1)
	_ = a.call(t.Context(), answer(nil))
	check("a question was answered", 0)
	a.learn(forbidden, true)
	a.learn(&supplier.Error{Kind: supplier.Refused, Code: "41018", Sent: true}, true)
	check("a purchase was refused for what it asked", 0)
}

// A clock that is off is measured by the refusal's Date and corrected for.
func TestClockDriftIsCorrected(t *testing.T) {
	w := newWorld(t)
	ahead := eiotclubsim.New(eiotclubsim.Config{Seed: 2, Clock: func() time.Time { return time.Now().Add(20 * time.Minute) }})
	t.Cleanup(ahead.Close)
	e := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Date", time.Now().Add(20*time.Minute).UTC().Format(http.TimeFormat))
		ahead.Handler().ServeHTTP(rw, r)
	}))
	t.Cleanup(e.Close)
	w.accounts[0].Client = eiotclub.New(eiotclub.Config{BaseURL: e.URL, AppKey: ahead.AppKey(), Secret: ahead.Secret(), HTTP: supplier.NewHTTP(supplier.HTTPConfig{Timeout: w.timing.Timeout})})
	w.worker = w.newWorker()
	wait := w.events()
	w.run()
	w.publish(packageOrder("clock"))
	wait("clock", order.Fulfilled)
	if n := ahead.Purchases("clock"); n != 1 {
		t.Errorf("bought %d times", n)
	}
}

// slowShop answers each purchase after a moment and counts how many calls for one
// card are under way together.
type slowShop struct {
	mu      sync.Mutex
	now     map[string]int
	most    int
	sold    int
	overall int
	all     int
}

func (s *slowShop) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	var body struct {
		ICCID string `json:"iccid"`
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	if strings.HasSuffix(r.URL.Path, "/balance") {
		fmt.Fprint(rw, `{"code":"200","data":{"balance":"9.99","currency":"USD"}}`)
		return
	}
	s.mu.Lock()
	s.now[body.ICCID]++
	s.all++
	s.most, s.overall = max(s.most, s.now[body.ICCID]), max(s.overall, s.all)
	s.sold++
	n := s.sold
	s.mu.Unlock()
	<-time.After(15 * time.Millisecond) // the shop's own time
	s.mu.Lock()
	s.now[body.ICCID]--
	s.all--
	s.mu.Unlock()
	fmt.Fprintf(rw, `{"code":"200","message":"ok","data":{"orderNumber":"N%[1]d","orderId":%[1]d}}`, n)
}

func TestOneCardIsServedByOneCallAtATimeOverAllReplicas(t *testing.T) {
	w := newWorld(t)
	shop := &slowShop{now: map[string]int{}}
	e := httptest.NewServer(shop)
	t.Cleanup(e.Close)
	w.accounts[0].Client = eiotclub.New(eiotclub.Config{BaseURL: e.URL, AppKey: "1", Secret: "2", HTTP: supplier.NewHTTP(supplier.HTTPConfig{Timeout: 30 * time.Second})})
	slow := func(c *Config, _ []Account) {
		c.Timing.Timeout, c.Timing.LookInterval = 30*time.Second, time.Minute
	}
	for _, worker := range []*Worker{w.newWorker(slow), w.newWorker(slow), w.newWorker(slow)} {
		w.worker = worker
		w.run()
	}
	wait := w.events()
	const n = 40
	for i := range n {
		r := packageOrder(fmt.Sprint("x", i))
		r.ICCID = fmt.Sprintf("89883086501005250%02d", i%2)
		w.publish(r)
	}
	for i := range n {
		wait(fmt.Sprint("x", i), order.Placed)
	}
	if shop.most != 1 || shop.sold != n {
		t.Errorf("%d calls for one card at once, %d calls for %d orders", shop.most, shop.sold, n)
	}
	if shop.overall < 2 {
		t.Error("two cards were never served at once")
	}
}

// Orders for a card whose call hangs leave the queue's places to those for other cards.
func TestOrdersThatWaitForACardKeepNobodyOut(t *testing.T) {
	w := newWorld(t)
	cons, err := w.bus.JS.Consumer(t.Context(), bus.StreamOrders, bus.ConsumerOrderer(order.EIOTCLUB))
	if err != nil {
		t.Fatal(err)
	}
	few := cons.CachedInfo().Config
	few.MaxAckPending = 4
	if _, err := w.bus.JS.UpdateConsumer(t.Context(), bus.StreamOrders, few); err != nil {
		t.Fatal(err)
	}
	free, hangs := make(chan struct{}), make(chan struct{}, 20)
	var priced atomic.Int64
	shop := &slowShop{now: map[string]int{}}
	e := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.HasSuffix(r.URL.Path, "/listOrderPackageByIccid") {
			priced.Add(1)
			fmt.Fprintf(rw, `{"code":"200","data":[{"packageCode":%q,"price":"0.50"}]}`, eiotclubsim.PackageCode)
			return
		}
		if strings.Contains(string(body), "8988308650100599901") {
			hangs <- struct{}{}
			<-free
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		shop.ServeHTTP(rw, r)
	}))
	t.Cleanup(e.Close)
	w.accounts[0].Client = eiotclub.New(eiotclub.Config{BaseURL: e.URL, AppKey: "1", Secret: "2", HTTP: supplier.NewHTTP(supplier.HTTPConfig{Timeout: 30 * time.Second})})
	w.worker = w.newWorker(func(c *Config, _ []Account) { c.Timing.Timeout, c.Timing.LookInterval = 30*time.Second, time.Minute })
	wait := w.events()
	w.run()
	letGo := sync.OnceFunc(func() { close(free) })
	t.Cleanup(letGo)
	const n = 6
	for i := range n {
		r := packageOrder(fmt.Sprint("one", i))
		r.ICCID = "8988308650100599901"
		limit := mustMoney("5.00", "USD")
		r.MaxTotal = &limit
		w.publish(r)
	}
	<-hangs
	short, soon := packageOrder("short"), time.Now().Add(time.Second)
	short.ICCID, short.ExpiresAt = "8988308650100599901", &soon
	w.publish(short)
	w.publish(packageOrder("other"))
	wait("other", order.Placed)
	wait("short", order.Expired) // its time is over, whatever its card waits for
	if n := priced.Load(); n != 1 {
		t.Errorf("asked for %d prices while one order for the card is in flight", n)
	}
	letGo()
	for i := range n {
		wait(fmt.Sprint("one", i), order.Placed)
	}
	if shop.most != 1 || shop.sold != n+1 {
		t.Errorf("%d calls for one card at once, %d calls for %d orders", shop.most, shop.sold, n+1)
	}
}

func TestStatusAnswersTheLastEvent(t *testing.T) {
	w := newWorld(t)
	wait := w.events()
	w.run()
	ask := func(body string) []byte {
		t.Helper()
		m, err := w.bus.NC.Request(bus.SubjectStatus, []byte(body), patience)
		if err != nil {
			t.Fatal(err)
		}
		return m.Data
	}
	w.publish(packageOrder("st"))
	want := wait("st", order.Fulfilled)
	if got := string(ask(`{"order_id":"nobody"}`)); got != `{"found": false}` {
		t.Errorf("an unknown order: %s", got)
	}
	got, _, err := wire.DecodeOrderEvent(ask(`{"order_id":"st"}`))
	if err != nil || got.Writer != want.Writer {
		t.Errorf("%+v, %v; want the event of %s", got, err, want.State)
	}
	if got := ask(`{"order_id":"a b"}`); len(got) != 0 {
		t.Errorf("a bad id: %s", got)
	}
}

// slowReads counts the reads of a ledger that are under way together, each until freed.
type slowReads struct {
	Ledger
	now, most, done atomic.Int64
	free            chan struct{}
}

func (s *slowReads) Raw(context.Context, string) ([]byte, bool, error) {
	n := s.now.Add(1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	<-s.free
	s.now.Add(-1)
	s.done.Add(1)
	return nil, false, nil
}

// A flood of questions is answered a bounded number at a time.
func TestStatusIsAnsweredSoManyAtOnce(t *testing.T) {
	w := newWorld(t)
	slow := &slowReads{Ledger: w.ledger, free: make(chan struct{})}
	w.worker.ledger = slow
	stop, err := w.worker.serveStatus()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := w.bus.NC.Flush(); err != nil { // the service listens before the first question
		t.Fatal(err)
	}
	const flood = 5 * statusAtOnce
	asking := w.server.Connect(w.server.URL())
	for range flood {
		if err := asking.NC.PublishRequest(bus.SubjectStatus, "nobody.hears", []byte(`{"order_id":"x"}`)); err != nil {
			t.Fatal(err)
		}
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); !ok(); tick(t) {
			if time.Now().After(deadline) {
				t.Fatalf("not %s: %d in work, %d done", what, slow.now.Load(), slow.done.Load())
			}
		}
	}
	until("full", func() bool { return slow.now.Load() == statusAtOnce })
	close(slow.free)
	until("all answered", func() bool { return slow.done.Load() == flood })
	if n := slow.most.Load(); n != statusAtOnce {
		t.Errorf("%d at once, want %d", n, statusAtOnce)
	}
}

// Three replicas share the queue and the index; one is killed in the middle.
func TestReplicasShareAndOneDies(t *testing.T) {
	w := newWorldAt(t, impatient())
	var stops []context.CancelFunc
	ends := make(chan error, 3)
	for range 3 {
		work, kill := context.WithCancel(context.Background())
		worker := w.newWorker()
		worker.work = work
		ctx, stop := context.WithCancel(context.Background())
		stops = append(stops, func() { kill(); stop() })
		go func() { ends <- worker.Run(ctx) }()
	}
	t.Cleanup(func() {
		for _, stop := range stops {
			stop()
		}
		for range 3 {
			<-ends
		}
	})
	wait := w.events()
	const n = 60
	requests := map[string]order.Request{}
	for i := range n {
		r := products[i%len(products)].request(fmt.Sprint("m", i))
		requests[r.OrderID] = r
		w.publish(r)
		if i == n/3 {
			stops[0]() // its orders in hand are lost to it at once
		}
	}
	for id, r := range requests {
		got := wait(id, order.Fulfilled, order.Held)
		if bought := w.bought(r); bought > 1 || got.State == order.Fulfilled && bought != 1 {
			t.Errorf("order %s is %s and was bought %d times", id, got.State, bought)
		}
	}
}

// What is no call is no word of the supplier: it neither closes a breaker nor keeps one
// from opening.
func TestNoCallTellsTheBreakerNothing(t *testing.T) {
	timing := quickTiming
	timing.WaitMax = 50 * time.Millisecond // of a breaker's pause
	m := NewMetrics(prometheus.NewRegistry())
	a := newAccount(Account{Supplier: order.EIOTCLUB, Name: "default"}, timing, m, &budget{}, time.Now)
	end := func(err error) {
		t.Helper()
		done, refused := a.breaker.Allow()
		if refused != nil {
			t.Fatal(refused)
		}
		done(a.learn(err, false))
	}
	fails := &supplier.Error{Kind: supplier.Unknown, Sent: true}
	for range breakerFailures - 1 {
		end(fails)
		end(supplier.ErrNoLookup)
	}
	end(fails)
	// Of the metric, since who asks the breaker itself ends its pause once that is over.
	if testutil.ToFloat64(m.breaker.WithLabelValues(order.EIOTCLUB, "default")) != 1 {
		t.Fatalf("%d failures in a row, and the breaker is not open", breakerFailures)
	}
	for a.breaker.State() == gobreaker.StateOpen {
		runtime.Gosched()
	}
	for range 3 {
		end(supplier.ErrNoLookup)
		if a.breaker.State() != gobreaker.StateHalfOpen {
			t.Fatalf("closed by what was no call: %s", a.breaker.State())
		}
	}
	end(nil)
	if a.breaker.State() != gobreaker.StateClosed {
		t.Errorf("after an answer the breaker is %s", a.breaker.State())
	}
}
