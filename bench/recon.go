package main

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/shopspring/decimal"
	"golang.org/x/sync/errgroup"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/devstack/natsd"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/reconciler"
	"github.com/simline/simline/internal/service"
	sim "github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/supplier/eiotclub"
)

// reconCalls counts the calls that one pass over 100,000 open orders makes, at the
// supplier, against the least that can tell each order's state: full batches of
// 50, each state asked only for what the states before did not show.
func reconCalls(ctx context.Context) ([]Result, error) {
	const open, cards = 100_000, 20_000
	dir, err := os.MkdirTemp("", "bench-recon-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	server, err := natsd.Start(natsd.Config{StoreDir: dir, RelaxedSync: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = server.Shutdown() }()
	b, err := bus.Connect(bus.Config{URL: server.URL(), Name: "bench"})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if err := b.Provision(ctx, bus.DefaultSettings()); err != nil {
		return nil, err
	}
	shop := sim.New(sim.Config{Seed: 1, Opening: 1 << 60})
	defer shop.Close()
	var calls atomic.Int64
	handler := shop.Handler()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/getOrderPackageDetails") {
			calls.Add(1)
		}
		handler.ServeHTTP(w, r)
	}))
	defer srv.Close()
	inState, err := openOrders(ctx, b, shop, open, cards)
	if err != nil {
		return nil, err
	}
	optimum, left := 0, open
	for _, n := range inState {
		optimum += (left + eiotclub.MaxDetailIDs - 1) / eiotclub.MaxDetailIDs
		left -= n
	}

	var cfg reconciler.Config
	if err := service.LoadConfig([]string{"RECON_SETTLE=0s", "RECON_CRON_RECORDS=off"}, &cfg); err != nil {
		return nil, err
	}
	client := eiotclub.New(eiotclub.Config{BaseURL: srv.URL, AppKey: shop.AppKey(), Secret: shop.Secret()})
	w, err := reconciler.New(ctx, cfg, reconciler.Deps{Bus: b, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Work: ctx,
		Accounts: []reconciler.Account{{Supplier: order.EIOTCLUB, Name: "default", Packages: client, Statuses: client}}})
	if err != nil {
		return nil, err
	}
	defer w.Close()
	begin := time.Now()
	if err := w.RunOnce(ctx, reconciler.JobUnsettled); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	made := int(calls.Load())
	evidence, err := b.JS.Stream(ctx, bus.StreamEvidence)
	if err != nil {
		return nil, err
	}
	if told, want := int(evidence.CachedInfo().State.Msgs), open-left; told != want {
		return nil, fmt.Errorf("evidence of %d orders, want %d", told, want)
	}
	return []Result{{Name: "recon_calls", Value: float64(made), Unit: "calls", Ratio: float64(optimum) / float64(made),
		Against: fmt.Sprintf("optimum of %d for %d open orders (%d by asking each state for all), in %s", optimum, open, 3*open/eiotclub.MaxDetailIDs, took.Round(time.Second))}}, nil
}

