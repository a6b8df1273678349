package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/devstack"
	"github.com/simline/simline/internal/devstack/freeport"
	"github.com/simline/simline/internal/e2e"
	simeiotclub "github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/sim/eiotclub/feed"
	simesimfly "github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/wire"
)

// Config says how hard and how long.
type Config struct {
	Dir      string // data, logs and binaries
	Bin      string // the built binaries
	Root     string // of the repository
	Replicas int    // of each worker
	Pace     []string
	Lull     time.Duration // how long a misfortune lasts
	Say      func(string)
}

// minutes makes the timings that are minutes in production fit some minutes.
var minutes = []string{
	"SUPPLIER_TIMEOUT=5s", "SUPPLIER_SETTLE=3s", "SUPPLIER_LOOK_INTERVAL=500ms",
	"ORDER_ACK_WAIT=15s", "ORDER_WAIT_MIN=200ms", "ORDER_WAIT_MAX=2s", "ORDER_SWEEP_INTERVAL=500ms",
	"CDR_POLL_INTERVAL=1s", "CDR_SETTLE_INTERVAL=500ms", "CDR_LATE_AFTER=720h",
	"ARCHIVE_MAX_DELAY=500ms", "RECON_INTERVAL=3s", "RECON_SETTLE=10s", "SHUTDOWN_GRACE=15s",
}

// seconds makes them fit seconds.
var seconds = []string{
	"SUPPLIER_TIMEOUT=2s", "SUPPLIER_SETTLE=1s", "SUPPLIER_LOOK_INTERVAL=300ms",
	"ORDER_ACK_WAIT=4s", "ORDER_WAIT_MIN=200ms", "ORDER_WAIT_MAX=1s", "ORDER_SWEEP_INTERVAL=300ms",
	"CDR_POLL_INTERVAL=300ms", "CDR_SETTLE_INTERVAL=200ms", "CDR_LATE_AFTER=720h",
	"ARCHIVE_MAX_DELAY=200ms", "ARCHIVE_LEASE=3s", "RECON_INTERVAL=2s", "RECON_SETTLE=5s", "SHUTDOWN_GRACE=10s",
}

// Site is the whole deployment.
type Site struct {
	*e2e.Stage
	Cluster  *Cluster
	Replicas map[string][]*e2e.Process // by worker

	say      func(string)
	lull     time.Duration
	front    *front
	operator *bus.Bus
}

// NewSite starts everything, as docs/operate.md says, and returns when each replica
// is ready. On an error what was started is stopped.
func NewSite(ctx context.Context, cfg Config) (_ *Site, err error) {
	s := &Site{Stage: &e2e.Stage{Workers: map[string]*e2e.Process{}}, Replicas: map[string][]*e2e.Process{}, say: cfg.Say, lull: cfg.Lull}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	if s.front, err = newFront(); err != nil {
		return nil, err
	}
	s.Ingest = s.front.addr
	s.say("three NATS nodes, with the users and the configuration of deploy/nats")
	if s.Cluster, err = StartCluster(ctx, cfg.Dir, filepath.Join(cfg.Root, "deploy/nats/cluster.conf")); err != nil {
		return nil, err
	}
	s.say("ClickHouse, FTP, the suppliers' simulators")
	s.Stack, err = devstack.Start(ctx, devstack.Config{
		Only: []string{devstack.ClickHouse, devstack.FTP, devstack.EIOTCLUB, devstack.ESIMFly}, DataDir: filepath.Join(cfg.Dir, "data"), Progress: os.Stderr,
		EIOTCLUB: simeiotclub.Config{Seed: 1, WebhookURL: s.Ingest + "/webhooks/eiotclub/default", NotifyRetries: 60, ESimProcessing: time.Second},
		ESIMFly:  simesimfly.Config{Seed: 1, PendingEvery: 3, RateLimit: -1},
	})
	if err != nil {
		return nil, err
	}
	for i := range 8 { // one order at a time is in work for a card
		s.Stack.EIOTCLUB.AddCards(simeiotclub.Card{EID: fmt.Sprintf("350600000000000000240000326882%02d", i)})
	}
	env := append(append([]string{"NATS_URL=" + s.Cluster.URL()}, s.Stack.Env()...), cfg.Pace...)
	if err := s.setup(ctx, cfg, env); err != nil {
		return nil, err
	}
	if err := s.look(ctx, env); err != nil {
		return nil, err
	}
	return s, s.startWorkers(ctx, cfg, env)
}

