package supplier

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// answers are what servers send, sound and not.
var answers = map[string]string{
	"reply":                  purchaseReply,
	"empty":                  answer(""),
	"no reason":              "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx",
	"bare line feeds":        "HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
	"small letters":          "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nx-ratelimit-remaining: 7\r\n\r\nx",
	"folded header":          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nA: b\r\n c\r\n\r\nx",
	"header twice":           "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nA: b\r\nA: c\r\n\r\nx",
	"same length twice":      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
	"two lengths":            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
	"negative length":        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
	"length in words":        "HTTP/1.1 200 OK\r\nContent-Length: one\r\n\r\nx",
	"length and chunks":      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
	"unknown encoding":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	"chunks":                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
	"chunks and trailer":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n",
	"chunks without end":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	"chunk too short":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc\r\n0\r\n\r\n",
	"chunk of no size":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
	"until its end":          "HTTP/1.1 200 OK\r\nContent-Type: a\r\n\r\nall of it",
	"until its end, 1.0":     "HTTP/1.0 404 Not Found\r\n\r\nall of it",
	"close":                  "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 7\r\nContent-Length: 1\r\n\r\nx",
	"no content":             "HTTP/1.1 204 No Content\r\n\r\n",
	"no content with length": "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc",
	"not modified":           "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
	"more than its length":   answer("x") + "yz",
	"continue first":         "HTTP/1.1 100 Continue\r\n\r\n" + answer("x"),
	"hints first":            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + answer("x"),
	"continue alone":         "HTTP/1.1 100 Continue\r\n\r\n",
	"redirect":               "HTTP/1.1 307 Temporary Redirect\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n",
	"early refusal":          "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
	"nothing":                "",
	"not HTTP":               "SSH-2.0-OpenSSH_9.2\r\n",
	"HTTP/2 preface":         "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"version 3":              "HTTP/3.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
	"no version":             "HTTP/x 200 OK\r\nContent-Length: 1\r\n\r\nx",
	"status in words":        "HTTP/1.1 two OK\r\nContent-Length: 1\r\n\r\nx",
	"status of four digits":  "HTTP/1.1 2000 OK\r\nContent-Length: 1\r\n\r\nx",
	"status 999":             "HTTP/1.1 999 Odd\r\nContent-Length: 1\r\n\r\nx",
	"no colon":               "HTTP/1.1 200 OK\r\nContent-Length 1\r\n\r\nx",
	"space before colon":     "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\nx",
	"odd name":               "HTTP/1.1 200 OK\r\nA b: c\r\nContent-Length: 1\r\n\r\nx",
	"NUL":                    "HTTP/1.1 200 OK\r\nA: b\x00c\r\nContent-Length: 1\r\n\r\nx",
	"header just in bounds":  "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nA: " + strings.Repeat("a", maxHeader-100) + "\r\n\r\nx",
	"header too large":       "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nA: " + strings.Repeat("a", maxHeader) + "\r\n\r\nx",
	"no end of headers":      "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", maxHeader/6),
	"no end of continues":    strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", maxHeader/20),
}

// got is what a client makes of an answer.
type got struct {
	Failed bool
	Status int
	Header http.Header
	Body   string
}

// ofTheirs is what net/http makes of an answer that ends with its connection.
func ofTheirs(t testing.TB, method, answer string) got {
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		if r := request(bufio.NewReader(theirs)); r != nil {
			io.WriteString(theirs, answer)
		}
	}()
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return ours, nil }}
	r, err := http.NewRequest(method, "http://supplier.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return got{Failed: true}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return got{Failed: true}
	}
	return got{Status: resp.StatusCode, Header: resp.Header, Body: string(body)}
}

// only is a connection on which nothing but an answer comes.
type only struct {
	net.Conn
	io.Reader
}

func (o only) Read(p []byte) (int, error) { return o.Reader.Read(p) }

