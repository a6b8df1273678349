package orderer

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
)

// cutOff is a ledger whose first walk hangs for a while and then breaks.
type cutOff struct {
	Ledger
	hang  time.Duration
	walks atomic.Int32
	again chan struct{} // closed at the second walk
}

func (l *cutOff) All(ctx context.Context) iter.Seq2[ledger.Open, error] {
	switch l.walks.Add(1) {
	case 1:
		return func(yield func(ledger.Open, error) bool) {
			<-time.After(l.hang)
			yield(ledger.Open{}, errors.New("the node that answered is gone"))
		}
	case 2:
		close(l.again)
	}
	return l.Ledger.All(ctx)
}

// A walk that hung until its node was given up is made up for at once: the pause is
// for walks that are long because there is much to read.
func TestCutOffWalkIsMadeUpFor(t *testing.T) {
	w := newWorld(t)
	cut := &cutOff{Ledger: w.ledger, hang: time.Second, again: make(chan struct{})}
	w.worker.ledger = cut
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	begin := time.Now()
	go func() { done <- w.worker.sweepLoop(ctx, order.EIOTCLUB) }()
	<-cut.again
	if took := time.Since(begin); took >= 9*cut.hang { // the pause after a walk that took so long
		t.Errorf("the next walk came after %s", took)
	}
	if n := testutil.ToFloat64(w.worker.m.failures.WithLabelValues("sweep")); n != 1 {
		t.Errorf("%v failures counted, want 1", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
