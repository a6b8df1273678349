package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/simline/simline/internal/devstack/chd"
	"github.com/simline/simline/internal/devstack/natsd"
	"github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/sim/eiotclub/feed"
	"github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/sim/ftp"
)

// The parts, in the order in which they start.
const (
	NATS       = "nats"
	ClickHouse = "clickhouse"
	FTP        = "ftp"
	EIOTCLUB   = "eiotclub"
	ESIMFly    = "esimfly"
)

// Parts are all of them.
var Parts = []string{NATS, ClickHouse, FTP, EIOTCLUB, ESIMFly}

// cdrAccount is the account number in the simulated supplier's file names.
const cdrAccount = "10001"

// Config says what to start. The zero value starts all parts on free ports, with
// data that go away when they stop.
type Config struct {
	Only    []string // of Parts; none means all
	DataDir string   // keeps NATS' and ClickHouse's data and the FTP tree over restarts; empty: a temporary directory

	// Ports by part; 0 or absent takes a free one.
	Ports map[string]int
	// NATSMonitor serves NATS' monitoring endpoints on this port; 0 none, -1 a free one.
	NATSMonitor int
	// RelaxedSync leaves NATS' fsync to its interval; see natsd.Config.
	RelaxedSync bool

	EIOTCLUB eiotclub.Config
	ESIMFly  esimfly.Config
	// CDREvery is the real time after which half an hour of simulated time has
	// passed and a CDR file is pushed; 0 pushes none. It needs FTP and EIOTCLUB.
	CDREvery time.Duration

	Progress io.Writer    // sees the engine's download; nil is silent
	Log      *slog.Logger // nil drops
}

// Stack is what was started; parts that were not are nil.
type Stack struct {
	NATS       *natsd.Server
	ClickHouse *chd.Server
	FTP        *ftp.Server
	EIOTCLUB   *eiotclub.Sim
	ESIMFly    *esimfly.Sim
	CDR        *feed.Feed

	env   []string
	stops []func() error // in the order of starting
}

// Start starts the parts one after the other. On an error what was started is
// stopped again. ctx bounds the starting only.
func Start(ctx context.Context, cfg Config) (_ *Stack, err error) {
	only, err := parts(cfg.Only)
	if err != nil {
		return nil, err
	}
	s := &Stack{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	if cfg.DataDir == "" {
		if cfg.DataDir, err = os.MkdirTemp("", "simline-dev-"); err != nil {
			return nil, fmt.Errorf("make a data directory: %w", err)
		}
		s.stops = append(s.stops, func() error { return os.RemoveAll(cfg.DataDir) })
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	start := map[string]func(context.Context, Config) error{
		NATS: s.startNATS, ClickHouse: s.startClickHouse, FTP: s.startFTP, EIOTCLUB: s.startEIOTCLUB, ESIMFly: s.startESIMFly,
	}
	for _, part := range only {
		if err := start[part](ctx, cfg); err != nil {
			return nil, fmt.Errorf("%s: %w", part, err)
		}
	}
	if cfg.CDREvery > 0 && s.FTP != nil && s.EIOTCLUB != nil {
		return s, s.startFeed(cfg)
	}
	return s, nil
}

// parts puts the wanted ones in the order of starting.
func parts(only []string) ([]string, error) {
	for _, p := range only {
		if !slices.Contains(Parts, p) {
			return nil, fmt.Errorf("there is no part %q; parts are %s", p, strings.Join(Parts, ", "))
		}
	}
	if len(only) == 0 {
		return Parts, nil
	}
	return slices.DeleteFunc(slices.Clone(Parts), func(p string) bool { return !slices.Contains(only, p) }), nil
}

// Env is where everything is, as NAME=value lines that our binaries take.
func (s *Stack) Env() []string { return slices.Clone(s.env) }

// Stop stops the parts in reverse order and waits for each. It may be called once.
func (s *Stack) Stop() error {
	var faults []error
	for _, stop := range slices.Backward(s.stops) {
		faults = append(faults, stop())
	}
	s.stops = nil
	return errors.Join(faults...)
}

func (s *Stack) started(stop func() error, env ...string) {
	s.stops, s.env = append(s.stops, stop), append(s.env, env...)
}

func (s *Stack) startNATS(_ context.Context, cfg Config) (err error) {
	s.NATS, err = natsd.Start(natsd.Config{StoreDir: filepath.Join(cfg.DataDir, "nats"), Port: cfg.Ports[NATS],
		MonitorPort: cfg.NATSMonitor, RelaxedSync: cfg.RelaxedSync, Log: cfg.Log})
	if err != nil {
		return err
	}
	s.started(s.NATS.Shutdown, "NATS_URL="+s.NATS.URL())
	return nil
}

func (s *Stack) startClickHouse(ctx context.Context, cfg Config) (err error) {
	s.ClickHouse, err = chd.Start(ctx, chd.Config{DataDir: filepath.Join(cfg.DataDir, "clickhouse"), Port: cfg.Ports[ClickHouse], Progress: cfg.Progress})
	if err != nil {
		return err
	}
	s.started(s.ClickHouse.Stop, "CLICKHOUSE_DSN="+s.ClickHouse.DSN())
	return nil
}

func (s *Stack) startFTP(_ context.Context, cfg Config) error {
	f := ftp.New(ftp.Config{Root: filepath.Join(cfg.DataDir, "ftp")})
	url, err := f.Start(loopback(cfg.Ports[FTP]))
	if err != nil {
		return err
	}
	s.FTP = f
	s.started(func() error { f.Close(); return nil }, "CDR_FTP_URL="+url, "CDR_ACCOUNT="+cdrAccount)
	return nil
}

func (s *Stack) startEIOTCLUB(_ context.Context, cfg Config) error {
	sim := eiotclub.New(cfg.EIOTCLUB)
	url, err := sim.Start(loopback(cfg.Ports[EIOTCLUB]))
	if err != nil {
		sim.Close()
		return err
	}
	s.EIOTCLUB = sim
	s.started(func() error { sim.Close(); return nil }, "EIOTCLUB_BASE_URL="+url, "EIOTCLUB_APP_KEY="+sim.AppKey(), "EIOTCLUB_APP_SECRET="+sim.Secret())
	return nil
}

func (s *Stack) startESIMFly(_ context.Context, cfg Config) error {
	sim := esimfly.New(cfg.ESIMFly)
	url, err := sim.Start(loopback(cfg.Ports[ESIMFly]))
	if err != nil {
		sim.Close()
		return err
	}
	s.ESIMFly = sim
	s.started(func() error { sim.Close(); return nil }, "ESIMFLY_BASE_URL="+url, "ESIMFLY_ACCESS_CODE="+sim.AccessCode(), "ESIMFLY_SECRET_KEY="+sim.SecretKey())
	return nil
}

// startFeed pushes CDR files from a day ago on, so that no record begins in the
// future however fast simulated time goes for a while.
func (s *Stack) startFeed(cfg Config) error {
	push, err := feed.ToFTP(s.value("CDR_FTP_URL"))
	if err != nil {
		return fmt.Errorf("CDR files: %w", err)
	}
	s.CDR = s.EIOTCLUB.NewFeed(feed.Config{Account: cdrAccount, Start: time.Now().Add(-24 * time.Hour), Push: push, Logger: cfg.Log})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.CDR.Run(ctx, cfg.CDREvery)
	}()
	s.started(func() error { cancel(); <-done; return nil })
	return nil
}

func (s *Stack) value(name string) string {
	for _, kv := range s.env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