func ofOurs(method, answer string) got {
	c := newConn(only{Reader: strings.NewReader(answer)}, nil, "")
	r, err := c.answer(method, 1<<20)
	if err != nil {
		return got{Failed: true}
	}
	return got{Status: r.status, Header: r.header, Body: string(r.body)}
}

// What our client makes of an answer is what net/http makes of it.
func TestAnswersAsNetHTTPReadsThem(t *testing.T) {
	for name, answer := range answers {
		for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodHead} {
			t.Run(method+" "+name, func(t *testing.T) {
				if diff := cmp.Diff(ofTheirs(t, method, answer), ofOurs(method, answer)); diff != "" {
					t.Errorf("(-net/http +ours):\n%.2000s", diff)
				}
			})
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, answer := range answers {
		if len(answer) < 1000 {
			f.Add(answer, false)
		}
	}
	f.Fuzz(func(t *testing.T, answer string, head bool) {
		method := http.MethodPost
		if head {
			method = http.MethodHead
		}
		ours := ofOurs(method, answer)
		theirs := ofTheirs(t, method, answer)
		if theirs.Status == http.StatusSwitchingProtocols {
			theirs = got{Failed: true} // they hand the connection over
		}
		if diff := cmp.Diff(theirs, ours); diff != "" {
			t.Errorf("(-net/http +ours):\n%s", diff)
		}
	})
}

// What is no answer is unknown, under the code that it always had.
func TestBrokenAnswers(t *testing.T) {
	for name, code := range map[string]string{
		"nothing": "(reset)", "continue alone": "(reset)", "chunks without end": "(reset)", "chunk too short": "(reset)",
		"not HTTP": "(broken)", "HTTP/2 preface": "(broken)", "two lengths": "(broken)", "no colon": "(broken)",
		"header too large": "(broken)", "no end of continues": "(broken)", "no end of headers": "(broken)",
	} {
		t.Run(name, func(t *testing.T) {
			s := serveRaw(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
				request(br)
				io.WriteString(c, answers[name])
			})
			bad(t, newHTTP(t, HTTPConfig{Timeout: 10 * time.Second}), post(s.url), code)
		})
	}
	t.Run("switching protocols", func(t *testing.T) {
		s := serveRaw(t, nil, answering("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"))
		bad(t, newHTTP(t, HTTPConfig{Timeout: 10 * time.Second}), post(s.url), "(broken)")
	})
}

// A header without end is read as far as its bound, and no further.
func TestHeaderIsReadToItsBound(t *testing.T) {
	endless := &counted{}
	c := newConn(only{Reader: io.MultiReader(strings.NewReader("HTTP/1.1 200 OK\r\nA: "), endless)}, nil, "")
	if _, err := c.answer(http.MethodPost, 1); !errors.Is(err, errHeader) || endless.n > maxHeader {
		t.Errorf("%v after %d bytes", err, endless.n)
	}
}

type counted struct{ n int }

func (c *counted) Read(p []byte) (int, error) {
	c.n += len(p)
	return copy(p, bytes.Repeat([]byte("a"), len(p))), nil
}

// An answer cut at any byte is unknown.
func TestAnswerCutAtEachByte(t *testing.T) {
	for _, whole := range []string{purchaseReply, answers["chunks and trailer"], answers["hints first"]} {
		s := serveRaw(t, nil, func(n int, c net.Conn, br *bufio.Reader) {
			request(br)
			io.WriteString(c, whole[:n-1])
			if n%2 == 0 {
				reset(c)
			}
		})
		h := newHTTP(t, HTTPConfig{Timeout: 10 * time.Second})
		for i := range len(whole) {
			_, err := h.Do(t.Context(), post(s.url))
			if e := asError(t, err); e.Kind != Unknown || !e.Sent || e.Code != "(reset)" && e.Code != "(broken)" { // half a header line is rubbish
				t.Errorf("after %d bytes: %+v", i, e)
			}
		}
		if _, err := h.Do(t.Context(), post(s.url)); err != nil && s.conns.Load()%2 == 1 { // a RST may overtake it
			t.Errorf("the whole answer: %v", err)
		}
	}
}

