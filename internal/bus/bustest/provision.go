package bustest

import (
	"testing"

	"github.com/simline/simline/internal/bus"
)

// Provisioned is Start, every stream, consumer and bucket of the default
// settings made, and a connection that closes with the test.
func Provisioned(t testing.TB, opts Options) (*Server, *bus.Bus) {
	t.Helper()
	s := Start(t, opts)
	return s, s.Provision(bus.DefaultSettings())
}

// Provision makes what settings say and returns the connection it used.
func (s *Server) Provision(settings bus.Settings) *bus.Bus {
	s.t.Helper()
	b := s.Connect(s.URL())
	if err := b.Provision(s.t.Context(), settings); err != nil {
		s.t.Fatalf("bustest: provision: %v", err)
	}
	return b
}

// Connect opens a connection as a worker does; url is URL() or Gated().
func (s *Server) Connect(url string) *bus.Bus {
	s.t.Helper()
	b, err := bus.Connect(bus.Config{URL: url, Name: s.t.Name()})
	if err != nil {
		s.t.Fatalf("bustest: %v", err)
	}
	s.t.Cleanup(b.Close)
	return b
}
