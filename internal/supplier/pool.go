package supplier

import (
	"slices"
	"sync"
	"time"
)

// idleTime is how long a connection is kept without a call. Load balancers close
// theirs after 60 s, and a purchase that is written into a closing connection is
// unknown: we are the first to give up.
const idleTime = 45 * time.Second

// pool keeps the connections that no call is using, by what they lead to. The one
// used last is taken first, so that a falling load lets the others grow old.
type pool struct {
	max int

	mu     sync.Mutex
	idle   map[string][]*conn // in the order in which they came
	count  int
	sweep  *time.Timer // runs while there is anything to grow old
	closed bool        // since closeIdle, until the next call: what comes back then is not kept
}

// get takes a connection out, nil if there is none. Whether it still lives is to be
// asked of itself.
func (p *pool) get(to string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = false
	list := p.idle[to]
	for len(list) > 0 {
		c := list[len(list)-1]
		list[len(list)-1] = nil
		list = list[:len(list)-1]
		p.idle[to] = list
		p.count--
		if time.Now().Before(c.until) {
			return c
		}
		c.Close()
	}
	return nil
}

// put keeps c for at most life. In a full pool it takes the place of the one that
// is idle longest.
func (p *pool) put(c *conn, life time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || life <= 0 || p.max < 1 {
		c.Close()
		return
	}
	c.since = time.Now()
	c.until = c.since.Add(life)
	if p.count >= p.max {
		p.dropOldest()
	}
	p.idle[c.to] = append(p.idle[c.to], c)
	p.count++
	if p.sweep == nil {
		p.sweep = time.AfterFunc(idleTime, p.dropExpired)
	}
}

func (p *pool) dropOldest() {
	var oldest string
	for to, list := range p.idle {
		if len(list) > 0 && (oldest == "" || list[0].since.Before(p.idle[oldest][0].since)) {
			oldest = to
		}
	}
	list := p.idle[oldest]
	list[0].Close()
	p.idle[oldest] = slices.Delete(list, 0, 1)
	p.count--
}

// dropExpired runs every idleTime, so that a connection without calls is closed
// within twice that.
func (p *pool) dropExpired() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for to, list := range p.idle {
		kept := list[:0]
		for _, c := range list {
			if now.Before(c.until) {
				kept = append(kept, c)
			} else {
				c.Close()
				p.count--
			}
		}
		clear(list[len(kept):])
		if p.idle[to] = kept; len(kept) == 0 {
			delete(p.idle, to)
		}
	}
	if p.count == 0 {
		p.sweep = nil
		return
	}
	p.sweep.Reset(idleTime)
}

// closeIdle closes all that are in.
func (p *pool) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range p.idle {
		for _, c := range list {
			c.Close()
		}
	}
	clear(p.idle)
	p.count, p.closed = 0, true
	if p.sweep != nil {
		p.sweep.Stop()
		p.sweep = nil
	}
}
