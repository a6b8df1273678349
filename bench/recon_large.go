package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/devstack/chd"
	"github.com/simline/simline/internal/devstack/natsd"
	"github.com/simline/simline/internal/e2e"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/reconciler"
	sim "github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/warehouse"
)

// A large business: so many orders in the ledger, all of one day, of which every
// tenth is open, and as many cards as open orders.
const (
	largeMost  = 512 // MiB that the reconciler may take, however large the books: as deployed
	largeOpen  = 10  // one order of so many is open
	largeWrong = 1000
)

// reconLarge runs every job of the reconciler's own binary, as a CronJob does, over
// books of two sizes and says how long each took, what it asked against the least
// that would have done, and the most memory of all.
func reconLarge(ctx context.Context) ([]Result, error) {
	var out []Result
	for _, orders := range []int{100_000, 1_000_000} {
		results, err := reconLargeOf(ctx, orders)
		if err != nil {
			return nil, fmt.Errorf("%d orders: %w", orders, err)
		}
		out = append(out, results...)
	}
	return out, nil
}

// largeBook is the stack with the books in it.
type largeBook struct {
	dir    string
	nats   *natsd.Server
	engine *chd.Server
	shop   *sim.Sim
	srv    *httptest.Server
	calls  atomic.Int64
	bus    *bus.Bus
	db     *warehouse.DB
	wrong  int // differences planted
}

func (l *largeBook) close() {
	if l.db != nil {
		_ = l.db.Close()
	}
	if l.bus != nil {
		l.bus.Close()
	}
	if l.srv != nil {
		l.srv.Close()
		l.shop.Close()
	}
	if l.engine != nil {
		_ = l.engine.Stop()
	}
	if l.nats != nil {
		_ = l.nats.Shutdown()
	}
	_ = os.RemoveAll(l.dir)
}

func newLargeBook(ctx context.Context) (l *largeBook, err error) {
	l = &largeBook{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.dir, err = os.MkdirTemp("", "bench-recon-"); err != nil {
		return l, err
	}
	if l.nats, err = natsd.Start(natsd.Config{StoreDir: filepath.Join(l.dir, "nats"), RelaxedSync: true}); err != nil {
		return l, err
	}
	if l.engine, err = chd.Start(ctx, chd.Config{DataDir: filepath.Join(l.dir, "clickhouse"), Progress: os.Stderr, IgnoreDSN: true}); err != nil {
		return l, err
	}
	if err = warehouse.Migrate(ctx, l.engine.DSN(), nil); err != nil {
		return l, err
	}
	if l.db, err = warehouse.Open(l.engine.DSN()); err != nil {
		return l, err
	}
	if l.bus, err = bus.Connect(bus.Config{URL: l.nats.URL(), Name: "bench"}); err != nil {
		return l, err
	}
	if err = l.bus.Provision(ctx, bus.DefaultSettings()); err != nil {
		return l, err
	}
	l.shop = sim.New(sim.Config{Seed: 1, Opening: 1 << 40})
	handler := l.shop.Handler()
	l.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.calls.Add(1)
		handler.ServeHTTP(w, r)
	}))
	return l, nil
}

func largeCard(i, cards int) string { return fmt.Sprintf("8988308650%09d", i%cards) }

// fill makes both books: settled orders, open ones whose answers were lost, CDRs of
// every card, and differences.
func (l *largeBook) fill(ctx context.Context, orders int) error {
	cards := orders / largeOpen
	led, err := ledger.New(l.bus, "bench")
	if err != nil {
		return err
	}
	defer led.Close()
	at := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(512)
	for i := range orders {
		id, iccid := fmt.Sprintf("large-%07d", i), largeCard(i, cards)
		if _, err := l.shop.Plant(sim.Order{OutTradeNo: id, ICCID: iccid}, true, false); err != nil {
			return err
		}
		there, _ := l.shop.Order(id)
		if i%(orders/largeWrong) == 1 && i%largeOpen != 0 {
			if err := l.shop.SetPrice(id, sim.Money{Minor: 1234, Currency: "USD"}, false); err != nil {
				return err
			}
			l.wrong++
		}
		g.Go(func() error {
			req := order.Request{OrderID: id, Supplier: order.EIOTCLUB, Product: order.ProductPackage, Account: "default", ICCID: iccid, PackageCode: sim.PackageCode}
			rec := order.Record{OrderID: id, Supplier: req.Supplier, Product: req.Product, Account: req.Account, State: order.Intent, Certainty: order.CertainUnknown,
				Request: req, RequestHash: req.Hash(), AcceptedAt: time.Now(), FirstSentAt: &at, LastSentAt: &at, Attempt: 1, At: at}
			e, err := led.Append(gctx, &ledger.Entry{}, rec)
			if err != nil {
				return err
			}
			if i%largeOpen == 0 {
				rec.State = order.Unknown
				if err := led.Guard(gctx, ledger.Open{OrderID: id, Supplier: order.EIOTCLUB, Account: "default", State: order.Unknown, Due: at}); err != nil {
					return err
				}
			} else {
				rec.State, rec.Certainty, rec.Evidence, rec.SupplierOrderID = order.Fulfilled, order.CertainPlaced, order.EvidenceReply, there.ID()
				rec.Total = &order.Money{Amount: decimal.New(there.Price.Minor, -2), Currency: there.Price.Currency}
			}
			_, err = led.Append(gctx, e, rec)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	day := time.Now().UTC().Truncate(24 * time.Hour).Add(-12 * time.Hour)
	for i := range cards {
		bytes := int64(1000)
		if i%100 == 0 {
			bytes++ // of another sum there
			l.wrong++
		}
		l.shop.RecordUsage(largeCard(i, cards), day, bytes)
	}
	return l.db.Conn().Exec(ctx, `INSERT INTO simline.cdr (id, start_time, stop_time, iccid, imsi, data_usage, imei, mccmnc, account, file, row_hash)
		SELECT number, toDateTime(?, 'UTC'), toDateTime(?, 'UTC'), concat('8988308650', leftPad(toString(number), 9, '0')), '', 1000, '', '31026', 'default', 'f', number FROM numbers(?)`,
		day.Unix(), day.Unix()+60, cards)
}

// once runs one job to its end and reads what it says of itself.
func (l *largeBook) once(ctx context.Context, job string) (took time.Duration, calls, least int, mib float64, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(l.dir, "bin", "reconciler"), "--once", job)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LOG_FORMAT=json", "LOG_LEVEL=info", "ADMIN_ADDR=127.0.0.1:0", "NATS_URL=" + l.nats.URL(),
		"CLICKHOUSE_DSN=" + l.engine.DSN(), "EIOTCLUB_BASE_URL=" + l.srv.URL, "EIOTCLUB_APP_KEY=" + l.shop.AppKey(), "EIOTCLUB_APP_SECRET=" + l.shop.Secret(),
		"RECON_SETTLE=0s", "RECON_SPREAD=0", "RECON_LOOKBACK=48h", "GOMEMLIMIT=440MiB"}
	var log, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &errs
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, 0, 0, err
	}
	peak := watchMemory(cmd.Process.Pid)
	err = cmd.Wait()
	mib = float64(peak()) / 1024
	if err != nil {
		return 0, 0, 0, 0, fmt.Errorf("reconciler --once %s: %w\n%.2000s", job, err, errs.String())
	}
	took = time.Since(began)
	for line := range strings.Lines(log.String() + errs.String()) {
		var said struct {
			Msg            string
			Calls, Optimum int
		}
		if json.Unmarshal([]byte(line), &said) == nil && said.Msg == "compared" {
			calls, least = calls+said.Calls, least+said.Optimum
		}
	}
	return took, calls, least, mib, nil
}

