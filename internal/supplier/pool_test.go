package supplier

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// eachWay runs a test over plain connections and over TLS.
func eachWay(t *testing.T, test func(t *testing.T, server *tls.Config, h *HTTP)) {
	t.Run("plain", func(t *testing.T) { test(t, nil, newHTTP(t, HTTPConfig{Timeout: 10 * time.Second})) })
	t.Run("TLS", func(t *testing.T) {
		server, client := certificates(t)
		h := newHTTP(t, HTTPConfig{Timeout: 10 * time.Second})
		h.dialer.tls = client
		test(t, server, h)
	})
}

func TestAConnectionIsUsedAgain(t *testing.T) {
	eachWay(t, func(t *testing.T, server *tls.Config, h *HTTP) {
		s := serveRaw(t, server, answering(answer("x")))
		for range 20 {
			good(t, h, post(s.url), "x")
		}
		if n := s.conns.Load(); n != 1 {
			t.Errorf("%d connections for calls one after the other", n)
		}
	})
}

// A connection that its server closed, reset or spoke on while it was idle is found
// out before a request is written to it, so no order becomes unknown by it.
func TestWhatHappensOnAnIdleConnection(t *testing.T) {
	for name, happens := range map[string]func(c net.Conn){
		"closed":         func(net.Conn) {},
		"reset":          func(c net.Conn) { reset(c) },
		"an answer":      func(c net.Conn) { io.WriteString(c, answer("unasked")) },
		"a time-out 408": func(c net.Conn) { io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n") },
		"a few bytes":    func(c net.Conn) { io.WriteString(c, "HTTP") },
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, server *tls.Config, h *HTTP) {
				idle := make(chan struct{})
				s := serveRaw(t, server, func(n int, c net.Conn, br *bufio.Reader) {
					request(br)
					io.WriteString(c, answer("x"))
					if n > 1 {
						request(br)
						return
					}
					<-idle
					happens(c)
					if strings.HasPrefix(name, "a") {
						request(br) // is open until the client closes
					}
				})
				good(t, h, post(s.url), "x")
				c := h.kept()[0]
				close(idle)
				until(t, "it is noticed", c.readable)
				good(t, h, post(s.url), "x")
				if n := s.conns.Load(); n != 2 {
					t.Errorf("%d connections, want a second one", n)
				}
			})
		})
	}
}

// A connection that looked sound, and took no byte: the request goes to a new one,
// and is made once. That is the only repeat there is.
func TestAConnectionThatTakesNothingIsReplaced(t *testing.T) {
	eachWay(t, func(t *testing.T, server *tls.Config, h *HTTP) {
		var requests atomic.Int32
		s := serveRaw(t, server, func(n int, c net.Conn, br *bufio.Reader) {
			for request(br) != nil {
				requests.Add(1)
				io.WriteString(c, answer("x"))
			}
			if n == 1 {
				io.Copy(io.Discard, br) // stays open, for all that the client sees
				<-t.Context().Done()
			}
		})
		good(t, h, post(s.url), "x")
		h.kept()[0].sock.Conn.(*net.TCPConn).CloseWrite()
		good(t, h, post(s.url), "x")
		if n, r := s.conns.Load(), requests.Load(); n != 2 || r != 2 {
			t.Errorf("%d connections, %d requests, want 2 and 2", n, r)
		}
	})
}

