package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/devstack"
	"github.com/simline/simline/internal/devstack/freeport"
	simeiotclub "github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/sim/eiotclub/feed"
	simesimfly "github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/warehouse"
)

// Stage is the development stack with the five workers on it.
type Stage struct {
	Stack   *devstack.Stack
	Bus     *bus.Bus
	DB      clickhouse.Conn
	Ledger  *Ledger
	Workers map[string]*Process
	Ingest  string // http://127.0.0.1:port
	CDR     *feed.Feed
	// Steady is how long books must stay equal to count; 0 is 12 s.
	Steady time.Duration

	begin time.Time
	dir   string
}

// StageConfig says where a stage keeps what.
type StageConfig struct {
	Dir string // logs, data and binaries; made if absent
	Bin string // the built binaries; empty builds them into Dir/bin
	// Progress tells a person what is being waited for.
	Progress func(string)
	// NotifyRetries makes the simulated supplier repeat a notification that was
	// not answered SUCCESS, which no document promises: for tests that kill ingest.
	NotifyRetries int
	// Env is added to every worker's environment.
	Env []string
	// Since is how far in the past the simulated CDRs begin.
	Since time.Duration
}

// pace makes the timings that are minutes in production fit a demonstration.
var pace = []string{
	"SUPPLIER_TIMEOUT=3s", "SUPPLIER_SETTLE=2s", "SUPPLIER_LOOK_INTERVAL=500ms",
	"ORDER_ACK_WAIT=10s", "ORDER_WAIT_MIN=200ms", "ORDER_WAIT_MAX=2s", "ORDER_SWEEP_INTERVAL=500ms",
	"CDR_POLL_INTERVAL=1s", "CDR_SETTLE_INTERVAL=500ms", "CDR_LATE_AFTER=720h",
	"ARCHIVE_MAX_DELAY=500ms", "RECON_INTERVAL=3s", "RECON_SETTLE=5s", "SHUTDOWN_GRACE=10s",
}

// NewStage starts everything and returns when each worker is ready. On an error
// what was started is stopped.
func NewStage(ctx context.Context, cfg StageConfig) (_ *Stage, err error) {
	say := cfg.Progress
	if say == nil {
		say = func(string) {}
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, err
	}
	if cfg.Bin == "" {
		cfg.Bin = filepath.Join(cfg.Dir, "bin")
		say("building the workers")
		if err := Build(ctx, cfg.Bin); err != nil {
			return nil, err
		}
	}
	port, err := freeport.Find()
	if err != nil {
		return nil, err
	}
	s := &Stage{Workers: map[string]*Process{}, begin: time.Now(), dir: cfg.Dir, Ingest: fmt.Sprintf("http://127.0.0.1:%d", port)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	say("starting NATS, ClickHouse, FTP and the suppliers' simulators")
	s.Stack, err = devstack.Start(ctx, devstack.Config{
		DataDir:  filepath.Join(cfg.Dir, "data"),
		Progress: os.Stderr,
		EIOTCLUB: simeiotclub.Config{Seed: 1, WebhookURL: s.Ingest + "/webhooks/eiotclub/default", NotifyRetries: cfg.NotifyRetries, ESimProcessing: time.Second},
		ESIMFly:  simesimfly.Config{Seed: 1, PendingEvery: 3, RateLimit: -1},
	})
	if err != nil {
		return s, err
	}
	// One order at a time is in work for a card, so a business needs several.
	for i := range 8 {
		s.Stack.EIOTCLUB.AddCards(simeiotclub.Card{EID: fmt.Sprintf("350600000000000000240000326882%02d", i)})
	}
	env := s.Stack.Env()
	if s.Bus, err = bus.Connect(bus.Config{URL: value(env, "NATS_URL"), Name: "e2e"}); err != nil {
		return s, err
	}
	say("making streams and tables")
	if err = s.Bus.Provision(ctx, bus.Settings{Replicas: 1, AckWait: 10 * time.Second, MaxInFlight: 256, DedupWindow: 2 * time.Hour}); err != nil {
		return s, err
	}
	dsn := value(env, "CLICKHOUSE_DSN")
	if err = warehouse.Migrate(ctx, dsn, nil); err != nil {
		return s, err
	}
	if s.DB, err = openDB(dsn); err != nil {
		return s, err
	}
	if s.Ledger, err = WatchLedger(ctx, s.Bus); err != nil {
		return s, err
	}
	push, err := feed.ToFTP(value(env, "CDR_FTP_URL"))
	if err != nil {
		return s, err
	}
	s.CDR = s.Stack.EIOTCLUB.NewFeed(feed.Config{Account: value(env, "CDR_ACCOUNT"), Start: time.Now().Add(-cfg.Since), Records: 400, Push: push})
	env = append(append(env, pace...), cfg.Env...)
	for _, name := range Workers {
		own := append([]string(nil), env...)
		if name == "ingest" {
			own = append(own, "HTTP_ADDR="+strings.TrimPrefix(s.Ingest, "http://"), "SPOOL_DIR="+filepath.Join(cfg.Dir, "spool"))
		}
		p, err := NewProcess(name, cfg.Bin, cfg.Dir, own)
		if err != nil {
			return s, err
		}
		say("starting " + name)
		s.Workers[name] = p
		if err := p.Start(ctx); err != nil {
			return s, err
		}
	}
	return s, nil
}

func openDB(dsn string) (clickhouse.Conn, error) {
	opts, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("CLICKHOUSE_DSN: %w", err)
	}
	return clickhouse.Open(opts)
}

