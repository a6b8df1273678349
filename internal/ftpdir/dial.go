package ftpdir

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// dialer makes a session's connections: the first is the control connection,
// all others carry data. The FTP library sets no deadlines and, given a dial
// function, leaves TLS on data connections to it.
type dialer struct {
	ctx context.Context
	dir *Dir

	mu     sync.Mutex
	conns  []net.Conn
	closed bool
}

func (d *dialer) dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.ctx, d.dir.step)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = raw.Close()
		return nil, context.Cause(d.ctx)
	}
	// Data connections come one at a time: the one before is done with.
	first := len(d.conns) == 0
	d.conns = append(d.conns[:min(len(d.conns), 1)], raw)
	conn := &rolling{Conn: raw, step: d.dir.step}
	if d.dir.tls == nil || first {
		return conn, nil
	}
	return tls.Client(conn, d.dir.tls), nil
}

// why is what ended the session's context, if something did: the connection was closed
// for it, and its own error says less.
func (d *dialer) why(err error) error {
	if cause := context.Cause(d.ctx); cause != nil {
		return cause
	}
	return err
}

// close cuts every connection, so that whoever waits on one returns.
func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, c := range d.conns {
		_ = c.Close()
	}
}

// rolling is a connection on which each read and write has its own deadline, so
// that a transfer may take as long as it moves.
type rolling struct {
	net.Conn
	step time.Duration
}

func (c *rolling) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.step)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *rolling) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.step)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// SetDeadline is the library's wish while it waits for the end of a transfer;
// the next read rolls it on, which is bound as well.
func (c *rolling) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(t) }
