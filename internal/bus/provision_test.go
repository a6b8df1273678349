package bus_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/simline/simline/internal/bus"
)

// A cluster between two leaders answers nobody for a while. A worker that starts then
// waits for it; whether anything is missing nobody has said yet.
func TestNeedAsksAgainWhileTheClusterDoesNotAnswer(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.Shutdown()
	b, err := bus.Connect(bus.Config{URL: s.ClientURL()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var asked atomic.Int64
	if _, err := b.NC.Subscribe("$JS.API.STREAM.INFO.DEAD", func(m *nats.Msg) {
		answer := `{"type":"io.nats.jetstream.api.v1.stream_info_response","error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`
		if asked.Add(1) > 2 {
			answer = `{"type":"io.nats.jetstream.api.v1.stream_info_response","config":{"name":"DEAD"},"state":{}}`
		}
		_ = m.Respond([]byte(answer))
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.NeedNow(t.Context(), bus.StreamDead); !errors.Is(err, bus.ErrNoAnswer) {
		t.Fatalf("asked once: %v, want no answer", err)
	}
	if err := b.Need(t.Context(), bus.StreamDead); err != nil || asked.Load() != 3 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
}
