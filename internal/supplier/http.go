package supplier

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/simline/simline/internal/trace"
)

// HTTPConfig bounds the calls to one supplier. The zero value is sound.
type HTTPConfig struct {
	// Timeout bounds a whole call, from the dial to the last byte of the answer;
	// default 30 s (SUPPLIER_TIMEOUT). It must stay below the order consumer's
	// AckWait, or a second worker takes the order up while the call still runs.
	Timeout time.Duration
	// DialTimeout bounds connecting, and again what a proxy asks for and the TLS
	// handshake; default 5 s, and never more than Timeout. What fails here was
	// certainly not sent.
	DialTimeout time.Duration
	// MaxConns is how many idle connections are kept; default 256, as many as an
	// orderer handles at once, so that a full load does not dial for each call.
	MaxConns int
	// MaxBody is the most that an answer may hold, in bytes; default 1 MiB.
	MaxBody int64
	// Observe hears of each call: its endpoint, the supplier's code or ours in
	// brackets, and how long it took. It must be quick; nil is none.
	Observe func(op, code string, took time.Duration)
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// HTTP makes bounded calls to one supplier over connections of its own, by HTTP/1.1
// alone: one call to a connection, so a connection that breaks leaves one order
// unknown and not a hundred. It follows no redirect and repeats nothing that may
// have left: what a failed call means is the client's to say and the engine's to
// act on. A call runs in its caller's goroutine.
//
// Proxies are the environment's: HTTP_PROXY, HTTPS_PROXY, NO_PROXY.
type HTTP struct {
	cfg     HTTPConfig
	dialer  dialer
	pool    pool
	targets targets
	dated   atomic.Pointer[dated]
}

// NewHTTP makes an HTTP of its own connections, with the defaults filled in.
func NewHTTP(cfg HTTPConfig) *HTTP {
	cfg.Timeout = cmp.Or(cfg.Timeout, 30*time.Second)
	cfg.DialTimeout = min(cmp.Or(cfg.DialTimeout, 5*time.Second), cfg.Timeout)
	cfg.MaxConns = cmp.Or(cfg.MaxConns, 256)
	cfg.MaxBody = cmp.Or(cfg.MaxBody, 1<<20)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Observe == nil {
		cfg.Observe = func(string, string, time.Duration) {}
	}
	return &HTTP{
		cfg: cfg,
		dialer: dialer{
			Dialer: net.Dialer{Timeout: cfg.DialTimeout, KeepAlive: 30 * time.Second},
			tls:    &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}},
		},
		pool:    pool{max: cfg.MaxConns, idle: map[string][]*conn{}},
		targets: targets{proxy: http.ProxyFromEnvironment, known: map[[2]string]*target{}},
	}
}

// CloseIdle closes the connections that no call is using.
func (h *HTTP) CloseIdle() { h.pool.closeIdle() }

// Now reads the clock that the calls are timed by.
func (h *HTTP) Now() time.Time { return h.cfg.Now() }

// Observe says what a call came to, once its answer was read: to the configured
// observer, and to whoever follows the order that it was made for.
func (h *HTTP) Observe(op, code string, a Answer) {
	h.cfg.Observe(op, code, a.Took)
	a.span.Set("simline.code", code)
	a.span.End()
}

// Call is one HTTP request.
type Call struct {
	Op     string // the endpoint, for errors and metrics; never an id
	Method string
	URL    string
	Header http.Header // sent as it is written; not what frames a request: Host, Content-Length, Connection …
	Body   []byte
	// Until is when it is over at the latest; zero is no such moment. A context's
	// deadline does the same, at the price of a timer.
	Until time.Time
}

// Answer is a whole HTTP response, whatever its status.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Took   time.Duration
	// Clock is how far the supplier's clock is ahead of ours by its Date header,
	// true to about a second.
	Clock    time.Duration
	HasClock bool
	// RetryAfter is the answer's Retry-After, 0 if there is none.
	RetryAfter time.Duration

	span trace.Span // ended by Observe
}

// Do makes one call. An answer of any status is an Answer; everything else is an
// *Error: Busy with Sent false if the kernel certainly took no byte of the request,
// and Unknown from the first byte on.
func (h *HTTP) Do(ctx context.Context, c Call) (Answer, error) {
	start := h.cfg.Now()
	ctx, span := trace.Child(ctx, c.Op, trace.Client)
	r, sent, err := h.call(ctx, c)
	end := h.cfg.Now()
	if err != nil {
		e := &Error{Op: c.Op, Kind: Unknown, Code: failureCode(ctx, err, sent), Sent: sent, Err: err}
		if !sent {
			e.Kind = Busy
		}
		span.Fail(e.Code)
		return Answer{Took: end.Sub(start), span: span}, e
	}
	a := Answer{Status: r.status, Header: r.header, Body: r.body, Took: end.Sub(start), RetryAfter: retryAfter(r.header, end), span: span}
	if date, ok := h.date(r.header.Get("Date")); ok {
		// The header is cut to the second and was written somewhere inside the call.
		a.Clock, a.HasClock = date.Add(500*time.Millisecond).Sub(start.Add(a.Took/2)), true
	}
	return a, nil
}

