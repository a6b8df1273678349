package orderer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/trace"
	"github.com/simline/simline/internal/wire"
)

// Ledger is what orderer needs of one.
type Ledger interface {
	Get(ctx context.Context, orderID string) (ledger.Entry, bool, error)
	Raw(ctx context.Context, orderID string) ([]byte, bool, error)
	Append(ctx context.Context, prev *ledger.Entry, next order.Record) (*ledger.Entry, error)
	Enter(ctx context.Context, o ledger.Open) (wait func() error)
	Guard(ctx context.Context, o ledger.Open) error
	GuardLast(ctx context.Context, o ledger.Open, seq uint64) error
	Claim(ctx context.Context, o ledger.Open, due time.Time) error
	Unguard(ctx context.Context, orderID string) error
	All(ctx context.Context) iter.Seq2[ledger.Open, error]
}

// Deps is what a worker is given.
type Deps struct {
	Bus      *bus.Bus
	Ledger   Ledger
	Accounts []Account
	Log      *slog.Logger
	Metrics  *Metrics
	Trace    *trace.Tracer   // nil: tracing is off
	Work     context.Context // of orders in hand; outlives Run's by the grace
}

// Worker takes orders from the queue, moves them, and looks after those that are
// open.
type Worker struct {
	cfg      Config
	bus      *bus.Bus
	ledger   Ledger
	accounts map[accountKey]*account
	budgets  kv
	cards    locker
	switches *switches
	log      *slog.Logger
	m        *Metrics
	trace    *trace.Tracer
	work     context.Context
	now      func() time.Time
	random   func() float64
	decide   decisions
	spendMu  sync.Mutex
	swept    sync.Map // order ids that this replica's sweep is at
}

// decisions are the points at which the engine decides. They stand in a table so
// that the suite can plant bugs in them, one at a time, and show that it finds each.
type decisions struct {
	find    func(w *Worker, ctx context.Context, req order.Request, trace string, again bool) (*ledger.Entry, error)
	step    func(w *Worker, ctx context.Context, a *account, cur *ledger.Entry) (stand, error)
	gates   func(w *Worker, ctx context.Context, a *account, cur *order.Record) (reserved, *shut, error)
	late    func(w *Worker, ctx context.Context, a *account, r order.Record) (stand, error)
	intend  func(j judge, cur *order.Record, permit supplier.Permit, requestID string, balance *order.Money) order.Record
	verdict func(j judge, intent *order.Record, p supplier.Placement, err error) order.Record
	notSeen func(j judge, cur order.Record, where string) (order.Record, supplier.Permit)
	weigh   func(j judge, cur order.Record, ev wire.Evidence) (order.Record, effect)
	floor   func(*jetstream.ConsumerInfo) uint64
}

// sound is the engine as it is.
var sound decisions

func init() {
	sound = decisions{find: (*Worker).find, step: (*Worker).step, gates: (*Worker).gates, late: (*Worker).late,
		intend: judge.intend, verdict: judge.verdict, notSeen: judge.notSeen, weigh: judge.weigh, floor: floorOf}
}

// New makes a worker. It binds to nothing yet.
func New(cfg Config, d Deps) (*Worker, error) {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	w := &Worker{cfg: cfg, bus: d.Bus, ledger: d.Ledger, accounts: map[accountKey]*account{}, log: d.Log, m: d.Metrics, trace: d.Trace,
		switches: &switches{log: d.Log, m: d.Metrics}, work: d.Work, now: time.Now, random: rand.Float64, decide: sound}
	locks, err := newCards(d.Bus, d.Ledger, w.clock)
	if err != nil {
		return nil, err
	}
	w.cards = locks
	ctx, cancel := context.WithTimeout(d.Work, bus.PublishTimeout)
	defer cancel()
	if w.budgets, err = d.Bus.JS.KeyValue(ctx, bus.BucketBudgets); err != nil {
		return nil, fmt.Errorf("bucket %s: %w", bus.BucketBudgets, err)
	}
	for _, a := range d.Accounts {
		w.accounts[accountKey{a.Supplier, a.Name}] = newAccount(a, cfg.Timing, w.m, w.newBudget(a), w.clock)
	}
	return w, nil
}

