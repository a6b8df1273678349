package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
)

// orderStage is a fresh server and a supplier that answers at once.
type orderStage struct {
	dir      string
	natsURL  string
	shopURL  string
	bus      *bus.Bus
	settings bus.Settings
	stops    []func()
}

func newOrderStage(ctx context.Context, relaxed bool) (_ *orderStage, err error) {
	dir, err := os.MkdirTemp("", "bench-orders-")
	if err != nil {
		return nil, err
	}
	s := &orderStage{dir: dir, settings: bus.DefaultSettings()}
	s.stops = append(s.stops, func() { _ = os.RemoveAll(dir) })
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	s.settings.AckWait = 5 * time.Minute // nothing is given twice while the machine is busy
	if s.natsURL, err = s.start(ctx, "nats", "BENCH_DIR="+dir, "BENCH_RELAXED="+strconv.FormatBool(relaxed)); err != nil {
		return nil, err
	}
	if s.shopURL, err = s.start(ctx, "shop"); err != nil {
		return nil, err
	}
	if s.bus, err = bus.Connect(bus.Config{URL: s.natsURL, Name: "bench"}); err != nil {
		return nil, err
	}
	s.stops = append(s.stops, s.bus.Close)
	return s, s.bus.Provision(ctx, s.settings)
}

// start starts a part of the stage as a process of its own.
func (s *orderStage) start(ctx context.Context, part string, env ...string) (addr string, err error) {
	stop, addr, err := benchChild(ctx, part, env...)
	if err == nil {
		s.stops = append(s.stops, stop)
	}
	return addr, err
}

func (s *orderStage) close() {
	for _, stop := range slices.Backward(s.stops) {
		stop()
	}
}

// shopChild is a supplier that answers at once, and counts.
func shopChild() (string, error) {
	var sold atomic.Int64
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/orderPackage"):
			fmt.Fprintf(w, `{"code":"200","message":"ok","data":{"orderNumber":"N%[1]d","orderId":%[1]d}}`, sold.Add(1))
		case r.URL.Path == "/sold":
			fmt.Fprint(w, sold.Load())
		default: // the account's balance, asked for once
			fmt.Fprint(w, `{"code":"200","message":"ok","data":{"balance":"1000.00","currency":"USD"}}`)
		}
	})).URL, nil
}

// sold asks the supplier how many orders it has.
func (s *orderStage) sold(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.shopURL+"/sold", nil)
	if err != nil {
		return 0, err
	}
	client := http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(body))
}

var benchRequest = bus.SubjectRequest(order.EIOTCLUB, order.ProductPackage)

func benchOrder(i int) []byte {
	return fmt.Appendf(nil, `{"order_id":"bench-%d","supplier":"eiotclub","product":"package","account":"default","iccid":"89883086501%08d","package_code":"CN-5M-7D-C-US-20230103AC4BF927","expires_at":"2099-01-15T00:00:00Z","metadata":{}}`, i, i)
}

// fill publishes n requests on subject.
func (s *orderStage) fill(ctx context.Context, subject string, n int) error {
	c, err := bus.NewCommitter(s.bus, bus.CommitOptions{MinBatch: 64})
	if err != nil {
		return err
	}
	defer c.Close()
	var g errgroup.Group
	next := atomic.Int64{}
	for range 256 {
		g.Go(func() error {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if _, err := c.Publish(ctx, &nats.Msg{Subject: subject, Data: benchOrder(int(i)), Header: nats.Header{}}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}
