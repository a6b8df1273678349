package archiver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/warehouse/warehousetest"
	"github.com/simline/simline/internal/wire"
)

// feed publishes order events until the returned function is called, which says
// how many there are.
func (r *rig) feed(t *testing.T) (stop func() uint64) {
	ctx, cancel := context.WithCancel(t.Context())
	var n atomic.Uint64
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			<-tick.C
			env, err := wire.NewEnvelope("simline.order.fulfilled.v1", "/simline/test", "", fmt.Sprint("e", i), time.Now(), record1(i, order.Fulfilled))
			if err != nil {
				t.Error(err)
				return
			}
			b, err := env.Marshal()
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := r.bus.Publish(context.Background(), bus.NewMsg(bus.SubjectOrderEvent(fmt.Sprint("o", i), "eiotclub", "fulfilled"), "", b)); err != nil {
				t.Error(err)
				return
			}
			n.Add(1)
		}
	}()
	return func() uint64 { cancel(); <-done; return n.Load() }
}

// exact checks that the table holds every sequence up to n once.
func (r *rig) exact(table string, n uint64) {
	r.t.Helper()
	r.eventually("SELECT max(sequence) FROM "+table, n)
	if got := r.number("SELECT uniqExact(sequence) FROM " + table); got != n {
		r.t.Errorf("%s: %d sequences of %d", table, got, n)
	}
	if got := r.number("SELECT count() FROM " + table + " FINAL"); got != n {
		r.t.Errorf("%s FINAL: %d rows of %d", table, got, n)
	}
	if got := r.number("SELECT count() FROM " + table); got != n {
		r.t.Errorf("%s: %d rows of %d without FINAL", table, got, n)
	}
}

func TestClickHouseComesAndGoes(t *testing.T) {
	srv := warehousetest.Start(t)
	r := startOn(t, srv.DSN())
	fed := r.feed(t)
	stop := r.run(r.cfg)
	r.eventually("SELECT toUInt64(count() > 20) FROM simline.order_events", 1)
	for range 2 {
		srv.Kill()
		restarted := make(chan error, 1)
		time.AfterFunc(300*time.Millisecond, func() { restarted <- srv.Restart() })
		before := uint64(0)
		r.patiently(func() bool {
			n, err := r.try("SELECT count() FROM simline.order_events")
			if before == 0 {
				before = n
			}
			return err == nil && n > before+50
		})
		if err := <-restarted; err != nil { // it answers before Restart returns
			t.Fatal(err)
		}
	}
	n := fed()
	r.exact("simline.order_events", n)
	stop()
}

// feedAll publishes on every archived stream until the returned function is called,
// which says how many messages there are for each table.
func (r *rig) feedAll(t *testing.T) (stop func() map[string]uint64) {
	orders := r.feed(t)
	ctx, cancel := context.WithCancel(t.Context())
	others := map[string]uint64{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		at := time.Now()
		for i := 0; ctx.Err() == nil; i++ {
			<-tick.C
			id := fmt.Sprint("x", i)
			for _, m := range []struct {
				table, subject, typ string
				data                any
			}{
				{"simline.webhooks", bus.SubjectWebhook("eiotclub", "default", "CardStopped"), wire.TypeWebhook("CardStopped"), map[string]any{"id": id, "event": "CardStopped", "iccid": "8988", "timestamp": at.Unix()}},
				{"simline.findings", bus.SubjectFinding("order_price"), wire.TypeFinding, wire.Finding{FindingID: id, Kind: "order_price", Severity: "warning", Status: "open", FirstSeen: at, LastSeen: at}},
				{"simline.cdr_events", bus.SubjectCDRGap("default"), wire.TypeCDRGap, wire.CDRGap{Account: "default", Since: at}},
				{"simline.audit", bus.SubjectAudit(wire.ActSwitchSet), wire.TypeAudit, wire.Audit{Action: wire.ActSwitchSet, Target: "all.pause", Actor: "me", Reason: "why", Via: wire.ViaSimctl, At: at}},
			} {
				env, err := wire.NewEnvelope(m.typ, "/simline/test", "", id, at, m.data)
				if err != nil {
					t.Error(err)
					return
				}
				b, err := env.Marshal()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := r.bus.Publish(context.Background(), bus.NewMsg(m.subject, "", b)); err != nil {
					t.Error(err)
					return
				}
				others[m.table]++
			}
		}
	}()
	return func() map[string]uint64 {
		cancel()
		<-done
		others["simline.order_events"] = orders()
		return others
	}
}

