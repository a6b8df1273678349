package archiver

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/warehouse/warehousetest"
	"github.com/simline/simline/internal/wire"
)

type rig struct {
	t    *testing.T
	nats *bustest.Server
	bus  *bus.Bus
	db   *warehouse.DB
	cfg  Config
	reg  *prometheus.Registry // of the replica that was run last
}

func start(t *testing.T) *rig {
	t.Helper()
	return startOn(t, warehousetest.DSN(t))
}

// startOn takes an engine that the test may kill.
func startOn(t *testing.T, dsn string) *rig {
	t.Helper()
	if err := warehouse.Migrate(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	db, err := warehouse.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	r := &rig{t: t, nats: bustest.Start(t, bustest.Options{}), db: db}
	r.bus, err = bus.Connect(bus.Config{URL: r.nats.Gated(), Name: "archiver"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.bus.Close() })
	if err := r.bus.Provision(t.Context(), bus.DefaultSettings()); err != nil {
		t.Fatal(err)
	}
	r.cfg = Config{DSN: dsn, MaxDelay: 50 * time.Millisecond, MaxRows: 1000, MaxBytes: 4 << 20, InsertTimeout: 10 * time.Second, LeaseTTL: 2 * time.Second}
	return r
}

// run archives until the returned function is called.
func (r *rig) run(cfg Config) (stop func()) { return r.runAs(cfg, "test") }

func (r *rig) runAs(cfg Config, owner string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	r.reg = prometheus.NewRegistry()
	log := slog.New(slog.NewTextHandler(testWriter{r.t}, nil))
	w := New(cfg, Deps{Bus: r.bus, Warehouse: r.db, Log: log, Metrics: r.reg, Owner: owner, Work: context.Background()})
	done := make(chan struct{})
	go func() { defer close(done); _ = w.Run(ctx) }()
	return func() { cancel(); <-done }
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", strings.TrimSpace(string(p)))
	return len(p), nil
}

var _ io.Writer = testWriter{}

func (r *rig) publish(subject, id string, data []byte) uint64 {
	r.t.Helper()
	ack, err := r.bus.Publish(context.Background(), bus.NewMsg(subject, id, data))
	if err != nil {
		r.t.Fatal(err)
	}
	return ack.Sequence
}

func (r *rig) publishEvent(subject, typ, id string, data any) uint64 {
	r.t.Helper()
	env, err := wire.NewEnvelope(typ, "/simline/test", "", id, time.Now(), data)
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := env.Marshal()
	if err != nil {
		r.t.Fatal(err)
	}
	return r.publish(subject, id, b)
}

func (r *rig) try(query string) (n uint64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err = r.db.Conn().QueryRow(ctx, query).Scan(&n)
	return n, err
}

func (r *rig) number(query string) uint64 {
	r.t.Helper()
	n, err := r.try(query)
	if err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// patiently waits until ok.
func (r *rig) patiently(ok func() bool) {
	r.t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatal("not in time")
		}
	}
}

// eventually waits until the query's number is as wanted.
func (r *rig) eventually(query string, want uint64) {
	r.t.Helper()
	var got uint64
	defer func() {
		if got != want {
			r.t.Errorf("%s: %d, want %d", query, got, want)
		}
	}()
	r.patiently(func() bool {
		n, err := r.try(query)
		got = n
		return err == nil && n == want
	})
}

func record1(i int, state order.State) order.Record {
	total, _ := order.NewMoney("1.25", "USD")
	at := time.Date(2026, 1, 15, 10, 0, i%60, 0, time.UTC)
	return order.Record{OrderID: fmt.Sprintf("o%d", i), Supplier: "eiotclub", Product: "esim", Account: "default", State: state,
		Certainty: order.CertainPlaced, Evidence: order.EvidenceReply, SupplierOrderID: fmt.Sprintf("s%d", i), Total: &total, Attempt: 1, At: at, AcceptedAt: at.Add(-2 * time.Second),
		ESIMs:   []order.ESIM{{ICCID: "8988308650100524999", ActivationCode: "LPA:1$smdp.example$SECRET", QRCodeURL: "https://x/SECRET", AppleInstallURL: "https://y/SECRET"}},
		Request: order.Request{OrderID: fmt.Sprintf("o%d", i), Supplier: "eiotclub", Product: "esim", GoodsCode: "G1"}}
}