// setup is the Job: provision as its own user, then migrate; tried again as a Job is.
func (s *Site) setup(ctx context.Context, cfg Config, env []string) error {
	s.say("simctl provision, simctl migrate")
	env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "NATS_REPLICAS=3", "NATS_CREDS=" + s.Cluster.Creds(bus.UserSetup)}, env...)
	for _, command := range []string{"provision", "migrate"} {
		var err error
		for range 5 {
			cmd := exec.CommandContext(ctx, filepath.Join(cfg.Bin, "simctl"), command)
			cmd.Env = env
			var out []byte
			if out, err = cmd.CombinedOutput(); err == nil {
				break
			}
			err = fmt.Errorf("simctl %s: %w: %s", command, err, out)
			s.say(err.Error())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// look opens what the soak itself needs: upstream orders, an operator follows.
func (s *Site) look(ctx context.Context, env []string) (err error) {
	if s.Bus, err = bus.Connect(bus.Config{URL: s.Cluster.URL(), Creds: s.Cluster.Creds(bus.UserUpstream), Name: bus.UserUpstream}); err != nil {
		return err
	}
	if s.operator, err = bus.Connect(bus.Config{URL: s.Cluster.URL(), Creds: s.Cluster.Creds(bus.UserOperator), Name: "simctl"}); err != nil {
		return err
	}
	if s.Ledger, err = e2e.WatchLedger(ctx, s.operator); err != nil {
		return err
	}
	opts, err := clickhouse.ParseDSN(value(env, "CLICKHOUSE_DSN"))
	if err != nil {
		return fmt.Errorf("CLICKHOUSE_DSN: %w", err)
	}
	if s.DB, err = clickhouse.Open(opts); err != nil {
		return err
	}
	push, err := feed.ToFTP(value(env, "CDR_FTP_URL"))
	if err != nil {
		return err
	}
	s.CDR = s.Stack.EIOTCLUB.NewFeed(feed.Config{Account: value(env, "CDR_ACCOUNT"), Start: time.Now().Add(-5 * 24 * time.Hour), Records: 200, Push: push})
	return nil
}

// startWorkers starts each replica as its worker's user.
func (s *Site) startWorkers(ctx context.Context, cfg Config, env []string) error {
	s.say(fmt.Sprintf("%d replicas of each worker", cfg.Replicas))
	var g errgroup.Group
	for _, name := range e2e.Workers {
		for i := range cfg.Replicas {
			dir := filepath.Join(cfg.Dir, fmt.Sprintf("%s-%d", name, i))
			if err := os.MkdirAll(filepath.Join(dir, "spool"), 0o700); err != nil {
				return err
			}
			own := append(append([]string(nil), env...), "NATS_CREDS="+s.Cluster.Creds(name), "SPOOL_DIR="+filepath.Join(dir, "spool"))
			if name == bus.UserIngest {
				port, err := freeport.Find()
				if err != nil {
					return err
				}
				own = append(own, fmt.Sprintf("HTTP_ADDR=127.0.0.1:%d", port))
				s.front.replicas = append(s.front.replicas, fmt.Sprintf("http://127.0.0.1:%d", port))
			}
			p, err := e2e.NewProcess(name, cfg.Bin, dir, own)
			if err != nil {
				return err
			}
			s.Replicas[name] = append(s.Replicas[name], p)
			g.Go(func() error { return p.Start(ctx) })
		}
		s.Workers[name] = s.Replicas[name][0]
	}
	return g.Wait()
}

// Used is what the replicas of each worker took at most, for a person who sets
// requests and limits.
func (s *Site) Used(over time.Duration) string {
	var b strings.Builder
	for _, name := range e2e.Workers {
		var peak int64
		var cpu time.Duration
		for _, p := range s.Replicas[name] {
			peak, cpu = max(peak, p.Peak()), max(cpu, p.CPU())
		}
		fmt.Fprintf(&b, "%-10s  %3d MiB, %4d millicores on average of the busiest replica\n", name, peak>>20, cpu.Milliseconds()*1000/max(1, over.Milliseconds()))
	}
	return b.String()
}

// Stop ends the workers as Kubernetes does, then all else. Every worker must drain
// and exit with 0.
func (s *Site) Stop() error {
	var faults []error
	for _, name := range e2e.Workers {
		for _, p := range s.Replicas[name] {
			faults = append(faults, p.Stop(30*time.Second))
		}
	}
	if s.Ledger != nil {
		s.Ledger.Close()
	}
	if s.DB != nil {
		faults = append(faults, s.DB.Close())
	}
	for _, b := range []*bus.Bus{s.Bus, s.operator} {
		if b != nil {
			b.Close()
		}
	}
	if s.Stack != nil {
		faults = append(faults, s.Stack.Stop())
	}
	if s.front != nil {
		faults = append(faults, s.front.Close())
	}
	if s.Cluster != nil {
		s.Cluster.Stop()
	}
	return errors.Join(faults...)
}

func value(env []string, name string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// business orders and pushes CDRs at a steady pace while the misfortunes last, and
// returns the orders that were asked for.
func (s *Site) business(ctx context.Context, every time.Duration, cdrEvery time.Duration, while func(context.Context) error) ([]string, error) {
	e2e.Misbehave(s.Stack.EIOTCLUB, s.Stack.ESIMFly)
	biz := e2e.NewBusiness(s.Bus, s.Stack.EIOTCLUB)
	running, end := context.WithCancel(ctx)
	defer end()
	done := make(chan error, 2)
	go func() { done <- biz.Run(running, every, 0) }()
	go func() { done <- s.pushCDRs(running, cdrEvery) }()
	err := while(ctx)
	end()
	err = errors.Join(err, <-done, <-done)
	return biz.Requested(), err // once nothing is asked for any more
}

func (s *Site) pushCDRs(ctx context.Context, every time.Duration) error {
	for pause(ctx, every) == nil {
		if next := s.CDR.Now().Add(30 * time.Minute); next.Before(time.Now()) {
			if err := s.CDR.Step(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("push CDRs: %w", err)
			}
		}
	}
	return nil
}

// Diagnose says what lies where, for a person who reads a failed run.
func (s *Site) Diagnose(ctx context.Context) string {
	var b strings.Builder
	topo := bus.NewTopology(bus.DefaultSettings())
	for _, stream := range bus.StreamNames() {
		for _, c := range topo.Consumers[stream] {
			cons, err := s.operator.JS.Consumer(ctx, stream, c.Durable)
			if err != nil {
				fmt.Fprintf(&b, "%s/%s: %v\n", stream, c.Durable, err)
				continue
			}
			info := cons.CachedInfo()
			if info.NumPending+uint64(info.NumAckPending) > 0 || info.NumRedelivered > 0 {
				fmt.Fprintf(&b, "%s/%s: %d pending, %d unacknowledged, %d redelivered, %d waiting\n", stream, c.Durable, info.NumPending, info.NumAckPending, info.NumRedelivered, info.NumWaiting)
			}
		}
	}
	for _, bucket := range []string{bus.BucketLeases, bus.BucketCDRFiles, bus.BucketOpenOrders} {
		kv, err := s.operator.JS.KeyValue(ctx, bucket)
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", bucket, err)
			continue
		}
		w, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", bucket, err)
			continue
		}
		for e := range w.Updates() {
			if e == nil {
				break
			}
			fmt.Fprintf(&b, "%s %s: %.160q, %s old\n", bucket, e.Key(), e.Value(), time.Since(e.Created()).Round(time.Second))
		}
		_ = w.Stop()
	}
	s.unsettled(ctx, &b)
	return b.String()
}

// unsettled writes what became of each order that is not settled, event by event.
func (s *Site) unsettled(ctx context.Context, b *strings.Builder) {
	records, err := s.Ledger.Records()
	if err != nil {
		fmt.Fprintf(b, "ledger: %v\n", err)
	}
	for id, last := range records {
		if last.State.Settled() {
			continue
		}
		events, _, err := s.operator.Range(ctx, bus.StreamOrderEvents, bus.SubjectOrderHistory(id), 1, maxHistory)
		if err != nil {
			fmt.Fprintf(b, "%s: %v\n", id, err)
		}
		for _, m := range events {
			r, _, err := wire.DecodeOrderEvent(m.Data)
			if err != nil {
				fmt.Fprintf(b, "%s: event %d: %v\n", id, m.Sequence, err)
				continue
			}
			fmt.Fprintf(b, "%s %s %s %s %s %s by %q, attempt %d, resends %d, in doubt %t, stored %s after it, reason %q, error %+v, looks %+v\n", id, r.Product,
				r.At.Format(time.StampMilli), r.State, r.Certainty, r.Evidence, r.Writer, r.Attempt, r.Resends, r.InDoubt, m.Time.Sub(r.At).Round(time.Millisecond), r.Reason, r.Error, r.LookLog)
		}
	}
}

// maxHistory bounds what is shown of one order.
const maxHistory = 40
