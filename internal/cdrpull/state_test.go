package cdrpull

import (
	"context"
	"testing"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
)

// An answer that is lost with its node is given up within a publish's bound, though
// the look at a directory has minutes left: it would stand still until then.
func TestLostAnswersAreGivenUp(t *testing.T) {
	t.Parallel()
	srv, _ := bustest.Provisioned(t, bustest.Options{})
	b, err := bus.Connect(bus.Config{URL: srv.Gated(), Name: "cdrpull"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	s, err := openStates(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	look, cancel := context.WithTimeout(t.Context(), 12*bus.PublishTimeout)
	defer cancel()
	srv.Pause()
	defer srv.Resume()
	if _, err := s.put(look, fileKey("default", "file"), fileState{State: stateAnnounced}); err == nil {
		t.Error("a state was written through a paused network")
	}
	if look.Err() != nil {
		t.Error("the answer was waited for until the look's end")
	}
}
