package archiver

import (
	"context"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/trace"
	"github.com/simline/simline/internal/warehouse"
)

// Deps is what a Worker works with.
type Deps struct {
	Bus       *bus.Bus
	Warehouse *warehouse.DB
	Log       *slog.Logger
	Metrics   prometheus.Registerer
	Trace     *trace.Tracer // nil: tracing is off
	// Owner names this replica in its leases; unique per process.
	Owner string
	// Work is the context of inserts in hand, which outlives Run's.
	Work context.Context
}

// Worker archives each stream on its own, so that none waits for another.
type Worker struct {
	lines []interface{ run(ctx context.Context) }
}

// New makes a worker for every archived stream.
func New(cfg Config, d Deps) *Worker {
	m := newMetrics(d.Metrics)
	return &Worker{lines: []interface{ run(ctx context.Context) }{
		newLine(bus.StreamOrderEvents, warehouse.OrderEvents, decodeOrder, cfg, d, m),
		newLine(bus.StreamWebhooks, warehouse.Webhooks, decodeWebhook, cfg, d, m),
		newLine(bus.StreamFindings, warehouse.Findings, decodeFinding, cfg, d, m),
		newLine(bus.StreamCDREvents, warehouse.CDREvents, decodeCDREvent, cfg, d, m),
		newLine(bus.StreamAudit, warehouse.Audits, decodeAudit, cfg, d, m),
	}}
}

// Reads lists the consumers that lines read, for bus.NewBacklog.
func Reads() []string {
	var names []string
	for _, stream := range bus.ArchivedStreams {
		names = append(names, stream+"/"+bus.ConsumerArchiver(stream))
	}
	return names
}

// Run archives until ctx ends.
func (w *Worker) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, l := range w.lines {
		wg.Go(func() { l.run(ctx) })
	}
	wg.Wait()
	return nil
}
