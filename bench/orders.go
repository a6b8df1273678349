package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/orderer"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
)

// ordersBench measures the whole order engine against the barest honest loop: a
// work queue, a KV entry before the call and after it, the call, an event, a
// double ack, 64 at a time. Both buy from a supplier that answers at once, on the
// same server, in turn, which is a process of its own, as the supplier is; each order
// must be there in the end.
func ordersBench(ctx context.Context) ([]Result, error) {
	var out []Result
	for _, v := range []struct {
		name    string
		relaxed bool
		orders  int
	}{{"orders_default", true, 10_000}, {"orders_syncalways", false, 3_000}} {
		r, err := ordersRounds(ctx, v.name, v.relaxed, v.orders)
		if err != nil {
			return nil, err
		}
		out = append(out, r...)
	}
	return out, nil
}

const ordersRoundCount = 3

func ordersRounds(ctx context.Context, name string, relaxed bool, n int) ([]Result, error) {
	var floor, engine, latency50, latency99 []float64
	for range ordersRoundCount {
		for _, measure := range []func(*orderStage) error{
			func(s *orderStage) error {
				rate, err := s.floor(ctx, n)
				floor = append(floor, rate)
				return err
			},
			func(s *orderStage) error {
				rate, err := s.engine(ctx, n)
				engine = append(engine, rate)
				return err
			},
		} {
			s, err := newOrderStage(ctx, relaxed)
			if err != nil {
				return nil, err
			}
			err = measure(s)
			s.close()
			if err != nil {
				return nil, err
			}
		}
	}
	s, err := newOrderStage(ctx, relaxed)
	if err != nil {
		return nil, err
	}
	defer s.close()
	half := median(engine) / 2
	took, err := s.latency(ctx, int(min(half*5, 10_000)), half)
	if err != nil {
		return nil, err
	}
	latency50, latency99 = []float64{took[len(took)/2]}, []float64{took[len(took)*99/100]}
	against := figure("bare loop, 64 at a time", median(floor), "orders/s")
	return []Result{
		{Name: name, Value: median(engine), Unit: "orders/s", Against: against, Ratio: median(engine) / median(floor)},
		{Name: name + "_p50", Value: latency50[0], Unit: "ms", Against: figure("publish to placed at half load", half, "orders/s"), Ratio: 0},
		{Name: name + "_p99", Value: latency99[0], Unit: "ms", Against: figure("publish to placed at half load", half, "orders/s"), Ratio: 0},
	}, nil
}

// worker makes the engine as cmd/orderer does.
func (s *orderStage) worker() (*orderer.Worker, *ledger.Ledger, error) {
	cfg := orderer.Config{Concurrency: 64, OutOfStock: "wait", Timing: orderer.Timing{Timeout: 30 * time.Second, AckWait: 5 * time.Minute,
		WaitMin: 5 * time.Second, WaitMax: 5 * time.Minute, Sweep: 5 * time.Second,
		LookInterval: time.Hour}} // no follow-up during the measurement: the shop knows no look-ups
	book, err := ledger.New(s.bus, "orderer")
	if err != nil {
		return nil, nil, err
	}
	client := eiotclub.New(eiotclub.Config{BaseURL: s.shopURL, AppKey: "000001", Secret: "a1b1c1d1", HTTP: supplier.NewHTTP(supplier.HTTPConfig{})})
	w, err := orderer.New(cfg, orderer.Deps{Bus: s.bus, Ledger: book, Log: slog.New(slog.DiscardHandler), Metrics: orderer.NewMetrics(prometheus.NewRegistry()),
		Accounts: []orderer.Account{{Supplier: order.EIOTCLUB, Name: "default", Client: client}}, Work: context.Background()})
	return w, book, err
}

// run works until done, and returns what the worker's end was.
func (s *orderStage) run(ctx context.Context, w *orderer.Worker, done func(context.Context) error) error {
	defer service.TuneMemory()() // as cmd/orderer does
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	err := done(ctx)
	stop()
	if end := <-ended; err == nil {
		err = end
	}
	return err
}

