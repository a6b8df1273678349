package bus

import (
	"testing"
	"time"
)

// What is measured on a busy machine must not make batches of messages that the
// server stores at once, nor keep it from batches where each costs an fsync.
func TestTheCommittersChoiceStandsABusyMachine(t *testing.T) {
	flights := func(c *Committer, n int, took func(i int) time.Duration) {
		for i := range n {
			c.learn(&flight{at: time.Now().Add(-took(i)), ahead: 7})
		}
	}
	slowButOne := func(i int) time.Duration {
		if i%20 == 0 {
			return 8 * 30 * time.Microsecond
		}
		return 8 * time.Millisecond // for want of a processor
	}
	c := &Committer{opts: CommitOptions{MaxBatch: 256}, perBatch: batchPrior, perSingle: singlePrior, trust: minTrust}
	flights(c, 2000, slowButOne)
	if c.worthBatch(64) {
		t.Errorf("a batch of 64, where a message takes 30 µs: thought to take %s", c.perSingle)
	}
	// It follows by a 256th each: from 30 µs it takes some 190 to what makes a batch
	// worth it, and more from the less that chance may have left.
	flights(c, 300, func(int) time.Duration { return 8 * 500 * time.Microsecond })
	if !c.worthBatch(64) {
		t.Errorf("no batch of 64, where a message takes 500 µs: thought to take %s", c.perSingle)
	}
}
