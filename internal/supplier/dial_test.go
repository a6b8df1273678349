package supplier

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

// certificates makes a server's configuration for 127.0.0.1 and supplier.test, and
// a client's that trusts it.
func certificates(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"supplier.test"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	client = NewHTTP(HTTPConfig{}).dialer.tls.Clone()
	client.RootCAs = x509.NewCertPool()
	client.RootCAs.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h2", "http/1.1"}}, client
}

// Whatever is wrong with TLS is found before a byte of the request is written.
func TestTLSIsRefused(t *testing.T) {
	server, client := certificates(t)
	for name, row := range map[string]struct {
		server func(*tls.Config)
		client func(*tls.Config)
		host   string
		code   string
	}{
		"unknown authority": {client: func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }, code: "(dial)"},
		"wrong name":        {host: "localhost", code: "(dial)"},
		"too old":           {server: func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11 }, code: "(dial)"},
		"its end": {server: func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, io.EOF }
		}, code: "(dial)"},
	} {
		t.Run(name, func(t *testing.T) {
			server, client := server.Clone(), client.Clone()
			if row.server != nil {
				row.server(server)
			}
			if row.client != nil {
				row.client(client)
			}
			s := serveRaw(t, server, func(_ int, c net.Conn, br *bufio.Reader) {
				if request(br) != nil {
					t.Error("a request arrived")
				}
			})
			h := newHTTP(t, HTTPConfig{Timeout: 10 * time.Second})
			h.dialer.tls = client
			to := s.url
			if row.host != "" {
				to = strings.Replace(to, "127.0.0.1", row.host, 1)
			}
			unsent(t, h, post(to), row.code)
		})
	}
	t.Run("silence", func(t *testing.T) {
		s := serveRaw(t, nil, func(_ int, _ net.Conn, br *bufio.Reader) { io.Copy(io.Discard, br) })
		h := newHTTP(t, HTTPConfig{Timeout: 10 * time.Second, DialTimeout: 100 * time.Millisecond})
		unsent(t, h, post(strings.Replace(s.url, "http", "https", 1)), "(timeout)")
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := serveRaw(t, nil, func(_ int, _ net.Conn, br *bufio.Reader) { br.ReadByte(); cancel(); io.Copy(io.Discard, br) })
		h := newHTTP(t, HTTPConfig{Timeout: 10 * time.Second})
		_, err := h.Do(ctx, post(strings.Replace(s.url, "http", "https", 1)))
		if e := asError(t, err); e.Sent || e.Kind != Busy || e.Code != "(cancelled)" {
			t.Errorf("got %+v", e)
		}
	})
}

// A host that answers no SYN: its queue is full.
func TestDialIntoAHole(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}).String()
	for full := 0; full < 3; full++ { // one that nobody answered may have been late only
		for range 16 {
			c, err := net.DialTimeout("tcp", addr, 50*time.Millisecond)
			if err != nil {
				break
			}
			defer c.Close()
		}
	}
	h := newHTTP(t, HTTPConfig{DialTimeout: 50 * time.Millisecond})
	unsent(t, h, post("http://"+addr), "(timeout)")
	h = newHTTP(t, HTTPConfig{Timeout: 50 * time.Millisecond, DialTimeout: time.Minute})
	unsent(t, h, post("http://"+addr), "(timeout)")
}

// proxyOf is a proxy of the environment.
func proxyOf(t *testing.T, h *HTTP, rawURL string) {
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	h.targets.proxy = http.ProxyURL(u)
}

func TestPlainProxy(t *testing.T) {
	s := serveRaw(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
		for {
			r := request(br)
			if r == nil {
				return
			}
			io.WriteString(c, answer(r.RequestURI+" "+r.Host+" "+r.Header.Get("Proxy-Authorization")))
		}
	})
	h := newHTTP(t, HTTPConfig{Timeout: 10 * time.Second})
	proxyOf(t, h, strings.Replace(s.url, "://", "://me:secret@", 1))
	for range 2 {
		good(t, h, post("http://supplier.test/a?b=c"), "http://supplier.test/a?b=c supplier.test Basic bWU6c2VjcmV0")
	}
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// tunnelling is a proxy that answers CONNECT and joins to addr.
func tunnelling(t *testing.T, addr, answer string, saw *atomic.Value) func(int, net.Conn, *bufio.Reader) {
	return func(_ int, c net.Conn, br *bufio.Reader) {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		saw.Store(r.Method + " " + r.RequestURI + " " + r.Host + " " + r.Header.Get("Proxy-Authorization"))
		io.WriteString(c, answer)
		if strings.Contains(answer, " 200 ") {
			join(t, c, br, addr)
		}
	}
}

