package bus

import "time"

const (
	// singlePrior and batchPrior are what a message and a batch are thought to take
	// until they were measured.
	singlePrior = 30 * time.Microsecond
	batchPrior  = 4 * time.Millisecond
	// ahead is how much work of single messages may lie before the server: enough
	// to keep it busy, little enough for the rest to gather here.
	ahead      = 3 * time.Millisecond
	maxSingles = 512
	// minTrust batches may go before single messages are measured again, twice as
	// many each time that it makes no difference.
	minTrust, maxTrust = 12, 768
	// gatherShare is the part of a batch's time for which the next one waits for
	// those who were answered just now.
	gatherShare = 4
)

// worthBatch says whether n messages are cheaper together; mu is held.
func (c *Committer) worthBatch(n int) bool {
	n = min(n, c.opts.MaxBatch)
	if c.opts.MinBatch > 0 {
		return n >= c.opts.MinBatch && n > 1
	}
	if n < 8 || c.unproven >= c.trust {
		return false
	}
	if time.Duration(n)*c.perSingle > c.perBatch {
		return true
	}
	// One slow batch must not put batches out of the question for ever.
	c.perBatch -= (c.perBatch - batchPrior) / 4096
	return false
}

// learn takes in how long a flight took; mu is held and the flight forgotten. A
// single message's share is its time over the number that the server had to store
// by then. Nearly the best of these counts: the rest tells of our own pauses and of
// a machine that is busy, in which a message that is not fsynced looks as slow as
// one that is.
func (c *Committer) learn(f *flight) {
	took := time.Since(f.at)
	if f.batch {
		c.perBatch = nearlyLeast(c.batches, c.perBatch, took)
		c.batches++
		c.window = 0
		c.unproven++
		return
	}
	c.perSingle = nearlyLeast(c.answered, c.perSingle, took/time.Duration(f.ahead+1))
	c.answered++
	if c.window++; c.window < 8 {
		return
	}
	if c.unproven >= c.trust {
		c.trust = min(2*c.trust, maxTrust)
	}
	c.window, c.unproven = 0, 0
}

// nearlyLeast follows, by steps, what one in thirty of the measurements stays
// below, from the least of the first eight on.
func nearlyLeast(seen int, estimate, measured time.Duration) time.Duration {
	switch {
	case seen == 0, seen < 8 && measured < estimate:
		return measured
	case measured < estimate:
		return estimate - estimate/8
	}
	return estimate + estimate/256
}

// gather lets the n whose batch was just answered come again before the next one
// leaves. Else those who wait now and those who come back take turns for ever, in
// batches of half the size at the same price.
func (c *Committer) gather(n int) {
	wait := c.perBatch / gatherShare
	c.gatherN, c.gatherBy = len(c.queue)+n, time.Now().Add(wait)
	time.AfterFunc(wait, c.pump)
}

// gathering says whether others are still waited for; mu is held.
func (c *Committer) gathering() bool {
	if c.gatherN == 0 {
		return false
	}
	if len(c.queue) < min(c.gatherN, c.opts.MaxBatch) && time.Now().Before(c.gatherBy) {
		return true
	}
	c.gatherN = 0
	return false
}
