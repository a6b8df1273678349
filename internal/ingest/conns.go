package ingest

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// connLimit keeps the number of open connections bounded. Above it the one that
// has been idle longest is closed, so that thousands of idle ones cannot keep a
// good one out.
type connLimit struct {
	net.Listener
	max     int
	evicted func()

	mu   sync.Mutex
	open map[*conn]struct{}
}

// conn remembers since when it is idle: 0 while a request is being served, -1
// once it was chosen to be closed.
type conn struct {
	net.Conn
	limit *connLimit
	idle  atomic.Int64

	first   [1]byte // what front waits for
	pending []byte  // what front has read and net/http is to read again
}

func newConnLimit(l net.Listener, maxConns int, evicted func()) *connLimit {
	return &connLimit{Listener: l, max: maxConns, evicted: evicted, open: map[*conn]struct{}{}}
}

// Accept implements net.Listener.
func (l *connLimit) Accept() (net.Conn, error) { return l.accept() }

func (l *connLimit) accept() (*conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, limit: l}
	c.rest()
	l.mu.Lock()
	l.open[c] = struct{}{}
	var victim *conn
	if len(l.open) > l.max {
		victim = l.oldestIdle()
	}
	l.mu.Unlock()
	if victim != nil {
		l.evicted()
		_ = victim.Close() // whoever was on it connects again
	}
	return c, nil
}

// closeIdle closes every connection on which nothing is being served.
func (l *connLimit) closeIdle() {
	l.mu.Lock()
	var idle []*conn
	for c := range l.open {
		if at := c.idle.Load(); at > 0 && c.idle.CompareAndSwap(at, -1) {
			idle = append(idle, c)
		}
	}
	l.mu.Unlock()
	for _, c := range idle {
		_ = c.Close()
	}
}

// begin marks a connection as at work; false if it was chosen to be closed.
func (c *conn) begin() bool {
	at := c.idle.Load()
	return at >= 0 && c.idle.CompareAndSwap(at, 0)
}

// rest marks it as idle.
func (c *conn) rest() { c.idle.Store(time.Now().UnixNano()) }

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	if len(c.pending) > 0 {
		n := copy(b, c.pending)
		c.pending = c.pending[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// oldestIdle finds whom to close; mu is held. If every connection is at work it
// is the newcomer's bad luck, which is among them as idle.
func (l *connLimit) oldestIdle() *conn {
	for {
		var oldest *conn
		since := int64(0)
		for c := range l.open {
			if at := c.idle.Load(); at > 0 && (oldest == nil || at < since) {
				oldest, since = c, at
			}
		}
		if oldest == nil || oldest.idle.CompareAndSwap(since, -1) {
			return oldest
		}
	}
}

func (l *connLimit) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.limit.mu.Lock()
	delete(c.limit.open, c)
	c.limit.mu.Unlock()
	return c.Conn.Close()
}

// connState follows which connections are at work; it is http.Server's hook.
func connState(nc net.Conn, state http.ConnState) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	switch state {
	case http.StateActive:
		c.begin()
	case http.StateIdle:
		c.rest()
	}
}
