package chd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/simline/simline/internal/devstack/freeport"
)

// Config says where an engine stores and listens.
type Config struct {
	// DataDir keeps the databases over restarts. It is locked. Required unless
	// CLICKHOUSE_DSN is set.
	DataDir string
	// Port of the HTTP interface; 0 takes a free one.
	Port int
	// Progress sees the download of the engine, the first time; nil is silent.
	Progress io.Writer
	// IgnoreDSN starts an engine of our own even if CLICKHOUSE_DSN is set.
	IgnoreDSN bool
}

// Source says which of the three ways was taken.
type Source string

const (
	FromDSN     Source = "CLICKHOUSE_DSN"
	FromBinary  Source = "clickhouse binary"
	FromLibrary Source = "embedded engine"
)

// ErrNone: none of the three ways is open. Its message says what each needs.
var ErrNone = errors.New("no ClickHouse can be had")

// Server is a ClickHouse to talk to, and the child that it is, if it is ours.
type Server struct {
	Source Source
	dsn    string
	port   int      // as configured, then as taken
	p      *process // nil for FromDSN
	launch func(port int) (p *process, addr string, err error)
}

const stopGrace = 10 * time.Second

// Start finds a ClickHouse, starting one if need be; it answers when Start returns.
// ctx bounds the download only.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if dsn := os.Getenv("CLICKHOUSE_DSN"); dsn != "" && !cfg.IgnoreDSN {
		return &Server{Source: FromDSN, dsn: dsn}, nil
	}
	if cfg.DataDir == "" {
		return nil, errors.New("start ClickHouse: no data directory")
	}
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("start ClickHouse: %w", err)
	}
	cfg.DataDir = dir
	if cfg.Progress == nil {
		cfg.Progress = io.Discard
	}
	s := &Server{Source: FromBinary, port: cfg.Port}
	bin, _, binErr := findBinary(ctx)
	if binErr == nil {
		s.launch = func(port int) (*process, string, error) { return startBinary(bin, cfg.DataDir, port) }
		return s, s.start()
	}
	lib, libErr := fetchLibrary(ctx, cfg.Progress)
	if libErr != nil {
		return nil, fmt.Errorf("%w. Any one of these helps:\n"+
			"  1. set CLICKHOUSE_DSN to a server you have (clickhouse:// or http://)\n"+
			"  2. install a clickhouse binary on PATH, version %d or newer: %w\n"+
			"  3. let npm fetch the engine: %w", ErrNone, oldestBinary, binErr, libErr)
	}
	s.Source = FromLibrary
	s.launch = func(port int) (*process, string, error) {
		return startLibrary(childConfig{Library: lib, DataDir: cfg.DataDir, Port: port})
	}
	return s, s.start()
}

// Engine names what Start would run if CLICKHOUSE_DSN is not set: a key for what
// is kept of its data.
func Engine(ctx context.Context) string {
	if bin, version, err := findBinary(ctx); err == nil {
		return bin + " " + version
	}
	return libraryName + " " + engineVersion
}

func (s *Server) start() error {
	if s.port == 0 {
		port, err := freeport.Find()
		if err != nil {
			return fmt.Errorf("start the %s: %w", s.Source, err)
		}
		s.port = port
	}
	p, addr, err := s.launch(s.port)
	if err != nil {
		return fmt.Errorf("start the %s: %w", s.Source, err)
	}
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		s.port, err = strconv.Atoi(port)
	}
	if err != nil {
		p.kill()
		return fmt.Errorf("address of the %s: %w", s.Source, err)
	}
	s.p, s.dsn = p, "http://"+addr+"/default"
	return nil
}

// DSN is what CLICKHOUSE_DSN takes. For a server of ours it names the database
// default, which always exists.
func (s *Server) DSN() string { return s.dsn }

// PID is the child's process id, 0 if the server is not ours.
func (s *Server) PID() int {
	if s.p == nil {
		return 0
	}
	return s.p.cmd.Process.Pid
}

// Exited is closed when a child of ours is gone, however it went; nil, so that
// it never is, for a server that is not ours.
func (s *Server) Exited() <-chan struct{} {
	if s.p == nil {
		return nil
	}
	return s.p.exited
}

// Stop ends a child of ours and waits for it; the data stay. It may be called
// once, after Kill too.
func (s *Server) Stop() error {
	if s.p == nil {
		return nil
	}
	select {
	case <-s.p.exited:
		return nil // killed, and Kill has said so
	default:
		return s.p.stop(stopGrace)
	}
}

// Kill is kill -9.
func (s *Server) Kill() {
	if s.p != nil {
		s.p.kill()
	}
}

// Restart starts a killed or stopped child of ours again on the same data and
// the same port.
func (s *Server) Restart() error {
	if s.p == nil {
		return fmt.Errorf("restart: %s is not ours", s.Source)
	}
	return s.start()
}
