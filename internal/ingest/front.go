package ingest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// front serves connections as long as what comes on them is what the supplier
// sends: a plain POST with a small body. Anything else, and the connection with
// it, is net/http's, which knows the whole protocol; what was read of it by then
// is read there again. Per request this costs half of what net/http does, and a
// connection on which nothing comes holds no buffer.
type front struct {
	w     *Worker
	conns *connLimit

	accepted chan struct{} // closed once no more connections come
	serving  sync.WaitGroup
	draining atomic.Bool
	rest     chan net.Conn // to net/http
	closed   chan struct{}
	close    sync.Once
	holding  atomic.Int64 // buffers
	today    atomic.Pointer[date]
}

const (
	// frontBuffer is the largest request that front takes, with its header.
	frontBuffer = 4 << 10
	// A connection gives its buffer back once nothing came for this long, at most
	// twice as long.
	frontLinger = time.Second
)

var frontBuffers = sync.Pool{New: func() any { return new([frontBuffer]byte) }}

func newFront(w *Worker, conns *connLimit) *front {
	return &front{w: w, conns: conns, accepted: make(chan struct{}), rest: make(chan net.Conn), closed: make(chan struct{})}
}

// run accepts connections until its listener is closed.
func (f *front) run() {
	defer close(f.accepted)
	for pause := time.Duration(0); ; {
		c, err := f.conns.accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many files are open, or the caller is gone already
			pause = min(max(5*time.Millisecond, 2*pause), time.Second)
			f.w.log.Warn("accept a connection", "error", err, "again_in", pause)
			time.Sleep(pause)
			continue
		}
		pause = 0
		f.serving.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					f.w.log.Error("panic while serving a request", "panic", p, "stack", string(debug.Stack()))
					_ = c.Close()
				}
			}()
			if f.serve(c) {
				f.handOver(c)
				return
			}
			_ = c.Close()
		})
	}
}

// drain, once the listener is closed, closes connections on which nothing comes,
// lets requests in hand be answered, and waits for that, at most until ctx ends.
func (f *front) drain(ctx context.Context) error {
	f.draining.Store(true)
	<-f.accepted
	f.conns.closeIdle()
	done := make(chan struct{})
	go func() { f.serving.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Accept, Close and Addr make front the listener of net/http's server.

// Accept implements net.Listener.
func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.rest:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (f *front) Close() error {
	f.close.Do(func() { close(f.closed) })
	return nil
}

// Addr implements net.Listener.
func (f *front) Addr() net.Addr { return f.conns.Addr() }

func (f *front) handOver(c *conn) {
	select {
	case f.rest <- c:
	case <-f.closed:
		_ = c.Close()
	}
}

// lane is one connection being served.
type lane struct {
	f      *front
	c      *conn
	remote string
	buf    *[frontBuffer]byte // nil while nothing comes
	n      int                // bytes in it
	out    []byte

	readUntil, writeUntil time.Time // deadlines that are set
}

// serve answers requests until the connection ends; unusual says that net/http
// is to go on with it.
func (f *front) serve(c *conn) (unusual bool) {
	l := lane{f: f, c: c, remote: c.RemoteAddr().String()}
	defer l.letGo()
	for {
		if !l.wait() || !c.begin() {
			return false
		}
		req, size, shape, ok := l.request()
		if !ok {
			return false
		}
		if shape == shapeUnusual {
			c.pending = append([]byte(nil), l.buf[:l.n]...)
			return true
		}
		if !l.answer(&req) {
			return false
		}
		l.n = copy(l.buf[:], l.buf[size:l.n])
		if c.rest(); f.draining.Load() {
			return false
		}
	}
}

func (l *lane) letGo() {
	if l.buf != nil {
		frontBuffers.Put(l.buf)
		l.buf, l.n = nil, 0
		l.f.holding.Add(-1)
	}
}

// wait returns once a request begins, false if none does.
func (l *lane) wait() bool {
	if l.n > 0 {
		return true // it came along with the last one
	}
	now := time.Now()
	idle := now.Add(l.f.w.server.IdleTimeout)
	if l.buf != nil {
		if l.readUntil.Sub(now) < frontLinger {
			l.readBefore(now.Add(2 * frontLinger))
		}
		n, err := l.c.Conn.Read(l.buf[:])
		if l.n = n; n > 0 {
			return true
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		l.letGo()
	}
	l.readBefore(idle)
	n, err := l.c.Conn.Read(l.c.first[:])
	if n == 0 || err != nil {
		return false
	}
	l.buf = frontBuffers.Get().(*[frontBuffer]byte)
	l.f.holding.Add(1)
	l.buf[0], l.n = l.c.first[0], 1
	return true
}

func (l *lane) readBefore(t time.Time) {
	l.readUntil = t
	_ = l.c.Conn.SetReadDeadline(t) // fails only on a connection on which reading fails as well
}

// request reads on until a request is whole, as long as net/http would.
func (l *lane) request() (req request, size int, shape shape, ok bool) {
	req, size, shape = parseRequest(l.buf[:l.n])
	if shape != shapePart {
		return req, size, shape, true
	}
	l.readBefore(time.Now().Add(l.f.w.server.ReadTimeout))
	defer func() { l.readUntil = time.Time{} }()
	for {
		if l.n == len(l.buf) {
			return req, 0, shapeUnusual, true
		}
		n, err := l.c.Conn.Read(l.buf[l.n:])
		l.n += n
		req, size, shape = parseRequest(l.buf[:l.n])
		if shape != shapePart {
			return req, size, shape, true
		}
		if err != nil {
			why := errCutShort
			if errors.Is(err, os.ErrDeadlineExceeded) {
				why = errSlow
			}
			l.refuse(why)
			return req, 0, shape, false
		}
	}
}

// answer does what ServeHTTP does; false if the connection ends with it.
func (l *lane) answer(req *request) bool {
	req.remote = l.remote
	now := time.Now()
	err := l.f.w.serve(req, now)
	closing := l.f.draining.Load()
	l.out = l.f.appendAnswer(l.out[:0], err, now, closing)
	return l.write(now) && !closing
}

func (l *lane) refuse(why *refusal) {
	now := time.Now()
	l.f.w.refused(nil, new(intake), &request{remote: l.remote, method: http.MethodPost}, why)
	l.out = l.f.appendAnswer(l.out[:0], why, now, true)
	l.write(now)
}

func (l *lane) write(now time.Time) bool {
	timeout := l.f.w.server.WriteTimeout
	if l.writeUntil.Sub(now) < timeout/2 {
		l.writeUntil = now.Add(timeout)
		_ = l.c.Conn.SetWriteDeadline(l.writeUntil)
	}
	_, err := l.c.Conn.Write(l.out)
	return err == nil // who is gone by now sends it again, and it is dropped as known
}
