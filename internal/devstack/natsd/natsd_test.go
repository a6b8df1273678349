package natsd_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/simline/simline/internal/devstack/dirlock"
	"github.com/simline/simline/internal/devstack/natsd"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func TestStoreOutlivesTheServer(t *testing.T) {
	for _, tc := range []struct {
		name    string
		relaxed bool
	}{{"sync always", false}, {"relaxed sync", true}} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := natsd.Config{StoreDir: t.TempDir(), RelaxedSync: tc.relaxed}
			s := start(t, cfg)
			cfg.Port = s.Port()
			js := connect(t, s.URL())
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
				t.Fatal(err)
			}
			if _, err := js.Publish(t.Context(), "s.1", []byte("kept")); err != nil {
				t.Fatal(err)
			}
			if err := s.Shutdown(); err != nil {
				t.Fatal(err)
			}

			s = start(t, cfg)
			defer shutdown(t, s)
			if s.Port() != cfg.Port {
				t.Errorf("port %d after restart, want %d", s.Port(), cfg.Port)
			}
			st, err := connect(t, s.URL()).Stream(t.Context(), "S")
			if err != nil {
				t.Fatal(err)
			}
			msg, err := st.GetMsg(t.Context(), 1)
			if err != nil || string(msg.Data) != "kept" {
				t.Errorf("message after restart: %v, %v; want «kept»", msg, err)
			}
		})
	}
}

func TestSecondServerOnOneDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := start(t, natsd.Config{StoreDir: dir})
	second, err := natsd.Start(natsd.Config{StoreDir: dir})
	if err == nil {
		shutdown(t, second)
		t.Fatal("a second server started on the same directory")
	}
	if !errors.Is(err, dirlock.ErrHeld) {
		t.Errorf("refused with %v, want ErrHeld", err)
	}
	shutdown(t, s)
	shutdown(t, start(t, natsd.Config{StoreDir: dir}))
}

func TestMonitorOnLoopback(t *testing.T) {
	s := start(t, natsd.Config{StoreDir: t.TempDir(), MonitorPort: -1})
	defer shutdown(t, s)
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.Get(s.MonitorURL() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("/healthz answered %s", resp.Status)
	}
}

func TestStartWithoutDirectoryIsRefused(t *testing.T) {
	if s, err := natsd.Start(natsd.Config{}); err == nil {
		shutdown(t, s)
		t.Fatal("started without a store directory")
	}
}

func start(t *testing.T, cfg natsd.Config) *natsd.Server {
	t.Helper()
	s, err := natsd.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func shutdown(t *testing.T, s *natsd.Server) {
	t.Helper()
	if err := s.Shutdown(); err != nil {
		t.Error(err)
	}
}

func connect(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, nats.Timeout(5*time.Second))
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