// The real archiver is killed and the engine is killed and restarted, in turn and
// together, under load on every stream: rows equal messages exactly.
func TestArchiverAndEngineAreKilledAgainAndAgain(t *testing.T) {
	srv := warehousetest.Start(t)
	r := startOn(t, srv.DSN())
	bin := filepath.Join(t.TempDir(), "archiver")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/simline/simline/cmd/archiver").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	fed := r.feedAll(t)
	spawn := func() *exec.Cmd {
		cmd := exec.Command(bin)
		cmd.Env = append(os.Environ(), "NATS_URL="+r.nats.URL(), "CLICKHOUSE_DSN="+r.cfg.DSN, "ADMIN_ADDR=127.0.0.1:0", "ARCHIVE_MAX_DELAY=20ms", "ARCHIVE_MAX_ROWS=200", "ARCHIVE_LEASE=2s", "LOG_FORMAT=json")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _, _ = cmd.Process.Wait() })
		return cmd
	}
	more := func() {
		t.Helper()
		before := uint64(0)
		r.patiently(func() bool {
			n, err := r.try("SELECT (SELECT count() FROM simline.order_events) + (SELECT count() FROM simline.webhooks)")
			if before == 0 {
				before = n
			}
			return err == nil && n > before+20
		})
	}
	restart := func() {
		t.Helper()
		if err := srv.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	var cmd *exec.Cmd
	kill := func() {
		t.Helper()
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	for _, both := range []bool{false, true, false} {
		cmd = spawn()
		more()
		srv.Kill() // under its hands
		if both {
			kill()
		}
		restart()
		if both {
			cmd = spawn()
		}
		more()
		kill()
	}
	cmd = spawn()
	more()
	for table, n := range fed() {
		r.exact(table, n)
		t.Logf("%s: %d messages, as many rows", table, n)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// Two replicas at once share the streams; whoever is second waits, and takes over.
func TestOnlyOneReplicaArchivesAStream(t *testing.T) {
	r := start(t)
	fed := r.feed(t)
	a, b := r.cfg, r.cfg
	stopA, stopB := r.runAs(a, "a"), r.runAs(b, "b")
	r.eventually("SELECT toUInt64(count() > 20) FROM simline.order_events", 1)
	stopA()
	before := r.number("SELECT count() FROM simline.order_events")
	r.patiently(func() bool {
		n, err := r.try("SELECT count() FROM simline.order_events")
		return err == nil && n > before
	})
	n := fed()
	r.exact("simline.order_events", n)
	stopB()
}

// A stream that was made anew under the same name starts at 1 again: its rows
// stand beside those of the old one.
func TestStreamMadeAnew(t *testing.T) {
	r := start(t)
	put := func(from int) {
		for i := from; i < from+5; i++ {
			r.publishEvent(bus.SubjectOrderEvent(fmt.Sprint("o", i), "eiotclub", "fulfilled"), "simline.order.fulfilled.v1", fmt.Sprint("e", i), record1(i, order.Fulfilled))
		}
	}
	put(0)
	stop := r.run(r.cfg)
	r.eventually("SELECT count() FROM simline.order_events", 5)
	stop()
	if err := r.bus.JS.DeleteStream(t.Context(), bus.StreamOrderEvents); err != nil {
		t.Fatal(err)
	}
	if err := r.bus.Provision(t.Context(), bus.DefaultSettings()); err != nil {
		t.Fatal(err)
	}
	put(5)
	stop = r.run(r.cfg)
	r.eventually("SELECT count() FROM simline.order_events FINAL", 10)
	r.eventually("SELECT count() FROM mart.orders", 10)
	stop()
}

// A batch never crosses a partition, so that it is in whole or not at all.
func TestBatchesEndAtPartitions(t *testing.T) {
	l := &line[int]{into: warehouse.NewEventInserter(&warehouse.DB{}, warehouse.EventTable[int]{}), cfg: Config{MaxRows: 100, MaxBytes: 1 << 20, MaxDelay: time.Hour}, decode: func(m record, _, _ time.Time) (int, error) { return int(m.sequence), nil }}
	source := &scripted{}
	for seq := uint64(warehouse.EventPartition - 3); seq < warehouse.EventPartition+4; seq += 2 {
		source.list = append(source.list, record{sequence: seq, pending: 1})
	}
	b, err := l.nextBatch(source, time.Time{})
	if err != nil || b.rows.Len() != 2 || b.first != warehouse.EventPartition-3 || b.last != warehouse.EventPartition-1 {
		t.Errorf("first batch %+v, %v", b, err)
	}
	b, err = l.nextBatch(source, time.Time{})
	if err == nil || b.rows.Len() != 2 || b.first != warehouse.EventPartition+1 {
		t.Errorf("second batch %+v, %v", b, err)
	}
}

// scripted is a source of given records that ends with an error.
type scripted struct{ list []record }

func (s *scripted) next(time.Duration) (record, error) {
	if len(s.list) == 0 {
		return record{}, context.Canceled
	}
	rec := s.list[0]
	s.list = s.list[1:]
	return rec, nil
}

func (s *scripted) unread(rec record) { s.list = append([]record{rec}, s.list...) }
