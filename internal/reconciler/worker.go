package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/supplier/esimfly"
	"github.com/simline/simline/internal/trace"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

// Deps is what a Worker works with.
type Deps struct {
	Bus     *bus.Bus
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Trace   *trace.Tracer // nil: tracing is off
	// Work is the context of a pass in hand, which outlives Run's by the grace.
	Work context.Context
	// Now is the clock; nil is the machine's.
	Now func() time.Time
	// Accounts to ask, instead of those of the configuration; for tests.
	Accounts []Account
	// AskAgain is the pause before a question that got no answer is asked again;
	// 0 is half a second.
	AskAgain time.Duration
}

// askTries is how often a question is asked in a row before its pass is given up
// for now.
const askTries = 4

// Worker runs the jobs.
type Worker struct {
	cfg      Config
	bus      *bus.Bus
	log      *slog.Logger
	work     context.Context
	metrics  *Metrics
	accounts []Account
	budgets  jetstream.KeyValue
	askAgain time.Duration
	runner   *Runner
	book     *Book
	witness  *Witness
	jobs     map[string]*Job
	tasks    *Tasks
	usage    *Usage        // nil without ClickHouse
	books    *warehouse.DB // nil without ClickHouse
}

// New binds to the buckets and makes the jobs that are switched on.
func New(ctx context.Context, cfg Config, d Deps) (*Worker, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	if err := d.Bus.Need(ctx, bus.StreamOrderEvents, bus.StreamEvidence, bus.StreamWebhooks, bus.StreamCDR, bus.StreamFindings, bus.StreamDead, bus.StreamTasks+"/"+bus.ConsumerReconcilerTasks,
		"kv/"+bus.BucketOpenOrders, "kv/"+bus.BucketLeases, "kv/"+bus.BucketTasks, "kv/"+bus.BucketBudgets, "kv/"+bus.BucketFindings, "kv/"+bus.BucketReconPeriods); err != nil {
		return nil, err
	}
	metrics := NewMetrics(d.Metrics)
	accounts := d.Accounts
	if accounts == nil {
		var err error
		if accounts, err = cfg.accounts(metrics); err != nil {
			return nil, err
		}
	}
	budgets, err := d.Bus.JS.KeyValue(ctx, bus.BucketBudgets)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", bus.BucketBudgets, err)
	}
	periods, err := openPeriods(ctx, d.Bus)
	if err != nil {
		return nil, err
	}
	book, err := OpenBook(ctx, d.Bus, d.Now)
	if err != nil {
		return nil, err
	}
	followed, err := d.Bus.JS.KeyValue(ctx, bus.BucketTasks)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", bus.BucketTasks, err)
	}
	host, _ := os.Hostname() // only for a person who reads the lease
	w := &Worker{cfg: cfg, bus: d.Bus, log: d.Log, work: d.Work, metrics: metrics, accounts: accounts, budgets: budgets,
		askAgain: cmp.Or(d.AskAgain, 500*time.Millisecond), book: book, jobs: map[string]*Job{}, witness: &Witness{bus: d.Bus, metrics: metrics}}
	ask, cost := w.asks(JobTasks)
	w.tasks = &Tasks{Accounts: ask, KV: followed, Bus: d.Bus, Metrics: metrics, Cost: cost, StuckAfter: cfg.StuckAfter, Now: d.Now}
	if cfg.ClickHouseDSN != "" {
		if w.books, err = warehouse.Open(cfg.ClickHouseDSN); err != nil {
			return nil, err
		}
	}
	w.runner = &Runner{
		Periods: periods, Book: book, Log: d.Log, Metrics: metrics, Trace: d.Trace, Now: d.Now, RetryMin: cfg.Retry, RetryMax: 5 * time.Minute,
		Locks: leases{bus: d.Bus, owner: host + "/" + uuid.NewString(), ttl: cfg.LeaseTTL},
		Sees:  func(job string) SeeFunc { return func(f wire.Finding) { w.sees(job, f) } },
	}
	return w, w.addJobs()
}

// asks is the accounts as one job asks them, within the budgets that all workers
// share, and what it counts.
func (w *Worker) asks(job string) ([]Account, *Cost) {
	cost := &Cost{job: job, metrics: w.metrics}
	out := make([]Account, len(w.accounts))
	for i, a := range w.accounts {
		// The machine's clock: a supplier's limits are of real time.
		budget := &Budget{KV: w.budgets, Key: BudgetKey(a.Supplier, a.Name), Now: time.Now}
		if rules, ok := esimfly.Rules(order.ProductESIM); ok && a.Supplier == order.ESIMFly {
			budget.Limit, budget.Window = rules.RateLimit, rules.RateWindow
		}
		out[i] = asked(a, asker{tries: askTries, wait: w.askAgain, budget: budget, cost: cost})
	}
	return out, cost
}

