package bustest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
)

func TestRestartKeepsAddress(t *testing.T) {
	s := bustest.Start(t, bustest.Options{})
	url := s.URL()
	s.Stop()
	if nc, err := nats.Connect(url); err == nil {
		nc.Close()
		t.Fatal("connected to a stopped server")
	}
	s.Restart()
	if s.URL() != url {
		t.Errorf("address %s after restart, want %s", s.URL(), url)
	}
	connect(t, url)
}

func TestPauseHoldsBytesUntilResume(t *testing.T) {
	s := bustest.Start(t, bustest.Options{})
	direct, gated := connect(t, s.URL()), connect(t, s.Gated())
	if _, err := direct.Subscribe("echo", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := direct.Flush(); err != nil {
		t.Fatal(err)
	}
	ask := func(wait time.Duration) error {
		_, err := gated.Request("echo", []byte("x"), wait)
		return err
	}
	if err := ask(5 * time.Second); err != nil {
		t.Fatalf("before the pause: %v", err)
	}
	s.Pause()
	if err := ask(100 * time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
		t.Fatalf("during the pause: %v, want a time-out", err)
	}
	if !gated.IsConnected() {
		t.Error("the pause closed the connection")
	}
	s.Resume()
	if err := ask(5 * time.Second); err != nil {
		t.Fatalf("after the pause: %v", err)
	}
}

func connect(t *testing.T, url string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestProvisionedTwiceIsTheSame(t *testing.T) {
	s, b := bustest.Provisioned(t, bustest.Options{})
	s.Provision(bus.DefaultSettings())
	var names []string
	for _, sc := range bus.NewTopology(bus.DefaultSettings()).Streams {
		names = append(names, sc.Name)
	}
	if err := b.Need(t.Context(), names...); err != nil {
		t.Error(err)
	}
}
