package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/shopspring/decimal"
	"golang.org/x/sync/errgroup"

	"github.com/simline/simline/internal/archiver"
	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/devstack/chd"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

const (
	archiverEvents = 120_000
	archiverRounds = 3
)

// archiverBench measures how fast order events get from their stream into
// ClickHouse, against the engine's own insert of the very rows that resulted,
// from a file of JSON lines.
func archiverBench(ctx context.Context) ([]Result, error) {
	var ours, engine []float64
	for range archiverRounds {
		a, e, err := archiverRound(ctx)
		if err != nil {
			return nil, err
		}
		ours, engine = append(ours, a), append(engine, e)
	}
	return []Result{{Name: "archiver", Value: median(ours), Unit: "events/s",
		Against: figure("INSERT … FROM INFILE … FORMAT JSONEachRow", median(engine), "events/s"), Ratio: median(ours) / median(engine)}}, nil
}

func archiverRound(ctx context.Context) (ours, engine float64, err error) {
	dir, err := os.MkdirTemp("", "bench-archiver-")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	stop, url, err := benchChild(ctx, "nats", "BENCH_DIR="+filepath.Join(dir, "nats"), "BENCH_RELAXED=true")
	if err != nil {
		return 0, 0, err
	}
	defer stop()
	ch, err := chd.Start(ctx, chd.Config{DataDir: filepath.Join(dir, "clickhouse"), Progress: os.Stderr, IgnoreDSN: true})
	if err != nil {
		return 0, 0, err
	}
	defer ch.Stop()
	if err := warehouse.Migrate(ctx, ch.DSN(), nil); err != nil {
		return 0, 0, err
	}
	db, err := warehouse.Open(ch.DSN())
	if err != nil {
		return 0, 0, err
	}
	defer db.Close()
	b, err := bus.Connect(bus.Config{URL: url, Name: "bench"})
	if err != nil {
		return 0, 0, err
	}
	defer b.Close()
	if err := b.Provision(ctx, bus.DefaultSettings()); err != nil {
		return 0, 0, err
	}
	if err := archiverFill(ctx, b, archiverEvents); err != nil {
		return 0, 0, err
	}
	if ours, err = archiverDrain(ctx, b, db, ch.DSN(), archiverEvents); err != nil {
		return 0, 0, err
	}
	engine, err = archiverEngine(ctx, db, filepath.Join(dir, "rows.json"), archiverEvents)
	return ours, engine, err
}

// archiverFill puts the three events of an order's usual life on the stream,
// again and again; every third order is an eSIM with what installs it.
func archiverFill(ctx context.Context, b *bus.Bus, n int) error {
	c, err := bus.NewCommitter(b, bus.CommitOptions{MinBatch: 64})
	if err != nil {
		return err
	}
	defer c.Close()
	var next atomic.Int64
	var g errgroup.Group
	states := []order.State{order.Intent, order.Placed, order.Fulfilled}
	for range 256 {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				id, state := fmt.Sprintf("bench-%d", i/3), states[i%3]
				env, err := wire.NewEnvelope(wire.TypeOrder(string(state)), wire.Source("orderer"), id, fmt.Sprint(i), time.Now(), archiverRecord(id, i/3, state))
				if err == nil {
					var data []byte
					if data, err = env.Marshal(); err == nil {
						_, err = c.Publish(ctx, &nats.Msg{Subject: bus.SubjectOrderEvent(id, order.EIOTCLUB, string(state)), Data: data, Header: nats.Header{}})
					}
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func archiverRecord(id string, i int, state order.State) order.Record {
	at := time.Now().UTC()
	r := order.Record{OrderID: id, Supplier: order.EIOTCLUB, Product: order.ProductPackage, Account: "default", State: state, Certainty: order.CertainUnknown, At: at, AcceptedAt: at, Attempt: 1,
		Request:     order.Request{OrderID: id, Supplier: order.EIOTCLUB, Product: order.ProductPackage, Account: "default", ICCID: fmt.Sprintf("89883086501%08d", i), PackageCode: "CN-5M-7D-C-US-20230103AC4BF927"},
		RequestHash: "b1946ac92492d2347c6235b4d2611184b1946ac92492d2347c6235b4d2611184", SupplierRequestID: id, Writer: "0123456789abcdef", FirstSentAt: &at, LastSentAt: &at}
	if state != order.Intent {
		r.Certainty, r.Evidence, r.SupplierOrderID = order.CertainPlaced, order.EvidenceReply, fmt.Sprint(10_000_000+i)
		r.Total = &order.Money{Amount: decimal.New(125, -2), Currency: "USD"}
	}
	if i%3 == 0 && state == order.Fulfilled {
		r.ESIMs = []order.ESIM{{ICCID: r.Request.ICCID, ActivationCode: "LPA:1$smdp.example.com$0123456789", QRCodeURL: "https://example.com/q", AppleInstallURL: "https://example.com/a"}}
	}
	return r
}

// archiverDrain runs archiver until all is in ClickHouse.
func archiverDrain(ctx context.Context, b *bus.Bus, db *warehouse.DB, dsn string, n int) (float64, error) {
	defer service.TuneMemory()() // as cmd/archiver does
	var cfg archiver.Config
	if err := service.LoadConfig([]string{"CLICKHOUSE_DSN=" + dsn, "ARCHIVE_MAX_DELAY=200ms"}, &cfg); err != nil {
		return 0, err
	}
	w := archiver.New(cfg, archiver.Deps{Bus: b, Warehouse: db, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Owner: "bench", Work: context.WithoutCancel(ctx)})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	begin := time.Now()
	go func() { done <- w.Run(ctx) }()
	cons, err := b.JS.Consumer(ctx, bus.StreamOrderEvents, bus.ConsumerArchiver(bus.StreamOrderEvents))
	if err != nil {
		return 0, err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := cons.Info(ctx)
		if err != nil {
			return 0, err
		}
		if info.AckFloor.Stream >= uint64(n) {
			break
		}
		<-tick.C
	}
	rate := float64(n) / time.Since(begin).Seconds()
	cancel()
	<-done
	var rows uint64
	if err := db.Conn().QueryRow(context.WithoutCancel(ctx), "SELECT count() FROM simline.order_events").Scan(&rows); err != nil {
		return 0, err
	}
	if rows != uint64(n) {
		return 0, fmt.Errorf("%d rows of %d", rows, n)
	}
	return rate, nil
}

// archiverEngine lets the engine insert the same rows from a file into a table
// of the same definition.
func archiverEngine(ctx context.Context, db *warehouse.DB, file string, n int) (float64, error) {
	for _, q := range []string{
		"INSERT INTO FUNCTION file('" + file + "', 'JSONEachRow') SELECT * FROM simline.order_events",
		"CREATE TABLE simline.bench_events AS simline.order_events",
	} {
		if err := db.Conn().Exec(ctx, q); err != nil {
			return 0, fmt.Errorf("%s: %w", q, err)
		}
	}
	begin := time.Now()
	if err := db.Conn().Exec(ctx, "INSERT INTO simline.bench_events FROM INFILE '"+file+"' FORMAT JSONEachRow"); err != nil {
		return 0, err
	}
	rate := float64(n) / time.Since(begin).Seconds()
	var rows uint64
	if err := db.Conn().QueryRow(ctx, "SELECT count() FROM simline.bench_events").Scan(&rows); err != nil {
		return 0, err
	}
	if rows != uint64(n) {
		return 0, fmt.Errorf("the engine inserted %d rows of %d", rows, n)
	}
	return rate, nil
}
