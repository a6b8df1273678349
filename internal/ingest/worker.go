package ingest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/trace"
)

// Worker receives notifications.
type Worker struct {
	cfg      Config
	bus      *bus.Bus
	commit   *bus.Committer
	spool    *spool // nil if there is none
	log      *slog.Logger
	logLimit *rate.Limiter
	m        *metrics
	trace    *trace.Tracer
	work     context.Context // of notifications in hand

	accounts  map[string]*account
	proxies   []netip.Prefix
	rejected  rejectedLog
	memory    budget
	places    chan struct{} // one per notification being stored
	intakes   sync.Pool
	away      atomic.Bool // NATS does not store in time
	deadlines deadlines

	conns    *connLimit
	front    *front       // nil with TLS
	listener net.Listener // of server
	server   *http.Server
}

// Deps is what a Worker works with.
type Deps struct {
	Bus     *bus.Bus
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Trace   *trace.Tracer // nil: tracing is off
	// Work is the context of notifications in hand, which outlives Run's.
	Work context.Context
}

// New opens the spool and listens, so that Addr is known; Run serves.
func New(cfg Config, d Deps) (*Worker, error) {
	w := &Worker{cfg: cfg, bus: d.Bus, log: d.Log, work: d.Work, trace: d.Trace, logLimit: rate.NewLimiter(5, 20),
		places: make(chan struct{}, cfg.MaxInFlight), intakes: sync.Pool{New: func() any { return new(intake) }}}
	var err error
	if w.accounts, err = cfg.accounts(); err != nil {
		return nil, err
	}
	if w.proxies, err = parseNetworks(cfg.TrustedProxies); err != nil {
		return nil, fmt.Errorf("TRUSTED_PROXIES: %w", err)
	}
	w.memory.give(cfg.BodyMemory)
	if w.commit, err = bus.NewCommitter(d.Bus, bus.CommitOptions{}); err != nil {
		return nil, err
	}
	if err = w.listen(); err != nil {
		return nil, fmt.Errorf("HTTP_ADDR: %w", err)
	}
	w.m = newMetrics(d.Metrics, func() float64 { return float64(w.conns.count()) })
	for _, acct := range w.accounts {
		acct.routes = map[string]*route{}
		for _, event := range eiotclub.Events() {
			acct.routes[event] = newRoute(acct, event, w.m.events)
		}
	}
	if cfg.SpoolDir != "" {
		w.m.spoolLimit.Set(float64(cfg.SpoolMax))
		if w.spool, err = openSpool(cfg.SpoolDir, cfg.SpoolMax, d.Log, w.m); err != nil {
			return nil, errors.Join(err, w.conns.Close())
		}
	}
	w.server = &http.Server{
		Handler:        w,
		ReadTimeout:    10 * time.Second, // header and body: who needs longer for 1 MiB is no supplier
		WriteTimeout:   20 * time.Second,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ConnState:      connState,
		ErrorLog:       slog.NewLogLogger(limitedHandler{w.log.Handler(), w.logLimit}, slog.LevelDebug),
	}
	return w, nil
}

func (w *Worker) listen() error {
	l, err := net.Listen("tcp", w.cfg.HTTPAddr)
	if err != nil {
		return err
	}
	w.conns = newConnLimit(l, w.cfg.MaxConns, func() { w.m.evicted.Inc() })
	if w.cfg.TLSCert == "" {
		w.front = newFront(w, w.conns)
		w.listener = w.front
		return nil
	}
	cert, err := tls.LoadX509KeyPair(w.cfg.TLSCert, w.cfg.TLSKey)
	if err != nil {
		_ = l.Close()
		return fmt.Errorf("certificate: %w", err)
	}
	w.listener = tls.NewListener(w.conns, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	return nil
}

// Addr is where notifications are received, with the port chosen for ":0".
func (w *Worker) Addr() string { return w.listener.Addr().String() }

// Rejected is the page of refused requests for the admin port.
func (w *Worker) Rejected() http.Handler { return &w.rejected }

// Ready is nil while a notification can be made durable.
func (w *Worker) Ready(context.Context) error {
	err := w.bus.Ready()
	if err != nil && w.spool != nil && !w.spool.full() {
		return nil // the spool takes its place
	}
	return err
}

// Run serves until ctx ends, then lets requests in hand finish.
func (w *Worker) Run(ctx context.Context) error {
	w.log.Info("receiving notifications", "addr", w.Addr(), "accounts", len(w.accounts), "tls", w.cfg.TLSCert != "", "spool", w.cfg.SpoolDir)
	draining, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var background sync.WaitGroup
	if w.spool != nil {
		background.Go(func() { w.drain(draining) })
	}
	served := make(chan error, 2)
	go func() { served <- w.server.Serve(w.listener) }()
	if w.front != nil {
		background.Go(w.front.run)
	}
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	err := w.shutdown()
	if serr := <-served; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	stop()
	background.Wait()
	w.commit.Close()
	if w.spool != nil {
		// What it still holds is drained by the next process on this directory.
		err = errors.Join(err, w.spool.close())
	}
	return err
}

// shutdown takes no new connections and lets requests in hand finish.
func (w *Worker) shutdown() (err error) {
	if w.front != nil {
		err = w.conns.Close()
		if derr := w.front.drain(w.work); derr != nil {
			err = errors.Join(err, fmt.Errorf("requests in hand were cut off: %w", derr))
		}
	}
	if serr := w.server.Shutdown(w.work); serr != nil {
		err = errors.Join(err, fmt.Errorf("requests in hand were cut off: %w", serr))
	}
	return err
}

// limitedHandler keeps net/http's complaints about broken connections from
// filling the log.
type limitedHandler struct {
	slog.Handler
	limit *rate.Limiter
}

// Handle implements slog.Handler.
func (h limitedHandler) Handle(ctx context.Context, r slog.Record) error {
	if !h.limit.Allow() {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}
