// Package bustest gives each test a real NATS server of its own.
//
// Input: a test. Output: a server with JetStream on loopback whose store goes
// away with the test, and which the test may stop, start again on the same
// store and port, or cut off. It fakes nothing.
package bustest

import (
	"testing"

	"github.com/simline/simline/internal/devstack/natsd"
)

// Options change the server; the zero value is quick and stores in a temporary
// directory.
type Options struct {
	// SyncAlways makes each PubAck wait for fsync, as the embedded default of
	// make run does. Off in tests: they do not cut the power.
	SyncAlways bool
	// Monitor serves the monitoring endpoints on a free port.
	Monitor bool
	// StoreDir keeps the store; empty takes the test's own temporary directory.
	StoreDir string
}

// Server is one test's NATS server.
type Server struct {
	t    testing.TB
	cfg  natsd.Config
	d    *natsd.Server // nil while stopped
	gate *gate
}

// Start starts a server and ends it with the test.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	s := &Server{t: t, cfg: natsd.Config{StoreDir: opts.StoreDir, RelaxedSync: !opts.SyncAlways}}
	if s.cfg.StoreDir == "" {
		s.cfg.StoreDir = t.TempDir()
	}
	if opts.Monitor {
		s.cfg.MonitorPort = -1
	}
	t.Cleanup(func() {
		if s.gate != nil {
			s.gate.close()
		}
		s.Stop()
	})
	s.Restart()
	return s
}

// URL is the server's address; it stays the same over Stop and Restart.
func (s *Server) URL() string {
	if s.d == nil {
		s.t.Helper()
		s.t.Fatal("bustest: the server is stopped")
	}
	return s.d.URL()
}

// MonitorURL is the base of the monitoring endpoints, if Options.Monitor is set.
func (s *Server) MonitorURL() string { return s.d.MonitorURL() }

// Stop ends the server and leaves its store: an outage. Nothing if stopped.
func (s *Server) Stop() {
	s.t.Helper()
	if s.d == nil {
		return
	}
	s.cfg.Port = s.d.Port() // clients come back to the same address
	if err := s.d.Shutdown(); err != nil {
		s.t.Errorf("bustest: stop: %v", err)
	}
	s.d = nil
}

// Restart ends the server if it runs and starts it again on the same store and
// port.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	d, err := natsd.Start(s.cfg)
	if err != nil {
		s.t.Fatalf("bustest: %v", err)
	}
	s.d = d
}