func value(env []string, name string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// Stop ends the workers as Kubernetes does, then the stack. Every worker must
// drain and exit with 0.
func (s *Stage) Stop() error {
	var faults []error
	for i := len(Workers) - 1; i >= 0; i-- {
		if p := s.Workers[Workers[i]]; p != nil {
			faults = append(faults, p.Stop(20*time.Second))
		}
	}
	if s.Ledger != nil {
		s.Ledger.Close()
	}
	if s.DB != nil {
		faults = append(faults, s.DB.Close())
	}
	if s.Bus != nil {
		s.Bus.Close()
	}
	if s.Stack != nil {
		faults = append(faults, s.Stack.Stop())
	}
	return errors.Join(faults...)
}

// View reads what the live table shows. What cannot be read at this moment is
// left at zero: a table must not end a run.
func (s *Stage) View(ctx context.Context) View {
	v := View{Since: time.Since(s.begin), Example: fmt.Sprintf("curl -s '%s' --data-binary \"%s FORMAT PrettyCompact\"", strings.TrimSuffix(value(s.Stack.Env(), "CLICKHOUSE_DSN"), "/default"), exampleQuery)}
	v.Orders = s.Ledger.States()
	_ = s.DB.QueryRow(ctx, "SELECT toInt64(count()) FROM simline.webhooks").Scan(&v.Webhooks)
	_ = s.DB.QueryRow(ctx, "SELECT toInt64(count()), toInt64(sum(rows)) FROM mart.cdr_files").Scan(&v.Files, &v.Rows)
	var b Books
	if b.warehouseBooks(ctx, s.DB) == nil {
		v.Findings = b.Findings
	}
	for _, name := range Workers {
		p := s.Workers[name]
		v.Workers = append(v.Workers, WorkerView{Name: name, Admin: p.Admin + "/metrics", Running: p.Running(), Peak: p.Peak()})
	}
	for _, name := range []string{"NATS_URL", "CLICKHOUSE_DSN", "CDR_FTP_URL", "EIOTCLUB_BASE_URL", "ESIMFLY_BASE_URL"} {
		v.Where = append(v.Where, Address{name, value(s.Stack.Env(), name)})
	}
	v.Where = append(v.Where, Address{"webhooks", s.Ingest + "/webhooks/eiotclub/default"}, Address{"logs", s.dir + "/*.log"})
	return v
}
