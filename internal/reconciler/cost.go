package reconciler

import "sync"

// Cost counts what one job asks of the suppliers: the calls that it made, those
// asked again included, and the least that could have answered (full batches,
// each state asked once). A nil Cost counts nothing.
type Cost struct {
	job     string
	metrics *Metrics

	mu           sync.Mutex
	calls, least int // since they were last taken
}

// call counts one call that is about to be made.
func (c *Cost) call(endpoint string) {
	if c == nil {
		return
	}
	c.metrics.calls.WithLabelValues(c.job, endpoint).Inc()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
}

// could counts how few calls would have answered a question.
func (c *Cost) could(endpoint string, n int) {
	if c == nil {
		return
	}
	c.metrics.optimum.WithLabelValues(c.job, endpoint).Add(float64(n))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.least += n
}

// Take is what was counted since it was last taken.
func (c *Cost) Take() (calls, least int) {
	if c == nil {
		return 0, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	calls, least = c.calls, c.least
	c.calls, c.least = 0, 0
	return calls, least
}
