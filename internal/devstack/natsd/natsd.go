// Package natsd runs a NATS server with JetStream inside this process.
//
// Input: a store directory and a port. Output: a server on loopback that answers
// when Start returns and has written everything when Shutdown returns. It makes
// no streams (that is simctl provision) and never listens beyond loopback.
package natsd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/simline/simline/internal/devstack/dirlock"
	"github.com/simline/simline/internal/devstack/freeport"
)

const (
	host = "127.0.0.1"
	// maxPayload leaves room for a notification of 1 MiB in its envelope, and for
	// that message inside a dead letter; the server's own default is 1 MiB flat.
	maxPayload = 8 << 20
	startWait  = 20 * time.Second
)

// Config says where a server stores and listens.
type Config struct {
	// StoreDir holds the streams. It is locked: two servers on one directory would
	// both acknowledge the same sequence. Required.
	StoreDir string
	// Port is the client port; 0 takes a free one.
	Port int
	// MonitorPort serves /varz, /jsz, /healthz; 0 means none, -1 a free one.
	MonitorPort int
	// RelaxedSync leaves fsync to the server's interval of two minutes, as its
	// default is: faster, and what was acknowledged since can be lost with the
	// machine (not with the process). False means fsync before each PubAck.
	RelaxedSync bool
	// Log gets the server's warnings and errors, and its notices at debug level;
	// nil drops them.
	Log *slog.Logger
}

// Server is one running server.
type Server struct {
	s    *server.Server
	lock *dirlock.Lock
}

// Start locks the store, recovers it and returns once clients are served.
func Start(cfg Config) (*Server, error) {
	if cfg.StoreDir == "" {
		return nil, errors.New("start NATS: no store directory")
	}
	if cfg.Port == 0 {
		port, err := freeport.Find()
		if err != nil {
			return nil, fmt.Errorf("start NATS: %w", err)
		}
		cfg.Port = port
	}
	lock, err := dirlock.Acquire(cfg.StoreDir)
	if err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	s, err := start(cfg)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start NATS: %w", err), lock.Release())
	}
	return &Server{s: s, lock: lock}, nil
}

func start(cfg Config) (*server.Server, error) {
	opts := &server.Options{
		ServerName:             "simline-dev",
		Host:                   host,
		Port:                   cfg.Port,
		HTTPHost:               host,
		HTTPPort:               cfg.MonitorPort,
		JetStream:              true,
		StoreDir:               cfg.StoreDir,
		SyncAlways:             !cfg.RelaxedSync,
		MaxPayload:             maxPayload,
		NoSigs:                 true, // signals belong to the program around us
		NoLog:                  cfg.Log == nil,
		DisableJetStreamBanner: true,
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("configure: %w", err)
	}
	if cfg.Log != nil {
		s.SetLoggerV2(logger{cfg.Log}, false, false, false)
	}
	s.Start()
	if !s.ReadyForConnections(startWait) {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("not ready on %s after %s (is the port taken?)", net.JoinHostPort(host, strconv.Itoa(cfg.Port)), startWait)
	}
	if !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("JetStream did not start on %s", cfg.StoreDir)
	}
	return s, nil
}

// URL is what NATS_URL takes.
func (s *Server) URL() string { return s.s.ClientURL() }

// Port is the client port in use.
func (s *Server) Port() int {
	if a, ok := s.s.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// MonitorURL is the base of the monitoring endpoints, empty if there are none.
func (s *Server) MonitorURL() string {
	if a := s.s.MonitorAddr(); a != nil {
		return "http://" + a.String()
	}
	return ""
}

// Shutdown closes all connections, waits until the store is written, and lets
// the directory go. It may be called once.
func (s *Server) Shutdown() error {
	s.s.Shutdown()
	s.s.WaitForShutdown()
	return s.lock.Release()
}

// logger hands the server's lines to slog.
type logger struct{ log *slog.Logger }

func (l logger) Noticef(f string, a ...any) { l.log.Debug("nats-server: " + fmt.Sprintf(f, a...)) }
func (l logger) Warnf(f string, a ...any)   { l.log.Warn("nats-server: " + fmt.Sprintf(f, a...)) }
func (l logger) Fatalf(f string, a ...any)  { l.log.Error("nats-server: " + fmt.Sprintf(f, a...)) }
func (l logger) Errorf(f string, a ...any)  { l.log.Error("nats-server: " + fmt.Sprintf(f, a...)) }
func (l logger) Debugf(f string, a ...any)  {}
func (l logger) Tracef(f string, a ...any)  {}
