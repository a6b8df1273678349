package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/devstack/natsd"
	"github.com/simline/simline/internal/e2e"
	simeiotclub "github.com/simline/simline/internal/sim/eiotclub"
	simesimfly "github.com/simline/simline/internal/sim/esimfly"
)

// Config is one run.
type Config struct {
	Dir, Bin string // logs and data; where the built orderer lies
	Replicas int
	Orders   int
	Every    time.Duration // between two orders
	// AckWait of orderer's consumers; the other timings follow from it.
	AckWait time.Duration
	Say     func(string)
}

// Site is everything that runs.
type Site struct {
	cfg      Config
	natsCfg  natsd.Config
	nats     *natsd.Server
	bus      *bus.Bus
	replicas []*e2e.Process
	eiotclub *simeiotclub.Sim
	esimfly  *simesimfly.Sim
	doors    [2]*door
	env      []string
}

// New starts everything and returns when each replica is ready.
func New(ctx context.Context, cfg Config) (_ *Site, err error) {
	s := &Site{cfg: cfg, natsCfg: natsd.Config{StoreDir: filepath.Join(cfg.Dir, "nats")}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	if s.nats, err = natsd.Start(s.natsCfg); err != nil {
		return nil, err
	}
	s.natsCfg.Port = s.nats.Port() // clients come back to the same address
	s.eiotclub = simeiotclub.New(simeiotclub.Config{Seed: 1, ESimProcessing: time.Second})
	s.esimfly = simesimfly.New(simesimfly.Config{Seed: 1, PendingEvery: 3})
	if s.doors[0], err = open(s.eiotclub.Handler(), outTradeNo); err != nil {
		return nil, err
	}
	if s.doors[1], err = open(s.esimfly.Handler(), requestID); err != nil {
		return nil, err
	}
	if s.bus, err = bus.Connect(bus.Config{URL: s.nats.URL(), Name: "chaos"}); err != nil {
		return nil, err
	}
	settings := bus.DefaultSettings()
	settings.AckWait = cfg.AckWait
	if err := s.bus.Provision(ctx, settings); err != nil {
		return nil, err
	}
	s.env = []string{"NATS_URL=" + s.nats.URL(), "EIOTCLUB_BASE_URL=" + s.doors[0].url, "EIOTCLUB_APP_KEY=" + s.eiotclub.AppKey(), "EIOTCLUB_APP_SECRET=" + s.eiotclub.Secret(),
		"ESIMFLY_BASE_URL=" + s.doors[1].url, "ESIMFLY_ACCESS_CODE=" + s.esimfly.AccessCode(), "ESIMFLY_SECRET_KEY=" + s.esimfly.SecretKey(),
		"ORDER_ACK_WAIT=" + cfg.AckWait.String(), "SUPPLIER_TIMEOUT=" + s.timeout().String(), "SUPPLIER_SETTLE=1s", "SUPPLIER_LOOK_INTERVAL=300ms",
		"ORDER_WAIT_MIN=200ms", "ORDER_WAIT_MAX=2s", "ORDER_SWEEP_INTERVAL=300ms", "SHUTDOWN_GRACE=20s"}
	for i := range cfg.Replicas {
		dir := filepath.Join(cfg.Dir, fmt.Sprintf("orderer-%d", i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		p, err := e2e.NewProcess("orderer", cfg.Bin, dir, s.env)
		if err != nil {
			return nil, err
		}
		s.replicas = append(s.replicas, p)
		if err := p.Start(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// timeout is SUPPLIER_TIMEOUT: within AckWait, so that a stopped process is one
// whose order another took up.
func (s *Site) timeout() time.Duration { return s.cfg.AckWait / 3 }

// Stop ends the replicas as Kubernetes does, then all else. Every replica must drain
// and exit with 0.
func (s *Site) Stop() error {
	var faults []error
	for _, p := range s.replicas {
		faults = append(faults, p.Stop(30*time.Second))
	}
	if s.bus != nil {
		s.bus.Close()
	}
	for _, d := range s.doors {
		if d != nil {
			faults = append(faults, d.Close())
		}
	}
	if s.eiotclub != nil {
		s.eiotclub.Close()
		s.esimfly.Close()
	}
	if s.nats != nil {
		faults = append(faults, s.nats.Shutdown())
	}
	return errors.Join(faults...)
}

// Tail is the end of each replica's log.
func (s *Site) Tail(lines int) string {
	var b strings.Builder
	for i, p := range s.replicas {
		fmt.Fprintf(&b, "orderer-%d:\n%s\n", i, p.Tail(lines))
	}
	return b.String()
}
