package supplier

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// raw is a server of bytes: each connection is served by a function of the test, and
// is closed when that returns. With tls it speaks TLS.
type raw struct {
	net.Listener
	url   string
	conns atomic.Int32
	ended sync.WaitGroup
}

func serveRaw(t *testing.T, cfg *tls.Config, serve func(n int, c net.Conn, br *bufio.Reader)) *raw {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &raw{Listener: l, url: "http://" + l.Addr().String()}
	if cfg != nil {
		r.url = "https://" + l.Addr().String()
	}
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		r.ended.Wait()
	})
	r.ended.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			n := int(r.conns.Add(1))
			r.ended.Go(func() {
				defer func() {
					c.Close()
					mu.Lock()
					delete(open, c)
					mu.Unlock()
				}()
				over := c
				if cfg != nil {
					over = tls.Server(c, cfg)
				}
				serve(n, over, bufio.NewReader(over))
			})
		}
	})
	return r
}

// request reads one whole request; nil at the connection's end.
func request(br *bufio.Reader) *http.Request {
	r, err := http.ReadRequest(br)
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body)
	}
	if err != nil {
		return nil
	}
	return r
}

// answering answers each request of a connection with the same bytes.
func answering(answer string) func(int, net.Conn, *bufio.Reader) {
	return func(_ int, c net.Conn, br *bufio.Reader) {
		for request(br) != nil {
			io.WriteString(c, answer)
		}
	}
}

func answer(body string) string {
	return "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

func newHTTP(t *testing.T, cfg HTTPConfig) *HTTP {
	h := NewHTTP(cfg)
	h.targets.proxy = noProxy
	t.Cleanup(h.CloseIdle)
	return h
}

// until waits for what is to come about.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	again := time.NewTicker(100 * time.Microsecond)
	defer again.Stop()
	for end := time.Now().Add(10 * time.Second); !is(); <-again.C {
		if time.Now().After(end) {
			t.Fatalf("waited 10 s in vain: %s", what)
		}
	}
}

// kept is the connections in the pool, the one used last at the end.
func (h *HTTP) kept() (all []*conn) {
	h.pool.mu.Lock()
	defer h.pool.mu.Unlock()
	for _, list := range h.pool.idle {
		all = append(all, list...)
	}
	return all
}

// readable says whether anything came on a connection, its end included, and takes
// nothing away.
func (c *conn) readable() (yes bool) {
	c.SetDeadline(time.Time{})
	c.sock.raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		yes = err != syscall.EAGAIN
		return true
	})
	return yes
}

// reset makes closing a connection a RST.
func reset(c net.Conn) {
	if over, ok := c.(*tls.Conn); ok {
		c = over.NetConn()
	}
	c.(*net.TCPConn).SetLinger(0)
}

// good wants an answer with a body.
func good(t *testing.T, h *HTTP, call Call, body string) {
	t.Helper()
	a, err := h.Do(t.Context(), call)
	if err != nil || string(a.Body) != body {
		t.Fatalf("got %.80q, %v, want %.80q", a.Body, err, body)
	}
}

// bad wants an error that nobody knows the outcome of, by its code.
func bad(t *testing.T, h *HTTP, call Call, code string) {
	t.Helper()
	a, err := h.Do(t.Context(), call)
	if err == nil {
		t.Fatalf("got %+v, want code %s", a, code)
	}
	if e := asError(t, err); e.Kind != Unknown || !e.Sent || e.Code != code {
		t.Fatalf("got %+v, want unknown, sent, %s", e, code)
	}
}

// unsent wants an error that says that nothing left.
func unsent(t *testing.T, h *HTTP, call Call, code string) {
	t.Helper()
	a, err := h.Do(t.Context(), call)
	if err == nil {
		t.Fatalf("got %+v, want code %s", a, code)
	}
	if e := asError(t, err); e.Kind != Busy || e.Sent || e.Code != code {
		t.Fatalf("got %+v, want busy, not sent, %s", e, code)
	}
}
