package supplier

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
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
	// DialTimeout bounds connecting, and again the TLS handshake; default 5 s,
	// and never more than Timeout. What fails here was certainly not sent.
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

// HTTP makes bounded calls to one supplier over connections of its own. It
// follows no redirect and repeats nothing: what a failed call means is the
// client's to say and the engine's to act on.
type HTTP struct {
	cfg       HTTPConfig
	transport *http.Transport // a client around it would follow redirects, and cost more
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
	dialer := &net.Dialer{Timeout: cfg.DialTimeout, KeepAlive: 30 * time.Second}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: cfg.DialTimeout,
		IdleConnTimeout:     60 * time.Second,
		MaxIdleConns:        cfg.MaxConns,
		MaxIdleConnsPerHost: cfg.MaxConns,
		DisableCompression:  true, // MaxBody then bounds what is read as well as what is kept
		// HTTP/1.1 alone: one call to a connection, so a connection that breaks
		// leaves one order unknown and not a hundred.
		Protocols: new(http.Protocols),
	}
	transport.Protocols.SetHTTP1(true)
	return &HTTP{cfg: cfg, transport: transport}
}

// CloseIdle closes the connections that no call is using.
func (h *HTTP) CloseIdle() { h.transport.CloseIdleConnections() }

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
	Header http.Header // must not hold Idempotency-Key: net/http would then repeat a POST by itself
	Body   []byte
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
// *Error: Unknown once a connection was in hand, since a byte may then have been
// written, and Busy with Sent false before that.
func (h *HTTP) Do(ctx context.Context, c Call) (Answer, error) {
	start := h.cfg.Now()
	ctx, span := trace.Child(ctx, c.Op, trace.Client)
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > h.cfg.Timeout {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, h.cfg.Timeout)
		defer cancel()
	}

	// The transport by itself repeats a call only if its old connection was found
	// closed before a byte was written (a POST is otherwise never replayed), so
	// each search for a connection starts the question anew.
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { sent.Store(false) },
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})
	fail := func(code string, err error) (Answer, error) {
		e := &Error{Op: c.Op, Kind: Unknown, Code: code, Sent: sent.Load(), Err: err}
		if !e.Sent {
			e.Kind = Busy
		}
		span.Fail(code)
		return Answer{Took: h.cfg.Now().Sub(start), span: span}, e
	}

	req, err := http.NewRequestWithContext(ctx, c.Method, c.URL, bytes.NewReader(c.Body))
	if err != nil {
		return fail("(bad request)", fmt.Errorf("make request: %w", withoutURL(err)))
	}
	for name, values := range c.Header {
		req.Header[name] = values
	}
	resp, err := h.transport.RoundTrip(req)
	if err != nil {
		return fail(transportCode(ctx, err, sent.Load()), withoutURL(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, h.cfg.MaxBody+1))
	if err != nil {
		return fail(transportCode(ctx, err, true), fmt.Errorf("read answer of status %d: %w", resp.StatusCode, err))
	}
	if int64(len(body)) > h.cfg.MaxBody {
		return fail("(too large)", fmt.Errorf("answer of status %d is over %d bytes", resp.StatusCode, h.cfg.MaxBody))
	}
	end := h.cfg.Now()
	a := Answer{Status: resp.StatusCode, Header: resp.Header, Body: body, Took: end.Sub(start), RetryAfter: retryAfter(resp.Header, end), span: span}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		// The header is cut to the second and was written somewhere inside the call.
		a.Clock, a.HasClock = date.Add(500*time.Millisecond).Sub(start.Add(a.Took/2)), true
	}
	return a, nil
}

// Error makes an *Error of an answer: what came back is not what was asked for.
func (a Answer) Error(op string, kind Kind, code, message string, err error) *Error {
	return &Error{Op: op, Kind: kind, Code: code, Message: Text(message), Sent: true,
		RetryAfter: a.RetryAfter, Clock: a.Clock, HasClock: a.HasClock, Err: err}
}

// StatusCode is the code of an error known by its HTTP status only: "(http 502)".
func StatusCode(status int) string { return "(http " + strconv.Itoa(status) + ")" }

func transportCode(ctx context.Context, err error, sent bool) string {
	var netErr net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return "(cancelled)"
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "(timeout)"
	case !sent:
		return "(dial)"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), strings.Contains(err.Error(), "server closed idle connection"):
		return "(reset)"
	}
	return "(broken)"
}

// withoutURL drops net/http's "Post https://…": a query holds an order's id, and
// a URL may hold more than a log should.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// maxRetryAfter bounds a wish that would park an account for good.
const maxRetryAfter = 24 * time.Hour

func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	if s, err := strconv.Atoi(v); err == nil {
		return min(time.Duration(max(s, 0))*time.Second, maxRetryAfter)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(t.Sub(now), 0), maxRetryAfter)
	}
	return 0
}