func (w *Worker) clock() time.Time { return w.now() }

func (w *Worker) newBudget(a Account) *budget {
	b := &budget{kv: w.budgets, key: budgetKey(a.Supplier, a.Name), now: w.clock}
	for _, product := range order.Products(a.Supplier) {
		if r, ok := a.Client.Rules(product); ok && r.RateLimit > 0 {
			b.limit, b.window = r.RateLimit, r.RateWindow
		}
	}
	return b
}

// LimitSeen takes in what a supplier's limit headers say: calls left, and when
// the count starts anew.
func (w *Worker) LimitSeen(supplier, account string, remaining int, reset time.Time) {
	if a := w.accounts[accountKey{supplier, account}]; a != nil {
		a.budget.remaining(remaining, reset)
	}
}

// Needs lists what must stand on the server, for bus.Need.
func Needs() []string {
	names := []string{bus.StreamOrderEvents, bus.StreamDead, "kv/" + bus.BucketOpenOrders, "kv/" + bus.BucketLeases, "kv/" + bus.BucketSwitches, "kv/" + bus.BucketBudgets}
	for _, s := range order.Suppliers {
		names = append(names, bus.StreamOrders+"/"+bus.ConsumerOrderer(s), bus.StreamEvidence+"/"+bus.ConsumerEvidence(s),
			bus.StreamWebhooks+"/"+bus.ConsumerOrdererWebhooks(s))
	}
	return names
}

// Run works until ctx ends, and then until what is in hand is done. Each supplier
// has consumers and slots of its own, so that a slow one does not slow the other.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.switches.watch(w.work, w.bus.JS); err != nil {
		return err
	}
	status, err := w.serveStatus()
	if err != nil {
		return err
	}
	defer status()
	var purgers []*purger
	for _, s := range order.Suppliers {
		purgers = append(purgers, w.newPurger(s))
	}
	advisories, err := w.watchAdvisories(purgers)
	if err != nil {
		return err
	}
	defer advisories()
	g, ctx := errgroup.WithContext(ctx)
	consume := func(stream, durable string, n int, handle handler) {
		g.Go(func() error {
			return w.bus.Consume(ctx, w.work, bus.ConsumeConfig{Stream: stream, Durable: durable, Concurrency: n, Progress: true},
				func(ctx context.Context, msg jetstream.Msg) bus.Verdict { return handle(ctx, msg) })
		})
	}
	g.Go(func() error { return w.rescueLoop(ctx, strandedEvery) })
	for _, a := range w.accounts {
		g.Go(func() error { return w.balanceLoop(ctx, a) })
	}
	for _, s := range order.Suppliers {
		consume(bus.StreamOrders, bus.ConsumerOrderer(s), w.cfg.Concurrency, w.guarded(s, w.handle))
		consume(bus.StreamEvidence, bus.ConsumerEvidence(s), 16, w.guarded(s, w.handleEvidence))
		consume(bus.StreamWebhooks, bus.ConsumerOrdererWebhooks(s), 16, w.guarded(s, w.handleNotification))
		g.Go(func() error { return w.sweepLoop(ctx, s) })
	}
	for _, p := range purgers {
		g.Go(func() error { return p.loop(ctx, purgeEvery) })
	}
	err = g.Wait()
	var tidy sync.WaitGroup
	for _, p := range purgers {
		tidy.Go(p.last)
	}
	tidy.Wait()
	w.returnBudgets()
	return err
}