// dated is a Date header and what it says.
type dated struct {
	text string
	at   time.Time
}

// date reads a Date header. All answers of one second have the same.
func (h *HTTP) date(text string) (time.Time, bool) {
	last := h.dated.Load()
	if last == nil || last.text != text {
		at, err := http.ParseTime(text)
		if err != nil {
			return time.Time{}, false
		}
		last = &dated{text, at}
		h.dated.Store(last)
	}
	return last.at, true
}

// requests are buffers for requests.
var requests = sync.Pool{New: func() any { return new([]byte) }}

// call sends one request. sent is false only if no byte of it was handed to the
// kernel.
func (h *HTTP) call(ctx context.Context, c Call) (r reply, sent bool, err error) {
	end := time.Now().Add(h.cfg.Timeout)
	if !c.Until.IsZero() && c.Until.Before(end) {
		end = c.Until
	}
	if own, ok := ctx.Deadline(); ok && own.Before(end) {
		end = own
	}
	to, err := h.targets.of(c.Method, c.URL)
	if err != nil {
		return r, false, badRequest{err}
	}
	buf := requests.Get().(*[]byte)
	defer requests.Put(buf)
	request, err := to.request((*buf)[:0], c.Header, c.Body)
	if err != nil {
		return r, false, badRequest{err}
	}
	if cap(request) <= 64<<10 {
		*buf = request
	}
	for fresh := false; ; fresh = true {
		conn, err := h.connect(ctx, to, end, fresh)
		if err != nil {
			return r, false, ended(ctx, err)
		}
		used := conn.used
		stop := context.AfterFunc(ctx, conn.sock.cut)
		r, sent, err = conn.exchange(request, c.Method, h.cfg.MaxBody)
		// A connection that is just being cut short by ctx is nobody's any more.
		if stop() && err == nil {
			h.pool.put(conn, r.keep)
			return r, true, nil
		}
		conn.Close()
		if err == nil {
			return r, true, nil
		}
		// The one repeat there is: an old connection proved dead before the kernel took
		// a byte of this request, so nothing of it exists anywhere but here. It goes
		// to a new connection, once: as to who finds no old one at all.
		if sent || !used || ctx.Err() != nil || isTimeout(err) {
			return r, sent, ended(ctx, err)
		}
	}
}

// connect is a connection that is fit to be written to until end: an idle one
// that is quiet, unless it is to be fresh, else a new one.
func (h *HTTP) connect(ctx context.Context, to *target, end time.Time, fresh bool) (*conn, error) {
	if !time.Now().Before(end) {
		return nil, context.DeadlineExceeded
	}
	for !fresh && ctx.Err() == nil {
		c := h.pool.get(to.key)
		if c == nil {
			break
		}
		if c.SetDeadline(end) == nil && c.quiet() {
			c.used = true
			return c, nil
		}
		c.Close()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return h.dialer.dial(ctx, to, end)
}

// Error makes an *Error of an answer: what came back is not what was asked for.
func (a Answer) Error(op string, kind Kind, code, message string, err error) *Error {
	return &Error{Op: op, Kind: kind, Code: code, Message: Text(message), Sent: true,
		RetryAfter: a.RetryAfter, Clock: a.Clock, HasClock: a.HasClock, Err: err}
}

// StatusCode is the code of an error known by its HTTP status only: "(http 502)".
func StatusCode(status int) string { return "(http " + strconv.Itoa(status) + ")" }

// badRequest is a call that makes no request.
type badRequest struct{ error }

func (e badRequest) Error() string { return "make request: " + e.error.Error() }

func failureCode(ctx context.Context, err error, sent bool) string {
	switch {
	case errors.As(err, new(badRequest)):
		return "(bad request)"
	case errors.Is(err, errTooLarge):
		return "(too large)"
	case errors.Is(ctx.Err(), context.Canceled):
		return "(cancelled)"
	case ctx.Err() != nil, isTimeout(err):
		return "(timeout)"
	case !sent:
		return "(dial)"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "(reset)"
	}
	return "(broken)"
}

func isTimeout(err error) bool {
	var netErr net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout()
}

// ended is err with its reason: a connection that was cut short only says that its
// time was up.
func ended(ctx context.Context, err error) error {
	reason := context.Cause(ctx)
	if reason == nil && isTimeout(err) {
		reason = context.DeadlineExceeded
	}
	if reason == nil || errors.Is(err, reason) {
		return err
	}
	return fmt.Errorf("%w: %w", reason, err)
}

// maxRetryAfter bounds a wish that would park an account for good.
const maxRetryAfter = 24 * time.Hour

func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	if s, err := strconv.Atoi(v); err == nil {
		return time.Duration(min(max(s, 0), int(maxRetryAfter/time.Second))) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(t.Sub(now), 0), maxRetryAfter)
	}
	return 0
}