// watchMemory reads a process's peak memory for as long as it lives; the function
// returned says how much it was, in KiB. What the kernel says of an ended child
// counts its parent's memory in.
func watchMemory(pid int) func() int64 {
	done, end := make(chan struct{}), make(chan int64, 1)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		var most int64
		for {
			if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
				for line := range strings.Lines(string(status)) {
					if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
						n, _ := strconv.ParseInt(strings.Fields(kb)[0], 10, 64)
						most = max(most, n)
					}
				}
			}
			select {
			case <-done:
				end <- most
				return
			case <-tick.C:
			}
		}
	}()
	return func() int64 { close(done); return <-end }
}

func reconLargeOf(ctx context.Context, orders int) ([]Result, error) {
	l, err := newLargeBook(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	if err := e2e.Build(ctx, filepath.Join(l.dir, "bin")); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := l.fill(ctx, orders); err != nil {
		return nil, fmt.Errorf("fill the books: %w", err)
	}
	fmt.Fprintf(os.Stderr, "bench: books of %d orders were filled in %s\n", orders, time.Since(began).Round(time.Second))
	var out []Result
	jobs := []string{reconciler.JobUnsettled, reconciler.JobRecords, reconciler.JobBalance, reconciler.JobNotifications, reconciler.JobUsage, reconciler.JobConflicts,
		reconciler.JobBalance, reconciler.JobRecords, reconciler.JobBalance} // the last judges what the others noted, after records had its turn
	for i, job := range jobs {
		time.Sleep(time.Second) // periods are of whole seconds
		before := l.calls.Load()
		took, calls, least, mib, err := l.once(ctx, job)
		if err != nil {
			return nil, err
		}
		if made := int(l.calls.Load() - before); made != calls {
			return nil, fmt.Errorf("%s says %d calls, the supplier had %d", job, calls, made)
		}
		if mib > largeMost {
			return nil, fmt.Errorf("%s took %.0f MiB of %d", job, mib, largeMost)
		}
		ratio := 1.0
		if calls > 0 {
			ratio = float64(least) / float64(calls)
		}
		out = append(out, Result{Name: fmt.Sprintf("recon_large_%dk_%d_%s", orders/1000, i+1, job), Value: mib, Unit: "MiB", Ratio: ratio,
			Against: fmt.Sprintf("optimum of %d calls, %d made, in %s; at most %d MiB", least, calls, took.Round(time.Millisecond), largeMost)})
		fmt.Fprintf(os.Stderr, "bench: %d orders, %s: %.0f MiB, %d calls of %d, %s\n", orders, job, mib, calls, least, took.Round(time.Millisecond))
	}
	return out, l.check(ctx)
}

// check holds what was found against what was planted.
func (l *largeBook) check(ctx context.Context) error {
	book, err := reconciler.OpenBook(ctx, l.bus, time.Now)
	if err != nil {
		return err
	}
	entries, err := book.List(ctx, "")
	if err != nil {
		return err
	}
	found := map[string]int{}
	for _, e := range entries {
		found[e.Finding.Kind]++
	}
	stuck := found[reconciler.KindStuck]
	if n := found[reconciler.KindPrice] + found[reconciler.KindUsageMissing]; n != l.wrong || len(entries) != n+stuck {
		return fmt.Errorf("%d differences planted, found %v", l.wrong, found)
	}
	return nil
}
