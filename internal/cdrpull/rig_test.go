package cdrpull

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/devstack/chd"
	"github.com/simline/simline/internal/service"
	simftp "github.com/simline/simline/internal/sim/ftp"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/warehouse/warehousetest"
	"github.com/simline/simline/internal/wire"
)

// enough is how long a test waits for what must come; who is right never needs it.
const enough = 2 * time.Minute

// rig is everything around a worker: real NATS, the real engine, an FTP server.
type rig struct {
	t    testing.TB
	nats *bustest.Server
	bus  *bus.Bus
	db   *warehouse.DB
	dsn  string
	ftp  *simftp.Server
	url  string
	dir  string // the served directory
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r, _ := newRigWithEngine(t)
	return r
}

// newRigWithEngine also gives the engine, to be killed.
func newRigWithEngine(t testing.TB) (*rig, *chd.Server) {
	t.Helper()
	engine := warehousetest.Migrated(t)
	r := &rig{t: t, dsn: engine.DSN()}
	var err error
	if r.db, err = warehouse.Open(r.dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.db.Close() })
	// What is set aside here is of the rig's clock, in January 2026; the engine's goes
	// on, and two years later it would forget it while the test runs.
	if err := r.db.Conn().Exec(t.Context(), "ALTER TABLE simline.cdr_rejects REMOVE TTL"); err != nil {
		t.Fatal(err)
	}
	r.nats, r.bus = bustest.Provisioned(t, bustest.Options{})
	r.ftp = simftp.New(simftp.Config{Root: t.TempDir()})
	url, err := r.ftp.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.ftp.Close)
	r.url, r.dir = url, r.ftp.Path()
	return r, engine
}

// config is a quick one for account default, number 10001.
func (r *rig) config() *Config {
	return &Config{
		Settings:        service.Settings{LogFormat: "text", LogLevel: "info", NATSURL: r.nats.URL(), AdminAddr: "127.0.0.1:0", Grace: time.Second},
		AccountSettings: service.AccountSettings{CDRFTPURL: r.url, CDRAccount: "10001"},
		ClickHouseDSN:   r.dsn, PollInterval: 40 * time.Millisecond, SettleInterval: 30 * time.Millisecond,
		LateAfter: 90 * time.Minute, GapHorizon: time.Hour, MaxRejectShare: 0.2, AfterLoad: afterKeep, MoveTo: "loaded",
		SealAfter: time.Hour, SpoolDir: r.t.TempDir(),
	}
}

// now is the rig's clock: a while after the documented example's windows.
var now = time.Date(2026, 1, 15, 9, 0, 0, 0, time.UTC)

func (r *rig) worker(cfg *Config) *Worker {
	r.t.Helper()
	if err := cfg.Validate(); err != nil {
		r.t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	w, err := New(Parts{Config: cfg, Bus: r.nats.Connect(r.nats.URL()), DB: r.db, Log: log, Metrics: prometheus.NewRegistry(), Now: func() time.Time { return now }})
	if err != nil {
		r.t.Fatal(err)
	}
	w.pause = func(uint64) time.Duration { return 50 * time.Millisecond }
	return w
}

// start runs the worker until the test ends or the returned function is called.
func (r *rig) start(w *Worker) (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, context.Background()) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				r.t.Errorf("Run: %v", err)
			}
		case <-time.After(enough):
			r.t.Error("Run does not end")
		}
	})
	r.t.Cleanup(stop)
	return stop
}

func (r *rig) write(name, content string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// events reads n events of one subject, as they come.
func (r *rig) events(subject string, n int) []wire.Envelope {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), enough)
	defer cancel()
	cons, err := r.bus.JS.OrderedConsumer(ctx, bus.StreamCDREvents, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		r.t.Fatal(err)
	}
	it, err := cons.Messages()
	if err != nil {
		r.t.Fatal(err)
	}
	defer it.Stop()
	defer context.AfterFunc(ctx, it.Stop)()
	var out []wire.Envelope
	for len(out) < n {
		msg, err := it.Next()
		if err != nil {
			r.t.Fatalf("%d of %d events on %s: %v", len(out), n, subject, err)
		}
		env, err := wire.ParseEnvelope(msg.Data())
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, env)
	}
	return out
}

// loaded waits for n loaded events of account default.
func (r *rig) loaded(n int) []wire.CDRLoaded {
	r.t.Helper()
	var out []wire.CDRLoaded
	for _, e := range r.events(bus.SubjectCDRLoaded("default"), n) {
		var l wire.CDRLoaded
		if err := json.Unmarshal(e.Data, &l); err != nil {
			r.t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

// wait waits until a file's state in the bucket is state. One that is followed by
// another soon may have passed before it was looked for.
func (r *rig) wait(file, state string) fileState {
	r.t.Helper()
	return r.waitFor(file, state, func(st fileState) bool { return st.State == state })
}

// waitFor waits until a file's state in the bucket is as is wanted.
func (r *rig) waitFor(file, what string, ok func(fileState) bool) fileState {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), enough)
	defer cancel()
	kv, err := r.bus.JS.KeyValue(ctx, bus.BucketCDRFiles)
	if err != nil {
		r.t.Fatal(err)
	}
	w, err := kv.Watch(ctx, fileKey("default", file))
	if err != nil {
		r.t.Fatal(err)
	}
	var last fileState
	for e := range w.Updates() {
		if e == nil {
			continue
		}
		last = fileState{}
		if err := json.Unmarshal(e.Value(), &last); err != nil {
			r.t.Fatal(err)
		}
		if ok(last) {
			return last
		}
	}
	r.t.Fatalf("%s is %+v, want %s", file, last, what)
	return last
}

func one[T any](t testing.TB, db *warehouse.DB, query string, args ...any) T {
	t.Helper()
	var v T
	if err := db.Conn().QueryRow(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// usage is SUM(bytes) as BI sees it.
func (r *rig) usage() uint64 {
	r.t.Helper()
	return one[uint64](r.t, r.db, "SELECT sum(bytes) FROM mart.usage_hourly")
}

func (r *rig) records() uint64 {
	r.t.Helper()
	return one[uint64](r.t, r.db, "SELECT sum(records) FROM mart.usage_hourly")
}

// at is a time in the morning of the example's day.
func at(minute int) time.Time { return time.Date(2026, 1, 15, 0, minute, 0, 0, time.UTC) }

// fileName is a window in minutes of the day; generated in minutes as well.
func fileName(from, to, generated int) string {
	return cdr.Name{Account: "10001", Start: at(from), End: at(to), Generated: at(generated)}.String()
}

func record(id int64, minute int, bytes int64) cdr.Record {
	return cdr.Record{ID: id, Start: at(minute), Stop: at(minute).Add(30 * time.Second), ICCID: fmt.Sprintf("89883086501005%05d", id%100),
		IMSI: "454310000000001", Usage: bytes, IMEI: "350000000000001", MCCMNC: "46001"}
}

func csv(records ...cdr.Record) string {
	b := bytes.NewBufferString(cdr.Header + "\n")
	for _, r := range records {
		b.Write(r.AppendCSV(nil))
	}
	return b.String()
}

var consumerAll = jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy}
