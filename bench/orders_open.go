package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
)

const openOrderCount = 100_000

// ordersOpen measures what open orders cost: the real binary beside an index of
// 100,000 placed orders, each with an entry of its own, which is the dearest form.
// First none is due, and walks through the index are timed; then all are, at once,
// and the supplier, which answers at once, has each fulfilled.
func ordersOpen(ctx context.Context) ([]Result, error) {
	s, err := newOrderStage(ctx, true)
	if err != nil {
		return nil, err
	}
	defer s.close()
	shop := httptest.NewServer(http.HandlerFunc(hasAll))
	defer shop.Close()
	bin := filepath.Join(s.dir, "orderer")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", bin, "github.com/simline/simline/cmd/orderer").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build orderer: %w: %s", err, out)
	}
	due, err := s.fillOpen(ctx, openOrderCount)
	if err != nil {
		return nil, err
	}
	admin, pid, stop, err := startOrderer(ctx, bin, "NATS_URL="+s.natsURL, "EIOTCLUB_BASE_URL="+shop.URL, "EIOTCLUB_APP_KEY=1",
		"EIOTCLUB_APP_SECRET=bench", "LOG_FORMAT=json", "ORDER_SWEEP_INTERVAL=1s", "ORDER_ACK_WAIT=5m")
	if err != nil {
		return nil, err
	}
	defer stop()
	walk, idle, err := sweepSeconds(ctx, admin, pid, due)
	if err != nil {
		return nil, err
	}
	events, err := s.bus.JS.Stream(ctx, bus.StreamOrderEvents)
	if err != nil {
		return nil, err
	}
	for left := openOrderCount; left > 0; {
		info, err := events.Info(ctx)
		if err != nil {
			return nil, err
		}
		left = 3*openOrderCount - int(info.State.Msgs)
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
	took := time.Since(due).Seconds()
	n := strconv.Itoa(openOrderCount)
	return []Result{
		{Name: "orders_open_walk", Value: walk * 1000, Unit: "ms", Against: n + " open orders, none due: one walk of a supplier"},
		{Name: "orders_open_due", Value: openOrderCount / took, Unit: "orders/s", Against: fmt.Sprintf("%s open orders, all due at once: looked at and settled in %.1f s", n, took)},
		{Name: "orders_open_memory", Value: peakRSS(pid), Unit: "MiB", Against: fmt.Sprintf("peak of the process (%.0f MiB while none was due)", idle)},
	}, nil
}

// startOrderer starts the binary with its admin page at a free port.
func startOrderer(ctx context.Context, bin string, env ...string) (admin string, pid int, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", 0, nil, err
	}
	admin = l.Addr().String()
	if err := l.Close(); err != nil {
		return "", 0, nil, err
	}
	cmd := exec.CommandContext(ctx, bin)
	cmd.Env = append(append(os.Environ(), env...), "ADMIN_ADDR="+admin)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", 0, nil, err
	}
	return admin, cmd.Process.Pid, func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}, nil
}

// hasAll is a supplier that has whatever order it is asked for, in use.
func hasAll(w http.ResponseWriter, r *http.Request) {
	var q struct {
		ID string `json:"outTradeNoArrStr"`
	}
	_ = json.NewDecoder(r.Body).Decode(&q)
	number := strings.TrimPrefix(q.ID, "bench-")
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"code":"200","message":"ok","data":[{"outTradeNo":%q,"orderId":%q,"orderNumber":"N1","state":"1"}]}`, q.ID, number)
}

// fillOpen makes n placed orders, and an entry of each in the index. It returns when
// they are due.
func (s *orderStage) fillOpen(ctx context.Context, n int) (time.Time, error) {
	book, err := ledger.New(s.bus, "bench")
	if err != nil {
		return time.Time{}, err
	}
	defer book.Close()
	each := func(do func(id string, i int) error) error {
		g := new(errgroup.Group)
		g.SetLimit(256)
		for i := range n {
			g.Go(func() error { return do(fmt.Sprintf("bench-%d", 10_000_000+i), i) })
		}
		return g.Wait()
	}
	err = each(func(id string, i int) error {
		intent, err := book.Append(ctx, &ledger.Entry{}, archiverRecord(id, i, order.Intent))
		if err == nil {
			_, err = book.Append(ctx, intent, archiverRecord(id, i, order.Placed))
		}
		return err
	})
	if err != nil {
		return time.Time{}, err
	}
	due := time.Now().Add(45 * time.Second)
	return due, each(func(id string, _ int) error {
		return book.Guard(ctx, ledger.Open{OrderID: id, Supplier: order.EIOTCLUB, Account: "default", State: order.Placed, Due: due})
	})
}

// sweepSeconds is how long a walk took on average while nothing was due, and how
// much memory the process had used until then, in MiB.
func sweepSeconds(ctx context.Context, admin string, pid int, due time.Time) (walk, rss float64, err error) {
	const walks = 4
	for {
		sum, count, err := sweeps(ctx, admin) // refused until it has started
		switch {
		case !time.Now().Before(due):
			return 0, 0, fmt.Errorf("%v walks before the orders were due, want %d: %v", count, walks, err)
		case err == nil && count >= walks:
			rss = peakRSS(pid)
			return sum / count, rss, pause(ctx, time.Until(due))
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
}

var adminClient = &http.Client{Timeout: 5 * time.Second}

func sweeps(ctx context.Context, admin string) (sum, count float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		return 0, 0, err
	}
	resp, err := adminClient.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "simline_orderer_sweep_seconds_sum":
			sum, err = strconv.ParseFloat(value, 64)
		case "simline_orderer_sweep_seconds_count":
			count, err = strconv.ParseFloat(value, 64)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return sum, count, lines.Err()
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
