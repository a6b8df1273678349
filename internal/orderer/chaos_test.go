package orderer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	eiotclubsim "github.com/simline/simline/internal/sim/eiotclub"
	esimflysim "github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/sim/fault"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/supplier/esimfly"
)

// The lab runs one order at a time through the real engine, the real ledger on a
// real NATS server and the real clients against the simulators, on a clock of its
// own. At every durable step the process may die before or after it, fail, or be
// stopped while another one takes the order up. What comes of it is held against
// the simulators' books, and against what the engine may do at each call.

// lab is what all runs share.
type lab struct {
	t        testing.TB
	bus      *bus.Bus
	ledger   *ledger.Ledger
	open     jetstream.KeyValue
	budgets  jetstream.KeyValue
	eiotclub *eiotclubsim.Sim
	esimfly  *esimflysim.Sim
	clients  map[string]Client
	metrics  *Metrics
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, metrics: NewMetrics(prometheus.NewRegistry())}
	_, l.bus = bustest.Provisioned(t, bustest.Options{})
	var err error
	if l.ledger, err = ledger.New(l.bus, "orderer"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.ledger.Close)
	if l.open, err = l.bus.JS.KeyValue(t.Context(), bus.BucketOpenOrders); err != nil {
		t.Fatal(err)
	}
	if l.budgets, err = l.bus.JS.KeyValue(t.Context(), bus.BucketBudgets); err != nil {
		t.Fatal(err)
	}
	l.eiotclub = eiotclubsim.New(eiotclubsim.Config{Seed: 1})
	l.esimfly = esimflysim.New(esimflysim.Config{Seed: 1, RateLimit: -1})
	e, f := httptest.NewServer(l.eiotclub.Handler()), httptest.NewServer(l.esimfly.Handler())
	http := supplier.NewHTTP(supplier.HTTPConfig{Timeout: labCall, MaxConns: 8})
	t.Cleanup(func() { http.CloseIdle(); e.Close(); f.Close(); l.eiotclub.Close(); l.esimfly.Close() })
	l.clients = map[string]Client{
		order.EIOTCLUB: eiotclub.New(eiotclub.Config{BaseURL: e.URL, AppKey: l.eiotclub.AppKey(), Secret: l.eiotclub.Secret(), HTTP: http}),
		order.ESIMFly:  esimfly.New(esimfly.Config{BaseURL: f.URL, AccessCode: l.esimfly.AccessCode(), SecretKey: l.esimfly.SecretKey(), HTTP: http}),
	}
	return l
}

// labCall bounds a call in real time, of which none hangs: a busy machine is no fault
// that a run repeats. The lab's own clock knows labTiming.
const labCall = time.Minute

var labTiming = Timing{Timeout: 30 * time.Second, AckWait: 60 * time.Second, WaitMin: 5 * time.Second, WaitMax: 5 * time.Minute, Sweep: 5 * time.Second}

// plan is what goes wrong in a run: the first time that an operation of this name
// happens, or by chance.
type plan struct {
	op     string // "append intent", "place", "append placed", "guard", "ack", …; empty: by chance
	how    string // one of mishaps
	chance float64
	faults []fault.Rule // of the purchase; Path and Order are filled in
}

var mishaps = []string{"dies before", "dies after", "fails before", "fails after", "stalls"}

// run is one order's way through the lab.
type run struct {
	*lab
	seed  uint64
	rng   *rand.Rand
	plan  plan
	bug   *bug
	clock time.Time
	req   order.Request
	rules supplier.Rules

	life      *life
	queued    bool
	delivered uint64
	mail      []*notice
	cancelled bool
	ruled     int // how often a person has spoken
	spendStop bool
	paged     *ledger.Open // what a page of the index has of the order
	mishap    int
	nested    bool
	trace     []string
	faults    []string // what was found

	history []order.Record
	sends   []send
	misses  int // "not found" heard late enough since the last call
}

// send is one purchase call, as the engine could know it.
type send struct {
	at      time.Time
	round   int
	outcome order.Certainty
	stored  bool // an event after it tells of it
}

// life is one process.
type life struct {
	*Worker
	dead bool
}

var errDead = errors.New("this process is dead")

func (r *run) note(format string, args ...any) {
	r.trace = append(r.trace, r.clock.Format("15:04:05 ")+fmt.Sprintf(format, args...))
}

// wrong notes that the engine broke a promise.
func (r *run) wrong(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.note("WRONG: %s", text)
	r.faults = append(r.faults, text)
}

func (r *run) newLife() *life {
	w := &Worker{cfg: Config{Timing: labTiming, Concurrency: 1, OutOfStock: "wait"}, bus: r.bus, accounts: map[accountKey]*account{}, budgets: r.budgets,
		log: slog.New(slog.DiscardHandler), m: r.metrics, work: context.Background(), now: func() time.Time { return r.clock },
		random: r.rng.Float64, decide: sound, switches: &switches{log: slog.New(slog.DiscardHandler), on: map[string]bool{"all.spend_stop": r.spendStop}}}
	l := &life{Worker: w}
	m := &mortal{run: r, life: l}
	w.ledger, w.cards = m, m
	a := Account{Supplier: r.req.Supplier, Name: order.DefaultAccount, Client: m}
	acct := newAccount(a, labTiming, r.metrics, w.newBudget(a), w.clock)
	acct.budget.key += "." + r.req.OrderID // a run that shares nothing repeats identically
	w.accounts[accountKey{a.Supplier, a.Name}] = acct
	if r.bug != nil && r.bug.plant != nil {
		r.bug.plant(r, w)
	}
	return l
}

