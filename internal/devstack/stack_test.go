package devstack_test

import (
	"errors"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/devstack"
	"github.com/simline/simline/internal/devstack/chd"
	"github.com/simline/simline/internal/devstack/dirlock"
)

func start(t *testing.T, cfg devstack.Config) *devstack.Stack {
	t.Helper()
	t.Setenv("CLICKHOUSE_DSN", "")
	s, err := devstack.Start(t.Context(), cfg)
	if err != nil {
		if errors.Is(err, chd.ErrNone) && os.Getenv("CI") == "" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	return s
}

func stop(t *testing.T, s *devstack.Stack) {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

func env(s *devstack.Stack) map[string]string {
	out := map[string]string{}
	for _, kv := range s.Env() {
		k, v, _ := strings.Cut(kv, "=")
		out[k] = v
	}
	return out
}

func TestAllOfItIsOnLoopbackAndGoesAgain(t *testing.T) {
	s := start(t, devstack.Config{})
	e := env(s)
	for _, name := range []string{"NATS_URL", "CLICKHOUSE_DSN", "CDR_FTP_URL", "EIOTCLUB_BASE_URL", "ESIMFLY_BASE_URL"} {
		u, err := url.Parse(e[name])
		if err != nil || u.Hostname() != "127.0.0.1" {
			t.Errorf("%s is %q, want an address on loopback", name, e[name])
			continue
		}
		c, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c.Close()
	}
	for _, name := range []string{"CDR_ACCOUNT", "EIOTCLUB_APP_KEY", "EIOTCLUB_APP_SECRET", "ESIMFLY_ACCESS_CODE", "ESIMFLY_SECRET_KEY"} {
		if e[name] == "" {
			t.Errorf("%s is not told", name)
		}
	}
	dir := s.FTP.Path()
	stop(t, s)
	for name, addr := range e {
		if u, err := url.Parse(addr); err == nil && u.Port() != "" {
			if c, err := net.Dial("tcp", u.Host); err == nil {
				c.Close()
				t.Errorf("%s still answers after Stop", name)
			}
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("temporary data were left in %s", dir)
	}
}

func TestOnlySome(t *testing.T) {
	s := start(t, devstack.Config{Only: []string{"esimfly", "nats"}})
	defer stop(t, s)
	if s.NATS == nil || s.ESIMFly == nil || s.ClickHouse != nil || s.FTP != nil || s.EIOTCLUB != nil {
		t.Errorf("started %+v", s.Env())
	}
	if got := strings.Join(s.Env(), " "); !strings.HasPrefix(got, "NATS_URL=") || strings.Contains(got, "CLICKHOUSE") {
		t.Errorf("told %s", got)
	}
	if s, err := devstack.Start(t.Context(), devstack.Config{Only: []string{"natz"}}); err == nil {
		stop(t, s)
		t.Error("started a part that does not exist")
	}
}

func TestDataDirKeepsTheData(t *testing.T) {
	cfg := devstack.Config{Only: []string{"nats", "clickhouse"}, DataDir: t.TempDir()}
	s := start(t, cfg)
	if _, err := stream(t, s).CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	query(t, s, "CREATE DATABASE d")
	query(t, s, "CREATE TABLE d.t (n UInt8) ENGINE = MergeTree ORDER BY n")
	query(t, s, "INSERT INTO d.t VALUES (7)")

	second, err := devstack.Start(t.Context(), cfg)
	if err == nil {
		stop(t, second)
		t.Fatal("a second stack started on the same data")
	}
	if !errors.Is(err, dirlock.ErrHeld) {
		t.Errorf("refused with %v", err)
	}
	stop(t, s)

	s = start(t, cfg)
	defer stop(t, s)
	if _, err := stream(t, s).Stream(t.Context(), "S"); err != nil {
		t.Errorf("stream after restart: %v", err)
	}
	query(t, s, "SELECT throwIf(sum(n) != 7) FROM d.t")
}

func TestCDRFilesArePushed(t *testing.T) {
	s := start(t, devstack.Config{Only: []string{"ftp", "eiotclub"}, CDREvery: 1})
	defer stop(t, s)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if files, err := os.ReadDir(s.FTP.Path()); err != nil {
			t.Fatal(err)
		} else if len(files) > 0 {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal("no file came")
		}
	}
}

func stream(t *testing.T, s *devstack.Stack) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(s.NATS.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func query(t *testing.T, s *devstack.Stack, sql string) {
	t.Helper()
	opts, err := clickhouse.ParseDSN(s.ClickHouse.DSN())
	if err != nil {
		t.Fatal(err)
	}
	c, err := clickhouse.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