// openOrders makes n open orders, five on each card, of which a part never came to
// the supplier, and returns how many are there in each state.
func openOrders(ctx context.Context, b *bus.Bus, shop *sim.Sim, n, cards int) (inState [3]int, err error) {
	l, err := ledger.New(b, "bench")
	if err != nil {
		return inState, err
	}
	defer l.Close()
	at := time.Now().Add(-time.Hour)
	rng := rand.New(rand.NewPCG(1, 1))
	ids := make([]string, 0, n)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(256)
	for i := range n {
		id, iccid := fmt.Sprintf("bench-%06d", i), fmt.Sprintf("89883086%011d", i%cards)
		if rng.IntN(20) > 0 { // the others were lost on their way
			if _, err := shop.Plant(sim.Order{OutTradeNo: id, ICCID: iccid}, false, false); err != nil {
				return inState, err
			}
			ids = append(ids, id)
			if rng.IntN(10) == 0 {
				if err := shop.Finish(id); err != nil {
					return inState, err
				}
			}
		}
		g.Go(func() error {
			req := order.Request{OrderID: id, Supplier: order.EIOTCLUB, Product: order.ProductPackage, Account: "default", ICCID: iccid, PackageCode: sim.PackageCode}
			if err := l.Guard(gctx, ledger.Open{OrderID: id, Supplier: order.EIOTCLUB, Account: "default", State: order.Intent, Due: at}); err != nil {
				return err
			}
			_, err := l.Append(gctx, &ledger.Entry{}, order.Record{OrderID: id, Supplier: req.Supplier, Product: req.Product, Account: req.Account, State: order.Intent,
				Certainty: order.CertainUnknown, Request: req, RequestHash: req.Hash(), AcceptedAt: time.Now(), FirstSentAt: &at, LastSentAt: &at, Attempt: 1, At: at})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return inState, err
	}
	now := time.Now()
	for _, id := range ids {
		o, ok := shop.Order(id)
		switch {
		case !ok:
			return inState, fmt.Errorf("the simulator lost %s", id)
		case !now.Before(o.EndAt):
			inState[eiotclub.PackageFinished]++
		case now.Before(o.StartAt):
			inState[eiotclub.PackageWaiting]++
		default:
			inState[eiotclub.PackageInUse]++
		}
	}
	return inState, nil
}

// reconCompare compares two books of a million rows that differ in every
// twentieth, against the barest way: one book in a map, the other looked up in it.
func reconCompare(ctx context.Context) ([]Result, error) {
	const rows, rounds = 1_000_000, 5
	ours, theirs := twoBooks(rows)
	var merged, mapped []float64
	var peak uint64
	var found [2]int
	for range rounds {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		measure := func(compare func() (int, error)) (float64, int, uint64, error) {
			runtime.GC()
			stop := sampleHeap()
			begin := time.Now()
			n, err := compare()
			rate := float64(len(ours)+len(theirs)) / time.Since(begin).Seconds()
			return rate, n, stop(), err
		}
		rate, n, heap, err := measure(func() (int, error) { return compareMerged(ours, theirs) })
		if err != nil {
			return nil, err
		}
		merged, found[0], peak = append(merged, rate), n, max(peak, heap)
		rate, n, _, err = measure(func() (int, error) { return compareMapped(ours, theirs), nil })
		if err != nil {
			return nil, err
		}
		mapped, found[1] = append(mapped, rate), n
	}
	if found[0] != found[1] {
		return nil, fmt.Errorf("%d differing orders by merging, %d by looking up", found[0], found[1])
	}
	return []Result{{Name: "recon_compare", Value: median(merged), Unit: "rows/s", Ratio: median(merged) / median(mapped),
		Against: figure(fmt.Sprintf("one book in a map; %d of %d orders differ, heap with both books %d MiB", found[0], rows, peak>>20), median(mapped), "rows/s")}}, nil
}

func compareMerged(ours, theirs []reconciler.Line) (int, error) {
	n, last := 0, ""
	for d, err := range reconciler.Compare(book(ours), book(theirs)) {
		if err != nil {
			return 0, err
		}
		if d.ID != last {
			n, last = n+1, d.ID
		}
	}
	return n, nil
}

func compareMapped(ours, theirs []reconciler.Line) int {
	mine := make(map[string]reconciler.Line, len(ours))
	for _, l := range ours {
		mine[l.ID] = l
	}
	n := 0
	for _, t := range theirs {
		o, ok := mine[t.ID]
		if !ok {
			n++
			continue
		}
		delete(mine, t.ID)
		if len(reconciler.Judge(&o, []reconciler.Line{t})) > 0 {
			n++
		}
	}
	return n + len(mine)
}

func book(lines []reconciler.Line) iter.Seq2[reconciler.Line, error] {
	return func(yield func(reconciler.Line, error) bool) {
		for _, l := range lines {
			if !yield(l, nil) {
				return
			}
		}
	}
}

func twoBooks(n int) (ours, theirs []reconciler.Line) {
	rng := rand.New(rand.NewPCG(1, 1))
	prices := make([]order.Money, 50)
	for i := range prices {
		prices[i] = order.Money{Amount: decimal.New(rng.Int64N(10_000), -2), Currency: "USD"}
	}
	ours, theirs = make([]reconciler.Line, 0, n), make([]reconciler.Line, 0, n)
	for i := range n {
		id := fmt.Sprintf("%012d", i)
		l := reconciler.Line{ID: id, TheirID: id, Card: "8988308650100524999", Package: sim.PackageCode, Price: prices[i%len(prices)], Standing: reconciler.Bought}
		t := l
		switch i % 80 {
		case 0:
			ours = append(ours, l)
			continue
		case 20:
			theirs = append(theirs, t)
			continue
		case 40:
			t.Price.Amount = t.Price.Amount.Add(decimal.New(1, -2))
		case 60:
			t.Standing = reconciler.Refunded
		}
		ours, theirs = append(ours, l), append(theirs, t)
	}
	return ours, theirs
}

// sampleHeap watches the heap until the returned function is called, which says
// how large it was at most, in bytes.
func sampleHeap() func() uint64 {
	done := make(chan struct{})
	var wg sync.WaitGroup
	var most uint64
	wg.Go(func() {
		t := time.NewTicker(10 * time.Millisecond)
		defer t.Stop()
		var m runtime.MemStats
		for {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			select {
			case <-done:
				return
			case <-t.C:
			}
		}
	})
	return func() uint64 {
		close(done)
		wg.Wait()
		return most
	}
}
