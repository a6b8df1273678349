package archiver

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/warehouse/warehousetest"
)

// metric is what Prometheus would read of a stream; false if there is nothing.
func (r *rig) metric(name, stream string) (float64, bool) {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "simline_archiver_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == stream {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue(), true
			}
		}
	}
	return 0, false
}

// reads says whether a metric is there and just so.
func (r *rig) reads(name, stream string, want float64) bool {
	v, ok := r.metric(name, stream)
	return ok && v == want
}

// orders publishes the order events from..to-1.
func (r *rig) orders(from, to int) {
	r.t.Helper()
	for i := from; i < to; i++ {
		r.publishEvent(bus.SubjectOrderEvent(fmt.Sprint("o", i), "eiotclub", "fulfilled"), "simline.order.fulfilled.v1", fmt.Sprint("e", i), record1(i, order.Fulfilled))
	}
}

// ClickHouse is away before archiver starts: what waits is seen all the same.
func TestLagIsSeenWhileClickHouseIsAwayFromTheStart(t *testing.T) {
	srv := warehousetest.Start(t)
	r := startOn(t, srv.DSN())
	r.orders(0, 3)
	stop := r.run(r.cfg)
	r.eventually("SELECT count() FROM simline.order_events", 3)
	stop()
	if v, ok := r.metric("lag_seconds", bus.StreamOrderEvents); ok {
		t.Errorf("who does not archive tells a lag of %g s", v)
	}
	srv.Kill()
	begin := time.Now()
	r.orders(3, 8)
	published := time.Now()

	stop = r.run(r.cfg)
	r.patiently(func() bool { return r.reads("lag_messages", bus.StreamOrderEvents, 5) })
	first := 0.0
	r.patiently(func() bool {
		first, _ = r.metric("lag_seconds", bus.StreamOrderEvents)
		return first > 0
	})
	if oldest := time.Since(begin).Seconds(); first > oldest {
		t.Errorf("the oldest that waits is %g s old, and was published %g s ago", first, oldest)
	}
	r.patiently(func() bool { // it grows, up to the age that the first has by now
		v, _ := r.metric("lag_seconds", bus.StreamOrderEvents)
		return v > first && v > time.Since(published).Seconds()-2*lagEvery.Seconds()
	})
	for _, stream := range bus.ArchivedStreams {
		r.patiently(func() bool { n, _ := r.metric("insert_failures_total", stream); return n > 0 })
	}
	r.patiently(func() bool { // a stream on which nothing waits does not lag
		return r.reads("lag_messages", bus.StreamWebhooks, 0) && r.reads("lag_seconds", bus.StreamWebhooks, 0)
	})

	if err := srv.Restart(); err != nil {
		t.Fatal(err)
	}
	r.patiently(func() bool {
		return r.reads("lag_messages", bus.StreamOrderEvents, 0) && r.reads("lag_seconds", bus.StreamOrderEvents, 0)
	})
	r.exact("simline.order_events", 8)
	stop()
}

// During a catch-up of several batches the age never reads 0 while messages wait,
// nor does it between two inserts: here the last batch is not full for long.
func TestLagNeverReadsZeroWhileMessagesWait(t *testing.T) {
	r := start(t)
	const full, batches = 10, 40
	r.orders(0, full*batches+full/2)
	cfg := r.cfg
	cfg.MaxRows, cfg.MaxDelay = full, time.Hour
	r.reg = prometheus.NewRegistry()
	// The catch-up waits in its middle until it has been looked at.
	looked := make(chan struct{})
	seen := sync.OnceFunc(func() { close(looked) })
	decode := func(m record, epoch, now time.Time) (warehouse.OrderEvent, error) {
		if m.sequence == full*batches/2 {
			<-looked
		}
		return decodeOrder(m, epoch, now)
	}
	l := newLine(bus.StreamOrderEvents, warehouse.OrderEvents, decode, cfg,
		Deps{Bus: r.bus, Warehouse: r.db, Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)), Owner: "test", Work: context.Background()}, newMetrics(r.reg))
	l.lagEvery = 5 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.run(ctx) }()
	defer func() { seen(); cancel(); <-done }()

	r.patiently(func() bool { v, _ := r.metric("lag_seconds", l.stream); return v > 0 })
	between := 0
	until := func(rows uint64, lag float64) {
		t.Helper()
		r.patiently(func() bool {
			age, _ := r.metric("lag_seconds", l.stream)
			waiting, _ := r.metric("lag_messages", l.stream)
			archived, err := r.try("SELECT count() FROM simline.order_events")
			if err != nil {
				t.Fatal(err)
			}
			// The lag was read before the rows were counted, and those only grow.
			if archived < full*(batches+1) && (age == 0 || waiting == 0) {
				t.Fatalf("%d rows, and the lag reads %g messages and %g s", archived, waiting, age)
			}
			if archived > 0 && archived < rows {
				between++
				seen()
			}
			return archived == rows && waiting == lag && (age > 0) == (lag > 0)
		})
	}
	until(full*batches, full/2)
	t.Logf("looked at %d times between the first batch and the last", between)
	before, _ := r.metric("lag_seconds", l.stream)
	r.patiently(func() bool { v, _ := r.metric("lag_seconds", l.stream); return v > before }) // half a batch goes on waiting
	r.orders(full*batches+full/2, full*(batches+1))
	until(full*(batches+1), 0)
	r.exact("simline.order_events", full*(batches+1))
}