func TestBodyLimitHowEverItIsSent(t *testing.T) {
	for name, row := range map[string]struct{ head, tail string }{
		"length":        {"HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n", ""},
		"chunks":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n41\r\n", "\r\n0\r\n\r\n"},
		"until its end": {"HTTP/1.0 200 OK\r\n\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveRaw(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
				request(br)
				io.WriteString(c, row.head+strings.Repeat("x", 65)+row.tail)
			})
			bad(t, newHTTP(t, HTTPConfig{MaxBody: 64}), post(s.url), "(too large)")
			good(t, newHTTP(t, HTTPConfig{MaxBody: 65}), post(s.url), strings.Repeat("x", 65))
		})
	}
}

// afterSent is a time-out that runs out after the request was sent, on a machine that
// is busy with the rest of the suite as well.
const afterSent = 2 * time.Second

// A server that answers a request that it does not read.
func TestAnswerBeforeTheRequestIsWritten(t *testing.T) {
	t.Parallel()
	large := post("")
	large.Body = bytes.Repeat([]byte("x"), 16<<20)
	t.Run("and closes", func(t *testing.T) {
		s := serveRaw(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
			br.Peek(1)
			io.WriteString(c, answers["early refusal"])
		})
		large.URL = s.url
		bad(t, newHTTP(t, HTTPConfig{Timeout: 10 * time.Second}), large, "(reset)")
	})
	t.Run("and stays", func(t *testing.T) {
		s := serveRaw(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
			br.Peek(1)
			io.WriteString(c, answers["early refusal"])
			<-t.Context().Done()
		})
		large.URL = s.url
		bad(t, newHTTP(t, HTTPConfig{Timeout: afterSent}), large, "(timeout)")
	})
	t.Run("a small one, and resets", func(t *testing.T) {
		s := serveRaw(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
			c.Read(make([]byte, 1)) // what is left unread makes the close a RST
			io.WriteString(c, answers["early refusal"])
		})
		a, err := newHTTP(t, HTTPConfig{Timeout: 10 * time.Second}).Do(t.Context(), post(s.url))
		if err == nil && a.Status == 413 {
			return
		}
		if e := asError(t, err); e.Kind != Unknown || !e.Sent || e.Code != "(reset)" {
			t.Errorf("got %+v", e)
		}
	})
}

func TestSlowAnswers(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]string{"header": "HTTP/1.1 200 OK\r\nA:", "continue": "HTTP/1.1 100 Continue\r\n\r\n", "chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serveRaw(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
				request(br)
				io.WriteString(c, part)
				request(br)
			})
			h := newHTTP(t, HTTPConfig{Timeout: afterSent})
			bad(t, h, post(s.url), "(timeout)")
			ctx, cancel := context.WithTimeout(t.Context(), afterSent)
			defer cancel()
			_, err := newHTTP(t, HTTPConfig{Timeout: 10 * time.Second}).Do(ctx, post(s.url))
			if e := asError(t, err); e.Kind != Unknown || !e.Sent || e.Code != "(timeout)" || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// A cancelled call ends at once, its connection with it.
func TestCancel(t *testing.T) {
	for _, old := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan struct{})
		s := serveRaw(t, nil, func(_ int, c net.Conn, br *bufio.Reader) {
			if old {
				request(br)
				io.WriteString(c, answer("x"))
			}
			request(br)
			cancel()
			io.Copy(io.Discard, br)
			close(gone)
		})
		h := newHTTP(t, HTTPConfig{Timeout: time.Minute})
		if old {
			good(t, h, post(s.url), "x")
		}
		_, err := h.Do(ctx, post(s.url))
		if e := asError(t, err); e.Kind != Unknown || !e.Sent || e.Code != "(cancelled)" || !errors.Is(err, context.Canceled) {
			t.Errorf("old %v: got %+v", old, e)
		}
		<-gone
		if n := len(h.kept()); n != 0 {
			t.Errorf("old %v: %d connections kept", old, n)
		}
	}
}