func TestEveryStreamIsArchivedOnce(t *testing.T) {
	r := start(t)
	for i := range 50 {
		r.publishEvent(bus.SubjectOrderEvent(fmt.Sprintf("o%d", i), "eiotclub", "fulfilled"), "simline.order.fulfilled.v1", fmt.Sprintf("e%d", i), record1(i, order.Fulfilled))
	}
	body := json.RawMessage(`{"id": "n1","event":"SubPkgList","timestamp":1716860340,"data":"[{\"iccid\":\"8942\",\"orderId\":7,\"outTradeNo\":\"o1\",\"packageCode\":\"P\"},{\"iccid\":\"8943\",\"orderId\":8}]","sign":"X"}`)
	r.publishEvent(bus.SubjectWebhook("eiotclub", "default", "SubPkgList"), "simline.webhook.SubPkgList.v1", "eiotclub:default:n1", body)
	money, _ := order.NewMoney("-3.5", "EUR")
	r.publishEvent(bus.SubjectFinding("order_price"), wire.TypeFinding, "f1:1", wire.Finding{FindingID: "f1", Kind: "order_price", Severity: "warning", Status: "open", OrderID: "o1", Amount: &money, FirstSeen: time.Now(), LastSeen: time.Now()})
	r.publishEvent(bus.SubjectCDRLoaded("default"), wire.TypeCDRLoaded, "c1", wire.CDRLoaded{CDRFile: wire.CDRFile{Account: "default", File: "f.csv"}, Rows: 5, Bytes: 77, LoadedAt: time.Now()})
	r.publishEvent(bus.SubjectCDRGap("default"), wire.TypeCDRGap, "g1", wire.CDRGap{Account: "default", Since: time.Now()})

	stop := r.run(r.cfg)
	r.eventually("SELECT count() FROM simline.order_events", 50)
	r.eventually("SELECT count() FROM simline.webhooks", 1)
	r.eventually("SELECT count() FROM simline.findings WHERE amount = -3.5", 1)
	r.eventually("SELECT count() FROM simline.cdr_events", 2)
	stop()
	for _, stream := range bus.ArchivedStreams { // what a scaler sees, once the server has gone over the acknowledgements
		r.patiently(func() bool {
			c, err := r.bus.JS.Consumer(t.Context(), stream, bus.ConsumerArchiver(stream))
			if err != nil {
				t.Fatal(err)
			}
			info := c.CachedInfo()
			return info.NumPending == 0 && info.NumAckPending == 0
		})
	}
	if n := r.number("SELECT count() FROM simline.order_events WHERE raw ILIKE '%SECRET%' OR raw ILIKE '%LPA:%'"); n != 0 {
		t.Errorf("%d rows hold what installs an eSIM", n)
	}
	if n := r.number("SELECT count() FROM simline.webhooks WHERE raw = '" + strings.ReplaceAll(string(body), `\`, `\\`) + "' AND order_ids = ['o1',''] AND supplier_order_ids = ['7','8'] AND cards = ['8942','8943']"); n != 1 {
		t.Error("the notification is not as it was")
	}
	stop = r.run(r.cfg)
	r.publishEvent(bus.SubjectOrderEvent("o99", "eiotclub", "fulfilled"), "simline.order.fulfilled.v1", "e99", record1(99, order.Fulfilled))
	r.eventually("SELECT count() FROM simline.order_events", 51)
	stop()
	if n := r.number("SELECT toUInt64(count() - uniqExact(sequence)) FROM simline.order_events"); n != 0 {
		t.Errorf("%d rows twice", n)
	}
}

func TestPoisonIsSetAside(t *testing.T) {
	r := start(t)
	subject := bus.SubjectOrderEvent("o1", "eiotclub", "fulfilled")
	r.publish(subject, "", []byte("{"))
	r.publishEvent(subject, "simline.order.fulfilled.v1", "e1", record1(1, order.Fulfilled))
	r.publish(subject, "", []byte(`{"specversion":"1.0","data":{"order_id":7}}`))
	stop := r.run(r.cfg)
	r.eventually("SELECT count() FROM simline.archive_skipped", 2)
	r.eventually("SELECT count() FROM simline.order_events", 1)
	stop()
	stop = r.run(r.cfg) // the last message was poison: it must not be set aside again
	r.publishEvent(subject, "simline.order.fulfilled.v1", "e2", record1(1, order.Fulfilled))
	r.eventually("SELECT count() FROM simline.order_events", 2)
	stop()
	s, err := r.bus.JS.Stream(t.Context(), bus.StreamDead)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != 2 {
		t.Errorf("%d dead letters, want 2", n)
	}
}