// newRun makes a run whose every choice comes from seed.
func (l *lab) newRun(name string, seed uint64, p plan, b *bug, product int) *run {
	r := &run{lab: l, seed: seed, rng: rand.New(rand.NewPCG(seed, 0xc4a05)), plan: p, bug: b, queued: true,
		clock: time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)}
	if product < 0 {
		product = r.rng.IntN(len(products))
	}
	r.req = products[product].request(fmt.Sprintf("%s-%d", name, seed))
	if r.req.ICCID != "" {
		r.req.ICCID = fmt.Sprintf("8988308%013d", labCards.Add(1))
	}
	if r.req.EID != "" {
		r.req.EID = fmt.Sprintf("3506%028d", labCards.Add(1))
	}
	if p.op == "" {
		switch r.rng.IntN(12) {
		case 0:
			at := r.clock.Add(time.Duration(r.rng.IntN(600)) * time.Second)
			r.req.ExpiresAt = &at
		case 1:
			m := mustMoney("0.01", "USD")
			r.req.MaxTotal = &m
		case 2:
			m := mustMoney("1000.00", "USD")
			r.req.MaxTotal = &m
		}
	}
	r.rules, _ = l.clients[r.req.Supplier].Rules(r.req.Product)
	return r
}

var labCards atomic.Int64

func mustMoney(amount, currency string) order.Money {
	m, err := order.NewMoney(amount, currency)
	if err != nil {
		panic(err)
	}
	return m
}

// arm puts the run's faults in force and returns how to take them back.
func (r *run) arm() func() {
	set, ids := r.eiotclub.Faults(), []string{r.req.OrderID}
	path := "" // eIOTCLUB's calls are told apart by the order's id
	if r.req.Supplier == order.ESIMFly {
		set, ids = r.esimfly.Faults(), nil
		for round := range 4 {
			ids = append(ids, esimfly.RequestID(r.req.OrderID, round))
		}
	}
	var armed []int
	for _, f := range r.plan.faults {
		for _, id := range ids {
			f.Order, f.Path = id, path
			n, err := set.Add(f)
			if err != nil {
				r.t.Error(err)
			}
			armed = append(armed, n...)
		}
	}
	return func() {
		for _, id := range armed {
			set.Remove(id)
		}
	}
}

// report is what a failed run shows.
func (r *run) report() string {
	var kinds []string
	for _, f := range r.plan.faults {
		kinds = append(kinds, fmt.Sprintf("%s×%d", f.Kind, f.Times))
	}
	return fmt.Sprintf("seed %d, %s %s, faults %v, plan %q %q:\n  %s\n%s", r.seed, r.req.Supplier, r.req.Product, kinds, r.plan.op, r.plan.how,
		strings.Join(r.faults, "\n  "), strings.Join(r.trace, "\n"))
}

// callFaults are the ways in which a purchase, or a look, goes wrong.
var callFaults = []fault.Kind{fault.Reset, fault.LostReply, fault.StatusBefore, fault.StatusAfter, fault.HalfBody, fault.HTMLBefore, fault.HTMLAfter,
	fault.TooManyRequests, fault.NoFunds, fault.OutOfStock, fault.CodeBefore, fault.CodeAfter, fault.DuplicateWithData, fault.DuplicateBare, fault.DuplicateReplay, fault.Hide}

func labFault(k fault.Kind, rng *rand.Rand) fault.Rule {
	f := fault.Rule{Kind: k, Times: 1 + rng.IntN(2)}
	switch k {
	case fault.CodeBefore, fault.CodeAfter:
		f.Code = []string{"500", "43331", "999999", "ORDER_PROCESSING_ERROR"}[rng.IntN(4)]
	case fault.TooManyRequests, fault.NoFunds, fault.OutOfStock:
		f.After = rng.IntN(3) // of a repeat as well as of the first call
	case fault.Hide:
		f.Looks = 1 + rng.IntN(12)
	}
	return f
}

// chaosPlan is a random run's.
func chaosPlan(seed uint64) plan {
	rng := rand.New(rand.NewPCG(seed, 0xfa017))
	p := plan{chance: []float64{0, 0.05, 0.15, 0.3}[rng.IntN(4)]}
	for range rng.IntN(4) {
		p.faults = append(p.faults, labFault(callFaults[rng.IntN(len(callFaults))], rng))
	}
	return p
}

// all runs n runs side by side and reports what goes wrong, until three did.
func (l *lab) all(n int, make func(i int) *run) {
	var failed atomic.Int64
	l.until(n, func(i int) bool {
		r := make(i)
		disarm := r.arm()
		r.run()
		disarm()
		if len(r.faults) > 0 {
			failed.Add(1)
			l.t.Errorf("%s", r.report())
		}
		return failed.Load() >= 3
	})
}

// until calls one for 0 … n-1, several side by side, until it says enough.
func (l *lab) until(n int, one func(i int) (enough bool)) {
	var wg sync.WaitGroup
	var next atomic.Int64
	var enough atomic.Bool
	for range 4 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && !enough.Load(); i = next.Add(1) - 1 {
				if one(int(i)) {
					enough.Store(true)
				}
			}
		})
	}
	wg.Wait()
}
