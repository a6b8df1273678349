package supplier

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxHeader is the most that the header of an answer may hold, in bytes, with the
// 1xx answers before it.
const maxHeader = 256 << 10

var (
	errHeader   = errors.New("the answer's header is over " + strconv.Itoa(maxHeader) + " bytes")
	errTooLarge = errors.New("the answer is too large")
	errSwitched = errors.New("the server switched to a protocol that nobody asked for")
)

// conn is one connection to a supplier, used by one call at a time.
type conn struct {
	net.Conn // what is spoken over: the socket, or TLS on it
	sock     *socket
	br       *bufio.Reader // of conn itself, which counts
	room     int64         // bytes that br may still take
	one      [1]byte

	to           string // whom it leads to, in the pool's words
	used         bool   // it has had a call before
	since, until time.Time
}

func newConn(over net.Conn, sock *socket, to string) *conn {
	c := &conn{Conn: over, sock: sock, to: to}
	c.br = bufio.NewReaderSize(c, 4<<10)
	return c
}

func (c *conn) Read(p []byte) (int, error) {
	if c.room <= 0 {
		return 0, errHeader
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.room)])
	c.room -= int64(n)
	return n, err
}

// Close takes the socket away. TLS's farewell is left out: it would wait for a
// server that takes nothing, and there is nothing after an answer to be cut short.
func (c *conn) Close() error { return c.sock.Close() }

// quiet says whether nothing came on an idle connection, not even its end. What
// comes unasked is no answer to the next request, and what has ended takes none.
func (c *conn) quiet() bool {
	c.sock.now, c.sock.heard = true, false
	n, err := c.Conn.Read(c.one[:])
	c.sock.now = false
	return n == 0 && err == errNothing && !c.sock.heard
}

// reply is a whole answer.
type reply struct {
	status int
	header http.Header
	body   []byte
	// keep is how long the connection may wait for the next call; 0 is not at all.
	keep time.Duration
}

// exchange writes a request and reads the answer. taken is false only if no byte of
// the request was handed to the kernel; after an error c can only be closed.
//
// The answer is read once the request is written whole. One that comes before that,
// from a server that reads no further, is lost with the connection: it would be an
// answer to half a purchase.
func (c *conn) exchange(request []byte, method string, maxBody int64) (r reply, taken bool, err error) {
	before := c.sock.taken
	if _, err := c.Conn.Write(request); err != nil {
		// With TLS as well: half a record cannot be read by anyone, but that is a thing
		// to argue, and what the kernel did not take is a fact.
		return reply{}, c.sock.taken != before, err
	}
	r, err = c.answer(method, maxBody)
	return r, true, err
}

// headRequest tells http.ReadResponse that no body follows; nil is a GET.
var headRequest = &http.Request{Method: http.MethodHead}

func (c *conn) answer(method string, maxBody int64) (reply, error) {
	var to *http.Request
	if method == http.MethodHead {
		to = headRequest
	}
	c.room = maxHeader
	resp, err := http.ReadResponse(c.br, to)
	for err == nil && resp.StatusCode/100 == 1 && resp.StatusCode != http.StatusSwitchingProtocols {
		resp, err = http.ReadResponse(c.br, to) // 100, 103: the answer is yet to come
	}
	if err != nil {
		return reply{}, err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return reply{}, errSwitched
	}
	c.room = math.MaxInt64
	r := reply{status: resp.StatusCode, header: resp.Header}
	if r.body, err = readBody(resp, maxBody); err != nil {
		return r, fmt.Errorf("read answer of status %d: %w", r.status, err)
	}
	if !resp.Close && c.br.Buffered() == 0 {
		r.keep = keepAlive(resp.Header)
	}
	return r, nil
}

// readBody reads a body to its end.
func readBody(resp *http.Response, limit int64) ([]byte, error) {
	switch n := resp.ContentLength; {
	case resp.Body == http.NoBody:
		return []byte{}, nil
	case n > limit:
		return nil, errTooLarge
	case n >= 0:
		b := make([]byte, n)
		_, err := io.ReadFull(resp.Body, b)
		return b, err
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errTooLarge
	}
	return b, err
}

// keepAlive is how long a connection may be idle: our time, or a second less than
// the server says that it waits (Keep-Alive: timeout=5, as node.js does by default).
func keepAlive(h http.Header) time.Duration {
	for _, v := range h["Keep-Alive"] {
		for part := range strings.SplitSeq(v, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			if s, err := strconv.Atoi(value); err == nil && strings.EqualFold(name, "timeout") {
				return min(idleTime, time.Duration(min(s, 3600)-1)*time.Second)
			}
		}
	}
	return idleTime
}

// socket is a connection as the kernel has it, beneath TLS. It counts what the
// kernel took from us: what it did not take has certainly not left.
type socket struct {
	net.Conn
	raw   syscall.RawConn
	taken int64 // bytes
	now   bool  // Read does not wait: errNothing if there is nothing
	heard bool  // something came while now was set
	cut   func()

	probe func(fd uintptr) bool // readNow, bound once
	buf   []byte
	n     int
	err   error
}

func newSocket(c net.Conn) (*socket, error) {
	s := &socket{Conn: c}
	s.probe = s.readNow
	s.cut = func() { c.SetDeadline(time.Unix(1, 0)) }
	tcp, ok := c.(syscall.Conn)
	if !ok {
		return nil, errors.New("a connection without a socket")
	}
	raw, err := tcp.SyscallConn()
	s.raw = raw
	return s, err
}

func (s *socket) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	s.taken += int64(n)
	return n, err
}

func (s *socket) Read(p []byte) (int, error) {
	if !s.now {
		return s.Conn.Read(p)
	}
	s.buf = p
	err := s.raw.Read(s.probe)
	s.buf = nil
	switch {
	case err != nil:
		return 0, err
	case s.err == syscall.EAGAIN:
		return 0, errNothing
	case s.err != nil:
		return 0, s.err
	case s.n == 0:
		return 0, io.EOF
	}
	s.heard = true
	return s.n, nil
}

// readNow reads what is there; the caller's Read is not to wait for more.
func (s *socket) readNow(fd uintptr) bool {
	for {
		if s.n, s.err = syscall.Read(int(fd), s.buf); s.err != syscall.EINTR {
			return true
		}
	}
}

// errNothing looks like a time-out, after which a TLS connection may be read again.
var errNothing net.Error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "nothing to read" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }
