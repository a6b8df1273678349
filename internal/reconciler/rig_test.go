package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/service"
	sim "github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/wire"
)

// rig is a reconciler on a real server with a simulated supplier, and a clock
// that the test moves for both.
type rig struct {
	t        *testing.T
	ctx      context.Context
	bus      *bus.Bus
	nats     *bustest.Server
	sim      *sim.Sim
	url      string
	client   *eiotclub.Client
	ledger   *ledger.Ledger
	worker   *Worker
	events   map[string]ledger.Entry
	accounts []Account
	untold   bool // no reply tells what an order cost

	mu  sync.Mutex
	now time.Time
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *rig) sleep(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// settle is the RECON_SETTLE of rigs.
const testSettle = 10 * time.Minute

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	return newRigWith(t, change, func(r *rig) []Account { return []Account{r.account()} })
}

// newRigWith is newRig with other accounts.
func newRigWith(t *testing.T, change func(*Config), accounts func(*rig) []Account) *rig {
	t.Helper()
	// The clock is today's: streams stamp messages with the machine's time.
	r := &rig{t: t, ctx: t.Context(), now: time.Now().UTC().Truncate(time.Second), events: map[string]ledger.Entry{}}
	r.nats = bustest.Start(t, bustest.Options{})
	r.bus = r.connect()
	if err := r.bus.Provision(r.ctx, bus.DefaultSettings()); err != nil {
		t.Fatal(err)
	}
	r.sim = sim.New(sim.Config{Clock: r.clock, Seed: 7, ClockTolerance: 1000 * time.Hour})
	srv := httptest.NewServer(r.sim.Handler())
	t.Cleanup(func() { srv.Close(); r.sim.Close() })
	r.url = srv.URL
	r.client = eiotclub.New(eiotclub.Config{BaseURL: r.url, AppKey: r.sim.AppKey(), Secret: r.sim.Secret()})
	var err error
	if r.ledger, err = ledger.New(r.bus, "test"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.ledger.Close)
	r.accounts = accounts(r)
	r.worker = r.newWorker(r.bus, change)
	return r
}

