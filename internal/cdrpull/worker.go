package cdrpull

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/trace"
	"github.com/simline/simline/internal/warehouse"
)

// memoryLimit is what the runtime tries to stay under, unless GOMEMLIMIT says
// otherwise: the tables and blocks of a load are a few large allocations, which
// the collector would otherwise let double.
const memoryLimit = 180 << 20

// limitMemory sets the limit once for the process.
var limitMemory = sync.OnceFunc(func() {
	if debug.SetMemoryLimit(-1) > 1<<60 {
		debug.SetMemoryLimit(memoryLimit)
	}
})

// Parts are what a worker is built of.
type Parts struct {
	Config  *Config
	Bus     *bus.Bus
	DB      *warehouse.DB
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Trace   *trace.Tracer // nil: tracing is off
	// Now is the clock; nil is the system's, in UTC.
	Now func() time.Time
}

// Worker lists directories and loads files.
type Worker struct {
	cfg      *Config
	bus      *bus.Bus
	db       *warehouse.DB
	log      *slog.Logger
	metrics  *metrics
	trace    *trace.Tracer
	clock    func() time.Time
	id       string             // tells this replica's claims from others'
	accounts map[string]account // by name
	dirs     []*directory
	states   *states // nil until Run
	pause    func(attempt uint64) time.Duration
	tuning   tuning
}

// tuning are sizes that change what a load costs, never what it does.
type tuning struct {
	// blockRows is the most rows of one insert: large enough that the engine's
	// cost per part does not show, small enough that four blocks fit in 64 MiB.
	blockRows int
	// inserters is how many blocks are on their way at once: while the engine
	// sorts out one, the next is being sent.
	inserters int
	// knownPerPass bounds the table of known rows: 4 million slots, 100 MB. A
	// file that meets more records than this is gone over in several passes, each
	// for a share of the ids.
	knownPerPass int64
	// wide and wideBase: reading every record between the file's lowest and
	// highest id is cheaper than naming the ids until there are wide times more
	// of them than the file has rows, plus wideBase.
	wide, wideBase int64
	// minuteOver is when a loaded file is looked at once more; see tend.
	minuteOver time.Duration
}

var defaultTuning = tuning{blockRows: 144 << 10, inserters: 2, knownPerPass: 2_700_000, wide: 2, wideBase: 2_000_000, minuteOver: minuteOver}

// New makes a worker; nothing is touched before Run.
func New(p Parts) (*Worker, error) {
	accounts, err := p.Config.accounts()
	if err != nil {
		return nil, err
	}
	w := &Worker{cfg: p.Config, bus: p.Bus, db: p.DB, log: p.Log, metrics: newMetrics(p.Metrics), trace: p.Trace, clock: p.Now,
		id: uuid.NewString(), accounts: accounts, pause: backoff, tuning: defaultTuning}
	if w.clock == nil {
		w.clock = time.Now
	}
	for _, a := range accounts {
		i := slices.IndexFunc(w.dirs, func(d *directory) bool { return d.url == a.url })
		if i < 0 {
			i = len(w.dirs)
			w.dirs = append(w.dirs, newDirectory(a))
		}
		w.dirs[i].accounts[a.number] = a
	}
	return w, nil
}

func (w *Worker) now() time.Time { return w.clock().UTC() }

// Run works until ctx ends, then finishes the file in hand, for as long as work
// lasts. It returns an error if the worker cannot go on: the process then exits
// and is started again.
func (w *Worker) Run(ctx, work context.Context) (err error) {
	limitMemory()
	if w.states, err = openStates(ctx, w.bus); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { w.sayTerms(gctx); return nil })
	for _, d := range w.dirs {
		group.Go(func() error { w.watch(gctx, d); return nil })
	}
	group.Go(func() error {
		return w.bus.Consume(gctx, work, bus.ConsumeConfig{Stream: bus.StreamCDR, Durable: bus.ConsumerCDRPull, Concurrency: 1, Progress: true}, w.handle)
	})
	return group.Wait()
}

// sayTerms tells the marts what this worker calls late, as soon as it can.
func (w *Worker) sayTerms(ctx context.Context) {
	for attempt := uint64(0); ; attempt++ {
		err := w.db.SayLateAfter(ctx, w.cfg.LateAfter)
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			w.log.Warn("CDR_LATE_AFTER not told to the marts, will try again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(w.pause(attempt)):
		}
	}
}

// watch looks at one directory again and again.
func (w *Worker) watch(ctx context.Context, d *directory) {
	defer w.letGo(d)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		wait := w.cfg.PollInterval
		waiting, err := w.poll(ctx, d)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, bus.ErrLeaseHeld):
			// Another replica looks at it; try again before long, in case it died.
		case err != nil:
			w.metrics.failures.WithLabelValues(d.name(), "list").Inc()
			w.log.Error("directory not listed, will try again", "directory", d.String(), "error", err)
		case waiting:
			wait = min(wait, w.cfg.SettleInterval)
		}
		timer.Reset(wait)
	}
}

// backoff is the wait before a message is handled again. It holds an ack slot
// meanwhile, so it stays short.
func backoff(attempt uint64) time.Duration {
	return min(time.Second<<min(attempt, 5), 30*time.Second)
}