// drained waits until every request is acknowledged.
func (s *orderStage) drained(ctx context.Context) error {
	cons, err := s.bus.JS.Consumer(ctx, bus.StreamOrders, bus.ConsumerOrderer(order.EIOTCLUB))
	if err != nil {
		return err
	}
	for {
		info, err := cons.Info(ctx)
		if err != nil {
			return err
		}
		if info.NumPending == 0 && info.NumAckPending == 0 {
			return nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// tidy does what the engine does each second, for what came since: it purges what is
// done. Then the queue must be empty.
func (s *orderStage) tidy(ctx context.Context) error {
	floor, err := s.bus.Floor(ctx, bus.StreamOrders, bus.ConsumerOrderer(order.EIOTCLUB))
	if err != nil {
		return err
	}
	for _, filter := range floor.Filters {
		if err := s.bus.Clear(ctx, bus.StreamOrders, filter, floor.AckFloor.Stream+1); err != nil {
			return err
		}
	}
	stream, err := s.bus.JS.Stream(ctx, bus.StreamOrders)
	if err != nil {
		return err
	}
	if left := stream.CachedInfo().State.Msgs; left != 0 {
		return fmt.Errorf("%d requests are done and not gone", left)
	}
	return nil
}

// engine is timed until every request is acknowledged and purged, the last ones by
// ourselves instead of waiting for the engine's next second.
func (s *orderStage) engine(ctx context.Context, n int) (float64, error) {
	if err := s.fill(ctx, benchRequest, n); err != nil {
		return 0, err
	}
	w, book, err := s.worker()
	if err != nil {
		return 0, err
	}
	defer book.Close()
	begin := time.Now()
	var took time.Duration
	err = s.run(ctx, w, func(ctx context.Context) error {
		err := errors.Join(s.drained(ctx), s.tidy(ctx))
		took = time.Since(begin)
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := s.check(ctx, n); err != nil {
		return 0, err
	}
	return float64(n) / took.Seconds(), nil
}

// check holds the ledger and the index against what was sold.
func (s *orderStage) check(ctx context.Context, n int) error {
	sold, err := s.sold(ctx)
	if err != nil {
		return err
	}
	if sold != n {
		return fmt.Errorf("%d orders, %d calls", n, sold)
	}
	events, err := s.bus.JS.Stream(ctx, bus.StreamOrderEvents)
	if err != nil {
		return err
	}
	if got := events.CachedInfo().State.Msgs; got != uint64(2*n) {
		return fmt.Errorf("%d orders, %d events", n, got)
	}
	guarded := map[string]bool{}
	for o, err := range ledger.WalkOpen(ctx, s.bus) {
		if err != nil {
			return err
		}
		guarded[o.OrderID] = true
	}
	if len(guarded) != n {
		return fmt.Errorf("%d orders placed, %d guarded", n, len(guarded))
	}
	return nil
}

// latency publishes at a steady rate and returns the sorted times from publish to
// placed, in milliseconds.
func (s *orderStage) latency(ctx context.Context, n int, rate float64) ([]float64, error) {
	w, book, err := s.worker()
	if err != nil {
		return nil, err
	}
	defer book.Close()
	sent, placed := make([]atomic.Int64, n+1), make([]atomic.Int64, n+1)
	var left atomic.Int64
	left.Store(int64(n))
	sub, err := s.bus.NC.Subscribe(bus.SubjectOrderEvent("*", order.EIOTCLUB, string(order.Placed)), func(m *nats.Msg) {
		id := strings.Split(m.Subject, ".")[3]
		if i, err := strconv.Atoi(strings.TrimPrefix(id, "bench-")); err == nil {
			placed[i].Store(time.Now().UnixNano())
			left.Add(-1)
		}
	})
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	err = s.run(ctx, w, func(ctx context.Context) error {
		begin := time.Now()
		for i := 1; i <= n; i++ {
			if wait := time.Until(begin.Add(time.Duration(float64(i) / rate * float64(time.Second)))); wait > time.Millisecond {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(wait):
				}
			}
			sent[i].Store(time.Now().UnixNano())
			if err := s.bus.NC.Publish(benchRequest, benchOrder(i)); err != nil {
				return err
			}
		}
		for left.Load() > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(5 * time.Millisecond):
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var took []float64
	for i := 1; i <= n; i++ {
		took = append(took, float64(placed[i].Load()-sent[i].Load())/1e6)
	}
	slices.Sort(took)
	return took, nil
}
