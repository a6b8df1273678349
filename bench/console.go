package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/console"
	"github.com/simline/simline/internal/devstack/chd"
	"github.com/simline/simline/internal/devstack/natsd"
	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

const consoleToken = "a token for the bench"

// consoleBench asks the page, with 100,000 orders of three events each and 10,000
// dead letters behind it, for its views and for orders by each of their ids, and
// prints the 95th percentile of each beside what the login costs, which reads
// nothing; and when Chromium paints the first page, if there is one.
func consoleBench(ctx context.Context) (_ []Result, err error) {
	const orders, letters = 100_000, 10_000
	dir, err := os.MkdirTemp("", "bench-console-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	nats, err := natsd.Start(natsd.Config{StoreDir: filepath.Join(dir, "nats"), RelaxedSync: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, nats.Shutdown()) }()
	engine, err := chd.Start(ctx, chd.Config{DataDir: filepath.Join(dir, "ch"), Progress: os.Stderr, IgnoreDSN: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, engine.Stop()) }()
	if err := warehouse.Migrate(ctx, engine.DSN(), nil); err != nil {
		return nil, err
	}
	db, err := warehouse.Open(engine.DSN())
	if err != nil {
		return nil, err
	}
	defer db.Close()
	b, err := bus.Connect(bus.Config{URL: nats.URL(), Name: "bench"})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if err := b.Provision(ctx, bus.DefaultSettings()); err != nil {
		return nil, err
	}
	if err := fillConsole(ctx, b, db, orders, letters); err != nil {
		return nil, err
	}
	op, err := operator.New(b, wire.ViaConsole)
	if err != nil {
		return nil, err
	}
	defer op.Close()
	s, err := console.New(ctx, console.Config{Addr: "127.0.0.1:0", Token: consoleToken, ClickHouseDSN: engine.DSN()},
		console.Deps{Bus: b, Operator: op, Warehouse: db, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(serving) }()
	defer func() { stop(); err = errors.Join(err, <-done) }()
	return askConsole(ctx, "http://"+s.Addr(), orders)
}

func askConsole(ctx context.Context, base string, orders int) ([]Result, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Jar: jar, Timeout: time.Minute}
	ask := func(path string) (time.Duration, error) {
		begin := time.Now()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
		if err != nil {
			return 0, err
		}
		res, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err == nil && res.StatusCode != http.StatusOK && !strings.Contains(string(body), "Who are you?") {
			err = fmt.Errorf("%s: %s", path, res.Status)
		}
		return time.Since(begin), err
	}
	p95 := func(n int, path func(i int) string) (float64, error) {
		var ms []float64
		for i := range n {
			d, err := ask(path(i))
			if err != nil {
				return 0, err
			}
			ms = append(ms, float64(d.Microseconds())/1000)
		}
		slices.Sort(ms)
		return ms[len(ms)*95/100], nil
	}
	login, err := p95(40, func(int) string { return "/" })
	if err != nil {
		return nil, err
	}
	form := url.Values{"name": {"bench"}, "token": {consoleToken}, "next": {"/switches"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/login", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	_ = res.Body.Close() // where it leads is asked for below
	n := func(i int) int { return (i*7919 + 13) % orders }
	var out []Result
	for _, c := range []struct {
		name string
		n    int
		path func(i int) string
	}{
		{"overview", 20, func(int) string { return "/" }},
		{"orders, newest", 20, func(int) string { return "/orders" }},
		{"orders, held", 20, func(int) string { return "/orders?state=held" }},
		{"search by order id", 60, func(i int) string { return fmt.Sprintf("/orders?q=bench-%06d", n(i)) }},
		{"search by ICCID", 60, func(i int) string { return fmt.Sprintf("/orders?q=89883086%011d", n(i)) }},
		{"search by supplier's id", 60, func(i int) string { return fmt.Sprintf("/orders?q=S%d", n(i)) }},
		{"dead letters", 20, func(int) string { return "/dead" }},
		{"dead letters, rare error", 20, func(int) string { return "/dead?error=conflict" }},
		{"preview of a bulk replay", 5, func(int) string { return "/dead/replay?stream=ORDERS" }},
	} {
		v, err := p95(c.n, c.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		out = append(out, Result{Name: "console: " + c.name, Value: v, Unit: "ms, p95", Against: figure("login, which reads nothing", login, "ms"), Ratio: v / login})
	}
	if paint, err := firstPaint(ctx, base); err == nil {
		out = append(out, Result{Name: "console: first paint in Chromium", Value: paint, Unit: "ms", Against: figure("login, which reads nothing", login, "ms"), Ratio: paint / login})
	} else {
		fmt.Fprintln(os.Stderr, "bench: console: no first paint:", err)
	}
	return out, nil
}

// paintedAt waits for the browser to say when it painted first, in milliseconds.
const paintedAt = `new Promise((done, fail) => {
	const look = (left) => {
		const paint = performance.getEntriesByName("first-contentful-paint")[0];
		if (paint) done(paint.startTime);
		else if (left) setTimeout(look, 20, left - 1);
		else fail(new Error("nothing was painted"));
	};
	look(150);
})`

// firstPaint is the median of when Chromium paints the overview first.
func firstPaint(ctx context.Context, base string) (float64, error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return 0, err
	}
	opts := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.NoSandbox)
	alloc, end := chromedp.NewExecAllocator(ctx, opts...)
	defer end()
	tab, stop := chromedp.NewContext(alloc)
	defer stop()
	if err := chromedp.Do(tab, chromedp.Navigate(base), chromedp.SendKeys(chromedp.CSS(`input[name=name]`), "bench"),
		chromedp.SendKeys(chromedp.CSS(`input[name=token]`), consoleToken+"\r"), chromedp.WaitVisible(chromedp.CSS(`header.top`))); err != nil {
		return 0, err
	}
	var all []float64
	for range 7 {
		if err := chromedp.Do(tab, chromedp.Navigate(base), chromedp.WaitVisible(chromedp.CSS(`header.top`))); err != nil {
			return 0, err
		}
		v, err := chromedp.Run(tab, chromedp.Evaluate[float64](paintedAt, chromedp.EvalAwaitPromise))
		if err != nil {
			return 0, err
		}
		all = append(all, v)
	}
	return median(all), nil
}

// fillConsole puts orders into the ledger (their last event) and ClickHouse (all of
// them), and dead letters onto DEAD.
func fillConsole(ctx context.Context, b *bus.Bus, db *warehouse.DB, orders, letters int) error {
	s, err := b.JS.Stream(ctx, bus.StreamOrderEvents)
	if err != nil {
		return err
	}
	epoch, begin := s.CachedInfo().Created.UTC().Truncate(time.Millisecond), time.Now().Add(-6*24*time.Hour).UTC()
	states := []order.State{order.Intent, order.Placed, order.Fulfilled}
	in := warehouse.NewEventInserter(db, warehouse.OrderEvents)
	rows := in.Block(30_000, 0)
	for i := range orders {
		id, at := fmt.Sprintf("bench-%06d", i), begin.Add(time.Duration(i)*5*time.Second)
		for j, state := range states {
			if j == 2 && i%1000 == 0 {
				state = order.Held
			}
			rows.Add(warehouse.OrderEvent{EventKey: warehouse.EventKey{Epoch: epoch, Sequence: uint64(3*i + j + 1), PublishedAt: at, ArchivedAt: at, Raw: "{}"}, OrderID: id, Supplier: order.EIOTCLUB,
				Product: order.ProductPackage, Account: "default", State: string(state), Certainty: "placed", SupplierOrderID: fmt.Sprintf("S%d", i), ICCIDs: []string{fmt.Sprintf("89883086%011d", i)},
				Quantity: 1, At: at.Add(time.Duration(j) * time.Second), AcceptedAt: at})
		}
		if rows.Len() == 30_000 || i == orders-1 {
			if err := in.Insert(ctx, fmt.Sprint("bench-", i), rows); err != nil {
				return err
			}
			rows = in.Block(30_000, 0)
		}
		r := order.Record{OrderID: id, Supplier: order.EIOTCLUB, Product: order.ProductPackage, Account: "default", State: order.Fulfilled, Certainty: order.CertainPlaced, SupplierOrderID: fmt.Sprintf("S%d", i), At: at, AcceptedAt: at}
		data, err := r.AppendJSON(nil)
		if err != nil {
			return err
		}
		env := fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/simline/bench","type":%q,"time":%q,"data":%s}`, i, wire.TypeOrder("fulfilled"), at.Format(time.RFC3339Nano), data)
		if err := publishSoon(b, bus.SubjectOrderEvent(id, order.EIOTCLUB, "fulfilled"), []byte(env)); err != nil {
			return err
		}
	}
	for i := range letters {
		reason := wire.ReasonUnknownAccount
		if i%5000 == 17 {
			reason = wire.ReasonConflict
		}
		m := bus.NewDeadLetter(bus.DeadLetter{Stream: bus.StreamOrders, Subject: bus.SubjectRequest(order.EIOTCLUB, "package"), Reason: reason, Cause: errors.New("no such account"), Attempts: "1",
			Data: fmt.Appendf(nil, `{"order_id":"dead-%d","supplier":"eiotclub","product":"package","iccid":"89883086%011d","package_code":"P"}`, i, i)})
		if _, err := b.JS.PublishMsgAsync(m); err != nil {
			return err
		}
	}
	select {
	case <-b.JS.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func publishSoon(b *bus.Bus, subject string, data []byte) error {
	_, err := b.JS.PublishMsgAsync(bus.NewMsg(subject, "", data))
	return err
}