// addJobs makes every job that is switched on.
func (w *Worker) addJobs() error {
	cfg, metrics, ledger, witness := w.cfg, w.metrics, Ledger{w.bus}, w.witness
	const day = 24 * time.Hour
	prices, err := parsePrices(cfg.PoolPrices)
	if err != nil {
		return fmt.Errorf("RECON_POOL_PRICES: %w", err)
	}
	type looks = func(context.Context, *Run, *Sitting) error
	add := func(job *Job, look func([]Account, *Cost) looks) error {
		schedule, on, err := cfg.Schedule(job.Name)
		if err != nil || !on {
			return err
		}
		accounts, cost := w.asks(job.Name)
		job.Schedule, job.Cost, job.Look = schedule, cost, look(accounts, cost)
		w.jobs[job.Name] = job
		return nil
	}
	err = errors.Join(
		add(&Job{Name: JobUnsettled}, func(a []Account, c *Cost) looks {
			return (&Unsettled{Accounts: a, Ledger: ledger, Witness: witness, Metrics: metrics, Cost: c, Settle: cfg.Settle, StuckAfter: cfg.StuckAfter}).Look
		}),
		add(&Job{Name: JobRecords, Settle: cfg.Settle, Most: day, Lookback: cfg.Lookback}, func(a []Account, c *Cost) looks {
			return (&Records{Accounts: a, Ledger: ledger, Witness: witness, Metrics: metrics, Cost: c, Log: w.log, Settle: cfg.Settle, Lookback: cfg.Lookback, Slots: cfg.Spread}).Look
		}),
		add(&Job{Name: JobTasks}, func([]Account, *Cost) looks { return w.tasks.Look }),
		add(&Job{Name: JobNotifications, Settle: cfg.Settle, Most: day, Lookback: cfg.Lookback}, func(a []Account, _ *Cost) looks {
			return (&Notifications{Accounts: a, Ledger: ledger, Settle: cfg.Settle, Lookback: cfg.Lookback}).Look
		}),
		add(&Job{Name: JobBalance}, func(a []Account, c *Cost) looks {
			return (&Balance{Accounts: a, Ledger: ledger, Book: w.book, Metrics: metrics, Cost: c, Settle: cfg.Settle, Days: cfg.BalanceDays,
				PoolPrices: prices, Records: w.recordsProgress(), Turns: cfg.Spread + 1}).Look
		}),
		add(&Job{Name: JobConflicts}, func([]Account, *Cost) looks {
			return (&Conflicts{Ledger: ledger, Book: w.book, Settle: cfg.Settle}).Look
		}),
	)
	if err != nil || w.books == nil {
		return err
	}
	zone, err := ParseZone(cfg.UsageZone)
	if err != nil {
		return err
	}
	return errors.Join(
		add(&Job{Name: JobUsage, Settle: cfg.Settle, Most: 31 * day, Lookback: cfg.Lookback}, func(a []Account, c *Cost) looks {
			w.usage = &Usage{Accounts: a, Books: w.books, Bus: w.bus, Metrics: metrics, Cost: c, Zone: zone, Tolerance: cfg.UsageTolerance}
			return w.usage.Look
		}),
		add(&Job{Name: JobCoverage}, func(a []Account, _ *Cost) looks {
			return (&Coverage{Accounts: a, Books: w.books, LateAfter: cfg.LateAfter}).Look
		}),
	)
}

// recordsProgress tells how far records is; nil if it is switched off.
func (w *Worker) recordsProgress() func(context.Context) (Progress, error) {
	if _, on, err := w.cfg.Schedule(JobRecords); err != nil || !on {
		return nil
	}
	return func(ctx context.Context) (Progress, error) {
		p, _, err := w.runner.Periods.Load(ctx, JobRecords)
		return p, err
	}
}

// accounts makes a client for each configured account.
func (c *Config) accounts(m *Metrics) ([]Account, error) {
	configured, err := c.Accounts.Load()
	if err != nil {
		return nil, err
	}
	zone, err := ParseZone(c.SupplierZone)
	if err != nil {
		return nil, err
	}
	var out []Account
	calls := func(name string) *supplier.HTTP {
		return supplier.NewHTTP(supplier.HTTPConfig{Timeout: c.SupplierTimeout, Observe: m.answered(name)})
	}
	eiot, fly := calls(order.EIOTCLUB), calls(order.ESIMFly)
	for _, name := range slices.Sorted(maps.Keys(configured.EIOTCLUB)) {
		a := configured.EIOTCLUB[name]
		if a.AppKey == "" || a.AppSecret == "" {
			out = append(out, Account{Supplier: order.EIOTCLUB, Name: name}) // for its CDR files only
			continue
		}
		client := eiotclub.New(eiotclub.Config{BaseURL: a.BaseURL, AppKey: a.AppKey, Secret: a.AppSecret, HTTP: eiot, Location: zone})
		out = append(out, Account{Supplier: order.EIOTCLUB, Name: name, Packages: client, Statuses: client, Clouds: client,
			Pools: client, Tasks: client, Usage: client, Balance: client, Prices: client})
	}
	for _, name := range slices.Sorted(maps.Keys(configured.ESIMFly)) {
		a := configured.ESIMFly[name]
		if a.AccessCode == "" || a.SecretKey == "" {
			return nil, fmt.Errorf("esimfly account %s has no access code or no secret key", name)
		}
		client := esimfly.New(esimfly.Config{BaseURL: a.BaseURL, AccessCode: a.AccessCode, SecretKey: a.SecretKey, HTTP: fly})
		out = append(out, Account{Supplier: order.ESIMFly, Name: name, Statuses: client})
	}
	return out, nil
}

// drain is how long a pass in hand may go on when the worker is told to stop.
const drain = 5 * time.Second

// Run runs every job on its schedule and takes task announcements until ctx ends.
func (w *Worker) Run(ctx context.Context) error {
	// A pass in hand may go on after ctx, for a moment: a long one is taken up again
	// where it was.
	work, cut := context.WithCancel(w.work)
	defer cut()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(drain, cut) })()
	w.log.Info("reconciling", "jobs", w.Jobs(), "settle", w.cfg.Settle)
	var jobs []*Job
	for _, name := range w.Jobs() {
		jobs = append(jobs, w.jobs[name])
	}
	wait := w.runner.Start(ctx, work, jobs)
	err := w.bus.Consume(ctx, w.work, bus.ConsumeConfig{Stream: bus.StreamTasks, Durable: bus.ConsumerReconcilerTasks, Concurrency: 8}, w.tasks.Track)
	wait()
	return err
}

// RunOnce does what is due of one job, and everything up to now at that: who
// calls it is the clock.
func (w *Worker) RunOnce(ctx context.Context, name string) error {
	job := w.jobs[name]
	if job == nil {
		return fmt.Errorf("job %q is not switched on", name)
	}
	now := w.runner.Now().UTC() // once: while a pass runs more becomes due, for ever
	return w.runner.Catch(ctx, w.work, job, func(p Progress, _ time.Time) (Span, bool) { return job.dueNow(p, now) })
}

// Rehearse looks at what one job would find now, changes nothing, and tells see.
func (w *Worker) Rehearse(ctx context.Context, name string, see SeeFunc) error {
	job := w.jobs[name]
	if job == nil {
		return fmt.Errorf("job %q is not switched on", name)
	}
	return w.runner.Rehearse(ctx, job, see)
}

// Asked is how many calls to suppliers a job made since it was asked last, or since
// its last pass that was kept, and how few would have done.
func (w *Worker) Asked(name string) (calls, least int) {
	if job := w.jobs[name]; job != nil {
		return job.Cost.Take()
	}
	return 0, 0
}

// Ready is nil while the worker can work.
func (w *Worker) Ready(context.Context) error { return w.bus.Ready() }

func (w *Worker) sees(job string, f wire.Finding) {
	w.runner.Metrics.finding(f)
	card := ""
	if n := f.ICCID + f.EID; n != "" {
		card = service.Tail(n)
	}
	w.log.Warn("finding "+f.Status, "job", job, "kind", f.Kind, "id", f.FindingID[:12], "severity", f.Severity, "account", f.Account, "order", f.OrderID, "task", f.TaskID, "card", card, "window", f.Window)
}

// Jobs are the names of the jobs that are switched on.
func (w *Worker) Jobs() []string {
	return slices.DeleteFunc(slices.Clone(JobNames), func(name string) bool { return w.jobs[name] == nil })
}

// Close lets go of what New opened.
func (w *Worker) Close() {
	if w.books != nil {
		if err := w.books.Close(); err != nil {
			w.log.Warn("close ClickHouse", "error", err)
		}
	}
}