func join(t *testing.T, c net.Conn, br *bufio.Reader, addr string) {
	up, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer up.Close()
	go func() { io.Copy(c, up); c.Close() }()
	io.Copy(up, br)
}

func TestTunnel(t *testing.T) {
	server, client := certificates(t)
	supplier := serveRaw(t, server, answering(answer("x")))
	addr := supplier.Addr().String()
	for _, scheme := range []string{"http", "https"} {
		for name, row := range map[string]struct{ answer, code string }{
			"open":      {"HTTP/1.1 200 Connection established\r\n\r\n", ""},
			"refused":   {"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "(dial)"},
			"too early": {"HTTP/1.1 200 OK\r\n\r\nhello", "(dial)"},
			"rubbish":   {"SSH-2.0\r\n", "(dial)"},
			"its end":   {"", "(dial)"},
		} {
			t.Run(scheme+", "+name, func(t *testing.T) {
				var saw atomic.Value
				var cfg *tls.Config
				if scheme == "https" {
					cfg = server
				}
				s := serveRaw(t, cfg, tunnelling(t, addr, row.answer, &saw))
				h := newHTTP(t, HTTPConfig{Timeout: 10 * time.Second})
				h.dialer.tls = client
				proxyOf(t, h, strings.Replace(s.url, "://", "://me:secret@", 1))
				if row.code == "" {
					for range 2 {
						good(t, h, post(supplier.url), "x")
					}
				} else {
					unsent(t, h, post(supplier.url), row.code)
				}
				if want := "CONNECT " + addr + " " + addr + " Basic bWU6c2VjcmV0"; saw.Load() != want || s.conns.Load() != 1 {
					t.Errorf("%d connections, the proxy saw %q, want %q", s.conns.Load(), saw.Load(), want)
				}
			})
		}
	}
}

// A SOCKS5 proxy (RFC 1928, 1929) with user and password.
func TestSOCKS(t *testing.T) {
	supplier := serveRaw(t, nil, answering(answer("x")))
	for name, status := range map[string]byte{"open": 0, "refused": 5} {
		t.Run(name, func(t *testing.T) {
			s := serveRaw(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
				take := func(n int) string {
					b := make([]byte, n)
					io.ReadFull(br, b)
					return string(b)
				}
				if hello := take(2); hello[0] != 5 || !strings.Contains(take(int(hello[1])), "\x02") {
					t.Errorf("hello %q", hello)
				}
				c.Write([]byte{5, 2})
				if got := take(len("\x01\x02me\x06secret")); got != "\x01\x02me\x06secret" {
					t.Errorf("authentication %q", got)
				}
				c.Write([]byte{1, 0})
				if got := take(4); got != "\x05\x01\x00\x03" {
					t.Errorf("request %q", got)
				}
				if got := take(1 + len("supplier.test") + 2); got != "\x0dsupplier.test\x00\x50" {
					t.Errorf("address %q", got)
				}
				c.Write([]byte{5, status, 0, 1, 0, 0, 0, 0, 0, 0})
				if status == 0 {
					join(t, c, br, supplier.Addr().String())
				}
			})
			h := newHTTP(t, HTTPConfig{Timeout: 10 * time.Second})
			proxyOf(t, h, strings.Replace(s.url, "http://", "socks5://me:secret@", 1))
			if status == 0 {
				good(t, h, post("http://supplier.test"), "x")
				return
			}
			unsent(t, h, post("http://supplier.test"), "(dial)")
		})
	}
	h := newHTTP(t, HTTPConfig{})
	proxyOf(t, h, "ftp://127.0.0.1")
	unsent(t, h, post("http://supplier.test"), "(dial)")
}
