package chd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/simline/simline/internal/devstack/dirlock"
)

// childEnv set to 1 makes a program that links this package an engine and
// nothing else. The engine lives in a process of its own because a fault in it
// takes its process along, and so that a test may kill -9 it.
const childEnv = "SIMLINE_ENGINE_CHILD"

// childConfig is the first line on the child's standard input, which then stays
// open: its end is the order to stop, also when the parent dies.
type childConfig struct {
	Library, DataDir string
	Port             int
}

// childReady is the only line on the child's standard output.
type childReady struct{ Addr, Error string }

// init is the hook: any test binary and simctl can be started again as the
// engine, without a helper program to build and find, or a line in each TestMain.
func init() {
	if os.Getenv(childEnv) != "1" {
		return
	}
	if err := serveChild(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "engine:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serveChild(stdin io.Reader, stdout io.Writer) error {
	signal.Ignore(os.Interrupt) // Ctrl-C reaches the whole group; the parent decides when we go
	in := bufio.NewReader(stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var cfg childConfig
	if err := json.Unmarshal(line, &cfg); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	err = serve(cfg, in, stdout)
	if err != nil {
		_ = json.NewEncoder(stdout).Encode(childReady{Error: err.Error()}) // the parent reads it, if it still waits
	}
	return err
}

func serve(cfg childConfig, stdin io.Reader, stdout io.Writer) error {
	lock, err := dirlock.Acquire(cfg.DataDir)
	if err != nil {
		return fmt.Errorf("open data directory: %w", err)
	}
	defer lock.Release()
	h, err := newHandler(cfg)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port)))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	if err := json.NewEncoder(stdout).Encode(childReady{Addr: ln.Addr().String()}); err != nil {
		return fmt.Errorf("tell the parent: %w", err)
	}

	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // ends when the parent closes it or dies
		cancel()
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-stop.Done():
	}
	grace, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	if err := srv.Shutdown(grace); err != nil {
		// A statement is still running. Leaving it is what kill -9 would do, and
		// the store stands that.
		return errors.Join(fmt.Errorf("stop: %w", err), srv.Close())
	}
	h.engine.close()
	return nil
}

func newHandler(cfg childConfig) (*handler, error) {
	spools := filepath.Join(cfg.DataDir, "spool")
	if err := os.MkdirAll(spools, 0o700); err != nil {
		return nil, fmt.Errorf("spool directory: %w", err)
	}
	e, err := openEngine(cfg.Library, cfg.DataDir)
	if err != nil {
		return nil, err
	}
	h := &handler{engine: e, spoolDir: spools}
	err = e.do(context.Background(), session{}, func(c *conn) error {
		zone, err := c.query("SELECT timezone()", "TSVRaw")
		if err != nil {
			return err
		}
		name, err := c.query("SELECT displayName()", "TSVRaw")
		if err != nil {
			return err
		}
		h.zone, h.name = trimLine(zone), trimLine(name)
		h.location, err = time.LoadLocation(h.zone)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask the engine who it is: %w", err)
	}
	return h, nil
}

func trimLine(b []byte) string {
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return string(b)
}