// returnBudgets lets the other replicas have the calls that this one took and does
// not need any more.
func (w *Worker) returnBudgets() {
	ctx, cancel := context.WithTimeout(w.work, bus.PublishTimeout)
	defer cancel()
	for _, a := range w.accounts {
		if err := a.budget.giveBack(ctx); err != nil {
			w.failed("return budget", err)
		}
	}
}

// judge is what decides about an order now.
func (w *Worker) judge(a *account, r *order.Record) judge {
	rules, _ := a.Client.Rules(r.Product) // an order of a product without rules is not accepted
	return judge{now: w.now().UTC(), rules: rules, timing: w.cfg.Timing, outOfStock: w.cfg.OutOfStock, jitter: w.random()}
}

func (w *Worker) account(supplier, name string) (*account, bool) {
	a, ok := w.accounts[accountKey{supplier, name}]
	return a, ok
}

// accountsOf are the names of a supplier's accounts.
func (w *Worker) accountsOf(supplier string) []string {
	var names []string
	for k := range w.accounts {
		if k.supplier == supplier {
			names = append(names, k.name)
		}
	}
	return names
}

// append writes a transition and counts it. What is certainly not placed counts for
// no day's limit any more.
func (w *Worker) append(ctx context.Context, a *account, cur *ledger.Entry, r order.Record) (*ledger.Entry, error) {
	var counted reserved
	if r.Certainty == order.CertainNotPlaced {
		counted = reservedFor(&r)
		r.SpendReserved, r.SpendDay = nil, ""
	}
	next, err := w.ledger.Append(ctx, cur, r)
	if err != nil {
		return cur, err
	}
	// If we die here: the amount stays counted for the day. Nothing is bought twice.
	w.unspend(ctx, a, counted)
	w.m.moved(cur.State, &next.Record)
	if r.State == order.Held {
		w.log.Warn("order held for a person", "order", r.OrderID, "supplier", r.Supplier, "reason", r.Reason)
	}
	return next, nil
}

// failed notes a failure of ours that is tried again.
func (w *Worker) failed(step string, err error) {
	w.m.failures.WithLabelValues(step).Inc()
	w.log.Warn("step failed, tried again", "step", step, "error", err)
}

// message is what handlers need of a JetStream message.
type message interface {
	Subject() string
	Data() []byte
	Metadata() (*jetstream.MsgMetadata, error)
}

// maxPanics is how often a message may break its handler before it is set aside.
const maxPanics = 5

// handler handles one message, delivered or found where it lies.
type handler func(context.Context, message) bus.Verdict

// guarded keeps one message from taking the process down with it.
func (w *Worker) guarded(supplier string, handle handler) handler {
	return func(ctx context.Context, msg message) (v bus.Verdict) {
		defer func() {
			if p := recover(); p != nil {
				w.failed("panic", fmt.Errorf("%v", p))
				v = bus.Again(5 * time.Second)
				if deliveries(msg) >= maxPanics {
					v = bus.Dead(reasonMaxDeliveries, fmt.Errorf("handling it broke %d times: %v", maxPanics, p))
				}
			}
			if reason, dead := v.IsDead(); dead {
				w.m.dead.WithLabelValues(supplier, reason).Inc()
			}
		}()
		return handle(ctx, msg)
	}
}

func deliveries(msg message) uint64 {
	meta, err := msg.Metadata()
	if err != nil {
		return 1
	}
	return meta.NumDelivered
}

// hindered is the verdict on a message whose handling failed on our side: it
// comes again, soon after another worker's move, later when NATS is in trouble.
func (w *Worker) hindered(step string, err error) bus.Verdict {
	switch {
	case errors.Is(err, ledger.ErrMoved):
		return bus.Again(50 * time.Millisecond)
	case errors.Is(err, errUnderWay):
		return bus.Again(time.Second)
	case errors.Is(err, errCardBusy):
		return bus.Again(250*time.Millisecond + time.Duration(w.random()*float64(250*time.Millisecond)))
	}
	w.failed(step, err)
	return bus.Again(5 * time.Second)
}