// A new connection that takes nothing is the end of it: certainly not sent.
func TestANewConnectionThatTakesNothing(t *testing.T) {
	eachWay(t, func(t *testing.T, server *tls.Config, h *HTTP) {
		s := serveRaw(t, server, answering(answer("x")))
		to, err := h.targets.of(http.MethodPost, s.url)
		if err != nil {
			t.Fatal(err)
		}
		c, err := h.dialer.dial(t.Context(), to, time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.sock.Conn.(*net.TCPConn).CloseWrite()
		if _, taken, err := c.exchange([]byte("POST / HTTP/1.1\r\nHost: x\r\n\r\n"), http.MethodPost, 1); taken || err == nil {
			t.Errorf("taken %v, %v", taken, err)
		}
	})
}

// The server sees the request and goes: nobody knows, and nothing is repeated,
// whether the connection is old or new.
func TestGoneAfterTheRequest(t *testing.T) {
	eachWay(t, func(t *testing.T, server *tls.Config, h *HTTP) {
		for name, bye := range map[string]func(net.Conn){"closed": func(net.Conn) {}, "reset": reset} {
			for _, old := range []bool{false, true} {
				var requests atomic.Int32
				s := serveRaw(t, server, func(_ int, c net.Conn, br *bufio.Reader) {
					if old {
						request(br)
						io.WriteString(c, answer("x"))
					}
					if request(br) != nil {
						requests.Add(1)
					}
					bye(c)
				})
				if old {
					good(t, h, post(s.url), "x")
				}
				bad(t, h, post(s.url), "(reset)")
				if n := requests.Load(); n != 1 || s.conns.Load() != 1 {
					t.Errorf("%s, old %v: %d requests on %d connections", name, old, n, s.conns.Load())
				}
			}
		}
	})
}

func TestWhatIsNotKept(t *testing.T) {
	for name, row := range map[string]struct {
		answer string
		keep   bool
	}{
		"length":                {answer("x"), true},
		"empty":                 {answer(""), true},
		"no content":            {"HTTP/1.1 204 No Content\r\n\r\n", true},
		"chunks":                {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", true},
		"chunks and trailer":    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n", true},
		"HTTP/1.0, kept":        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", true},
		"HTTP/1.0":              {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", false},
		"close":                 {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", false},
		"more than its length":  {answer("x") + "y", false},
		"two answers":           {answer("x") + answer("y"), false},
		"more after no content": {"HTTP/1.1 204 No Content\r\n\r\nx", false},
		"more after chunks":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nx", false},
		"for a second":          {"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 1\r\n\r\nx", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveRaw(t, nil, answering(row.answer))
			h := newHTTP(t, HTTPConfig{Timeout: 10 * time.Second})
			if _, err := h.Do(t.Context(), post(s.url)); err != nil {
				t.Fatal(err)
			}
			if kept := len(h.kept()) > 0; kept != row.keep {
				t.Errorf("kept %v", kept)
			}
		})
	}
}

func TestKeepAlive(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": idleTime, "max=100": idleTime, "timeout=x": idleTime, "timeout=5": 4 * time.Second, "timeout=5, max=1000": 4 * time.Second,
		"max=9, Timeout=10": 9 * time.Second, "timeout=600": idleTime, "timeout=0": -time.Second, "timeout=1": 0, "timeout=99999999999": idleTime,
	} {
		if got := keepAlive(http.Header{"Keep-Alive": {value}}); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// The pool is bounded, what grows old in it is closed, and CloseIdle closes it all,
// with what comes back afterwards.
func TestPoolBounds(t *testing.T) {
	arrived, go_ := make(chan struct{}), make(chan struct{})
	s := serveRaw(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
		for request(br) != nil {
			arrived <- struct{}{}
			<-go_
			io.WriteString(c, answer("x"))
		}
	})
	h := newHTTP(t, HTTPConfig{Timeout: 10 * time.Second, MaxConns: 3})
	at := func(calls int, while func()) {
		var wg sync.WaitGroup
		for range calls {
			wg.Go(func() {
				if _, err := h.Do(t.Context(), post(s.url)); err != nil {
					t.Error(err)
				}
			})
		}
		for range calls {
			<-arrived
		}
		while()
		for range calls {
			go_ <- struct{}{}
		}
		wg.Wait()
	}
	at(8, func() {})
	if n := len(h.kept()); n != 3 || h.pool.count != 3 {
		t.Fatalf("%d kept, %d counted, want MaxConns, 3", n, h.pool.count)
	}
	h.kept()[0].until = time.Now().Add(-time.Second)
	h.kept()[2].until = time.Now().Add(-time.Second)
	h.pool.dropExpired()
	if n := len(h.kept()); n != 1 || h.pool.count != 1 || h.pool.sweep == nil {
		t.Fatalf("%d kept, %d counted, want 1", n, h.pool.count)
	}
	old := h.kept()[0]
	old.until = time.Now().Add(-time.Second)
	at(1, func() {})
	if all := h.kept(); len(all) != 1 || all[0] == old || s.conns.Load() != 9 {
		t.Fatalf("%d kept of %d connections: one that is too old was used", len(all), s.conns.Load())
	}
	at(2, h.CloseIdle)
	if n := len(h.kept()); n != 0 || h.pool.count != 0 || h.pool.sweep != nil {
		t.Fatalf("%d kept after CloseIdle", n)
	}
	at(1, func() {})
	if n := len(h.kept()); n != 1 {
		t.Fatalf("%d kept once there is work again", n)
	}
}

// The connection that is idle longest makes room, wherever it leads.
func TestPoolMakesRoom(t *testing.T) {
	h := newHTTP(t, HTTPConfig{Timeout: 10 * time.Second, MaxConns: 2})
	a, b, c := serveRaw(t, nil, answering(answer("a"))), serveRaw(t, nil, answering(answer("b"))), serveRaw(t, nil, answering(answer("c")))
	for _, s := range []struct{ url, body string }{{a.url, "a"}, {b.url, "b"}, {c.url, "c"}, {b.url, "b"}} {
		good(t, h, post(s.url), s.body)
	}
	if len(h.kept()) != 2 || len(h.pool.idle[a.url]) != 0 || b.conns.Load() != 1 {
		t.Errorf("kept %v", h.pool.idle)
	}
}

// A call runs in its caller's goroutine, and leaves none behind.
func TestNoGoroutines(t *testing.T) {
	const calls = 50
	arrived, go_ := make(chan struct{}, calls), make(chan struct{})
	s := serveRaw(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
		for request(br) != nil {
			arrived <- struct{}{}
			<-go_
			io.WriteString(c, answer("x"))
		}
	})
	h := newHTTP(t, HTTPConfig{Timeout: 10 * time.Second})
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			if _, err := h.Do(ctx, post(s.url)); err != nil {
				t.Error(err)
			}
		})
	}
	for range calls {
		<-arrived
	}
	if n := runtime.NumGoroutine() - before; n > 2*calls { // the callers and the server's
		t.Errorf("%d goroutines for %d calls", n, calls)
	}
	close(go_)
	wg.Wait()
	h.CloseIdle()
	until(t, "the server's goroutines end, and no other is left", func() bool { return runtime.NumGoroutine() <= before })
}

// httptest's server, as the tests of all others use it: it closes without waiting.
func TestBesideHTTPTest(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	}))
	h := newHTTP(t, HTTPConfig{})
	h.dialer.tls = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	h.dialer.tls.NextProtos = []string{"http/1.1"}
	call := post(s.URL)
	call.Body = bytes.Repeat([]byte("{}"), 100_000)
	good(t, h, call, string(call.Body))
	begin := time.Now()
	s.Close()
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("Close took %v with an idle connection", took)
	}
	unsent(t, h, post(s.URL), "(dial)")
}
