package bus

import (
	"testing"
	"time"
)

// After a batch the next one waits for those who were answered, but not for long.
func TestCommitterGathersAgain(t *testing.T) {
	c := &Committer{opts: CommitOptions{MaxBatch: 256}, perBatch: time.Hour}
	c.mu.Lock() // what the timers call finds it locked, then closed
	defer c.mu.Unlock()
	c.closed = true
	c.queue = make([]*commit, 10)
	c.gather(30)
	for _, step := range []struct {
		waiting int
		want    bool
	}{{10, true}, {39, true}, {40, false}, {1, false}} {
		c.queue = make([]*commit, step.waiting)
		if got := c.gathering(); got != step.want {
			t.Errorf("%d wait: gathering is %v", step.waiting, got)
		}
	}
	c.queue = nil
	c.perBatch = 0
	c.gather(30)
	if c.gathering() {
		t.Error("it waits although the time is over")
	}
}