func (r *rig) connect() *bus.Bus {
	r.t.Helper()
	b, err := bus.Connect(bus.Config{URL: r.nats.URL(), Name: r.t.Name()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(b.Close)
	return b
}

func (r *rig) account() Account {
	return Account{Supplier: order.EIOTCLUB, Name: "default", Packages: r.client, Statuses: r.client, Clouds: r.client,
		Pools: r.client, Tasks: r.client, Usage: r.client, Balance: r.client, Prices: r.client}
}

func (r *rig) newWorker(b *bus.Bus, change func(*Config)) *Worker {
	r.t.Helper()
	var cfg Config
	if err := service.LoadConfig([]string{"RECON_SETTLE=" + testSettle.String(), "RECON_SPREAD=1"}, &cfg); err != nil {
		r.t.Fatal(err)
	}
	if change != nil {
		change(&cfg)
	}
	w, err := New(r.ctx, cfg, Deps{Bus: b, Log: service.NewLogger(r.t.Output(), "text", "info"), Metrics: prometheus.NewRegistry(),
		Work: r.ctx, Now: r.clock, Accounts: r.accounts, AskAgain: time.Millisecond})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(w.Close)
	return w
}

// event appends an order's next event, as orderer would.
func (r *rig) event(rec order.Record) {
	r.t.Helper()
	rec.At = r.clock()
	before := r.events[rec.OrderID]
	e, err := r.ledger.Append(r.ctx, &before, rec)
	if err != nil {
		r.t.Fatal(err)
	}
	r.events[rec.OrderID] = *e
}

// intent is an order about to be sent.
func (r *rig) intent(req order.Request) order.Record {
	now := r.clock()
	rec := order.Record{OrderID: req.OrderID, Supplier: req.Supplier, Product: req.Product, Account: req.Account, State: order.Intent,
		Certainty: order.CertainUnknown, Request: req, RequestHash: req.Hash(), AcceptedAt: now, FirstSentAt: &now, LastSentAt: &now, Attempt: 1}
	r.event(rec)
	return rec
}

func (r *rig) packageRequest(id, iccid string) order.Request {
	return order.Request{OrderID: id, Supplier: order.EIOTCLUB, Product: order.ProductPackage, Account: "default", ICCID: iccid, PackageCode: sim.PackageCode}
}

// buy makes both books have an order alike, as orderer does.
func (r *rig) buy(req order.Request) order.Record {
	r.t.Helper()
	rec := r.intent(req)
	p, err := r.client.Place(r.ctx, purchase(req))
	if err != nil {
		r.t.Fatal(err)
	}
	rec.State, rec.Certainty, rec.Evidence = order.Fulfilled, order.CertainPlaced, order.EvidenceReply
	rec.SupplierOrderID, rec.SupplierOrderNumber, rec.ESIMs = p.SupplierOrderID, p.SupplierOrderNumber, p.ESIMs
	if o, ok := r.sim.Order(req.OrderID); ok && !r.untold {
		rec.Total = &order.Money{Amount: decimal.New(o.Price.Minor, -2), Currency: o.Price.Currency}
	}
	r.event(rec)
	return rec
}

// iccid is the i-th card of the simulated account.
func (r *rig) iccid(i int) string {
	cards := slices.DeleteFunc(r.sim.Cards(), func(c sim.Card) bool { return c.ICCID == "" })
	return cards[i%len(cards)].ICCID
}

// run does what is due of jobs.
func (r *rig) run(jobs ...string) {
	r.t.Helper()
	for _, job := range jobs {
		if err := r.worker.RunOnce(r.ctx, job); err != nil {
			r.t.Fatal(err)
		}
	}
}

// standing are the findings that stand, as "kind about".
func (r *rig) standing() []string {
	r.t.Helper()
	entries, err := r.worker.book.List(r.ctx, "")
	if err != nil {
		r.t.Fatal(err)
	}
	out := []string{}
	for _, e := range entries {
		f := e.Finding
		s := f.Kind + strings.TrimRight(" "+f.OrderID+f.TaskID+f.Window, " ")
		if f.Amount != nil {
			s += " " + f.Amount.String()
		}
		if f.Status != statusOpen {
			s += " " + f.Status
		}
		out = append(out, strings.TrimSpace(s))
	}
	slices.Sort(out)
	return out
}

// messages are the data of all messages on a subject.
func messages[T any](r *rig, stream, filter string) []T {
	r.t.Helper()
	var out []T
	st, err := r.bus.JS.Stream(r.ctx, stream)
	if err != nil {
		r.t.Fatal(err)
	}
	info := st.CachedInfo().State
	for seq := max(info.FirstSeq, 1); seq <= info.LastSeq; seq++ {
		m, err := st.GetMsg(r.ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && !server.SubjectsCollide(m.Subject, filter) {
			continue
		}
		if err != nil {
			r.t.Fatal(err)
		}
		env, err := wire.ParseEnvelope(m.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		var v T
		if err := json.Unmarshal(env.Data, &v); err != nil {
			r.t.Fatalf("%s: %v", env.Data, err)
		}
		out = append(out, v)
	}
	return out
}

// asked is how many calls a job made to an endpoint, and how few would have done.
func (r *rig) asked(job, endpoint string) (calls, least float64) {
	r.t.Helper()
	read := func(c prometheus.Counter) float64 {
		var m dto.Metric
		if err := c.Write(&m); err != nil {
			r.t.Fatal(err)
		}
		return m.GetCounter().GetValue()
	}
	return read(r.worker.metrics.calls.WithLabelValues(job, endpoint)), read(r.worker.metrics.optimum.WithLabelValues(job, endpoint))
}

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	return ctx, stop
}

// waitFor looks until ok is true; a look costs a round trip, so it does not spin.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("waited in vain")
		}
	}
}

// deadReasons are the reasons of the dead letters of TASKS.
func deadReasons(r *rig) []string {
	r.t.Helper()
	st, err := r.bus.JS.Stream(r.ctx, bus.StreamDead)
	if err != nil {
		r.t.Fatal(err)
	}
	out := []string{}
	for seq := uint64(1); seq <= st.CachedInfo().State.LastSeq; seq++ {
		m, err := st.GetMsg(r.ctx, seq)
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, m.Header.Get(bus.HeaderReason))
	}
	slices.Sort(out)
	return out
}

// counting counts the calls for lists.
type counting struct {
	PackageLists
	count map[string]int
}

func (c counting) OrderDetails(ctx context.Context, ids []string, state, page, size int) ([]eiotclub.Order, error) {
	c.count["details"]++
	return c.PackageLists.OrderDetails(ctx, ids, state, page, size)
}

func (c counting) PackageRecords(ctx context.Context, iccid string, f eiotclub.RecordFilter) ([]eiotclub.Order, int, error) {
	c.count["records"]++
	return c.PackageLists.PackageRecords(ctx, iccid, f)
}

func simOrder(outTradeNo, iccid string) sim.Order {
	return sim.Order{OutTradeNo: outTradeNo, ICCID: iccid}
}
