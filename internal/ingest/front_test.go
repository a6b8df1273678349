package ingest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// postText is a request as it stands on the wire.
func postText(path string, body []byte, more ...string) string {
	return "POST " + path + " HTTP/1.1\r\n" + strings.Join(append([]string{"Host: x", fmt.Sprintf("Content-Length: %d", len(body))}, more...), "\r\n") + "\r\n\r\n" + string(body)
}

// sameAsHTTP fails if front reads b and net/http would refuse it or read it in
// another way.
func sameAsHTTP(t *testing.T, b []byte) shape {
	t.Helper()
	req, size, s := parseRequest(b)
	if s != shapeWhole {
		return s
	}
	in := bytes.NewReader(b)
	br := bufio.NewReader(in)
	r, err := http.ReadRequest(br)
	if err != nil {
		t.Fatalf("%q is read, net/http says %v", b, err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("%q: body: %v", b, err)
	}
	want := requestOf(r)
	if req.method != want.method || req.path != want.path || req.trace != want.trace || req.encoded != want.encoded || req.length != want.length ||
		!slices.Equal(req.forwarded, want.forwarded) || !bytes.Equal(req.whole, body) || r.Host == "" || r.Close || len(r.TransferEncoding) > 0 {
		t.Fatalf("%q\nread as     %+v\nby net/http %+v, body %q", b, req, want, body)
	}
	if used := len(b) - in.Len() - br.Buffered(); used != size {
		t.Fatalf("%q: takes %d bytes, by net/http %d", b, size, used)
	}
	return s
}

func TestParseRequest(t *testing.T) {
	const trace = "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	cases := []struct {
		name, text string
		want       shape
	}{
		{"usual", postText("/webhooks/eiotclub/default", []byte(`{}`), "Content-Type: application/json;charset=utf-8", "User-Agent: Java/1.8", "Accept: */*", "Connection: Keep-Alive"), shapeWhole},
		{"with a trace and proxies", postText("/x", []byte(`{}`), trace, "X-Forwarded-For: 1.2.3.4", "x-forwarded-for:\t10.0.0.1, 10.0.0.2 "), shapeWhole},
		{"two of them", postText("/x", []byte(`{}`)) + postText("/y", []byte(`{}`)), shapeWhole},
		{"nothing", "", shapePart},
		{"half a line", "POST /x HT", shapePart},
		{"half a header", "POST /x HTTP/1.1\r\nHost: x\r\n", shapePart},
		{"half a body", postText("/x", []byte(`{}`))[:40], shapePart},
		{"GET", "GET /x HTTP/1.1\r\nHost: x\r\n\r\n", shapeUnusual},
		{"TLS", "\x16\x03\x01", shapeUnusual},
		{"HTTP/1.0", "POST /x HTTP/1.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n", shapeUnusual},
		{"bare line feeds", "POST /x HTTP/1.1\nHost: x\nContent-Length: 0\n\r\n\r\n", shapeUnusual},
		{"escaped path", postText("/%2e", nil), shapeUnusual},
		{"query", postText("/x?a=1", nil), shapeUnusual},
		{"another host as path", postText("//evil/x", nil), shapeUnusual},
		{"no host", "POST /x HTTP/1.1\r\nContent-Length: 0\r\n\r\n", shapeUnusual},
		{"two hosts", postText("/x", nil, "Host: y"), shapeUnusual},
		{"no length", "POST /x HTTP/1.1\r\nHost: x\r\n\r\n", shapeUnusual},
		{"two lengths", postText("/x", nil, "Content-Length: 0"), shapeUnusual},
		{"signed length", "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n1", shapeUnusual},
		{"chunks", postText("/x", nil, "Transfer-Encoding: chunked"), shapeUnusual},
		{"compressed", postText("/x", nil, "Content-Encoding: gzip"), shapeUnusual},
		{"expecting", postText("/x", nil, "Expect: 100-continue"), shapeUnusual},
		{"closing", postText("/x", nil, "Connection: close"), shapeUnusual},
		{"two traces", postText("/x", nil, trace, trace), shapeUnusual},
		{"folded header", postText("/x", nil, "A: b\r\n c"), shapeUnusual},
		{"space before the colon", postText("/x", nil, "A : b"), shapeUnusual},
		{"control character", postText("/x", nil, "A: \x00"), shapeUnusual},
		{"no name", postText("/x", nil, ": b"), shapeUnusual},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := sameAsHTTP(t, []byte(c.text)); got != c.want {
				t.Errorf("shape %d, want %d", got, c.want)
			}
		})
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(postText("/webhooks/eiotclub/default", []byte(`{"a":1}`), "Content-Type: application/json", "X-Forwarded-For: 1.2.3.4")))
	f.Add([]byte(postText("/x", []byte("12"), "Connection: keep-alive", "Traceparent: x") + "POST"))
	f.Add([]byte("POST /x HTTP/1.1\r\nHost: [::1]:80\r\nCONTENT-LENGTH: 3\r\n\r\nabc"))
	f.Fuzz(func(t *testing.T, b []byte) { sameAsHTTP(t, b) })
}

// answers reads n answers from a connection.
func answers(t *testing.T, r *bufio.Reader, n int) (codes []int, bodies []string) {
	t.Helper()
	for range n {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if when, err := http.ParseTime(resp.Header.Get("Date")); err != nil || time.Since(when).Abs() > time.Minute {
			t.Errorf("date %q: %v", resp.Header.Get("Date"), err)
		}
		codes, bodies = append(codes, resp.StatusCode), append(bodies, string(b))
	}
	return codes, bodies
}

// However requests lie in the packets, each is answered, in order, on the one
// connection, whoever reads it.
func TestOneConnectionManyRequests(t *testing.T) {
	r := start(t, nil)
	good := func(id string) string { return postText(path, notice(t, id, "FlowAlert")) }
	bad := postText(path, []byte(`{"id":"x","sign":"00"}`))
	text := good("1") + bad + good("2") + good("1") +
		postText("/nowhere", []byte(`{}`)) +
		"GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n" + // from here on it is net/http's
		good("3") + postText(path, padded(t, "4", 20_000)) + good("5")
	want := []int{200, 401, 200, 200, 404, 405, 200, 200, 200}
	for _, chunk := range []int{len(text), 700, 97} {
		t.Run(fmt.Sprint(chunk, " bytes at once"), func(t *testing.T) {
			c := r.raw("")
			go func() {
				for i := 0; i < len(text); i += chunk {
					if _, err := io.WriteString(c, text[i:min(len(text), i+chunk)]); err != nil {
						return // the answers will be missing
					}
				}
			}()
			if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			codes, bodies := answers(t, bufio.NewReader(c), len(want))
			if !slices.Equal(codes, want) {
				t.Errorf("answers %v, want %v", codes, want)
			}
			for i, b := range bodies {
				if strings.Contains(b, "SUCCESS") != (want[i] == 200) {
					t.Errorf("answer %d is %d %s", i, codes[i], b)
				}
			}
		})
	}
	if got := strings.Join(r.ids(), " "); got != "1 2 3 4 5" {
		t.Errorf("stored: %s", got)
	}
}

// front and net/http say the same.
func TestBothAnswerAlike(t *testing.T) {
	f := &front{}
	for _, err := range []error{nil, errPath, errSignature, errOverload, errStore, errMalformed, fmt.Errorf("disk: %w", errStore)} {
		rec := httptest.NewRecorder()
		answer(rec, err)
		resp, perr := http.ReadResponse(bufio.NewReader(bytes.NewReader(f.appendAnswer(nil, err, time.Now(), false))), nil)
		if perr != nil {
			t.Fatal(perr)
		}
		b, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != rec.Code || string(b) != rec.Body.String() || resp.Header.Get("Retry-After") != rec.Header().Get("Retry-After") || resp.Header.Get("Content-Type") != rec.Header().Get("Content-Type") {
			t.Errorf("%v: %d %s %v, by net/http %d %s %v", err, resp.StatusCode, b, resp.Header, rec.Code, rec.Body, rec.Header())
		}
	}
}

// A request in hand is answered before the process ends, and then the connection
// is closed, as are those on which nothing comes.
func TestShutdownAnswersWhatIsInHand(t *testing.T) {
	r := start(t, nil)
	idle, used := r.raw(""), r.raw(postText(path, notice(t, "0", "FlowAlert")))
	answers(t, bufio.NewReader(used), 1)
	r.nats.Pause()
	c := r.raw(postText(path, notice(t, "1", "FlowAlert")))
	r.until("in hand", func() bool { return len(r.w.places) == 1 })
	stopped := make(chan error, 1)
	stop := r.stop
	go func() { stopped <- stop() }()
	r.until("draining", r.w.front.draining.Load)
	r.nats.Resume()
	if answer := r.rest(c); !strings.Contains(answer, "SUCCESS") || !strings.Contains(answer, "Connection: close") {
		t.Errorf("answer %q", answer)
	}
	r.rest(idle)
	r.rest(used)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if got := strings.Join(r.ids(), " "); got != "0 1" {
		t.Errorf("stored: %s", got)
	}
}

// A connection that is not used for a while holds no buffer, and goes on.
func TestIdleConnectionGoesOn(t *testing.T) {
	r := start(t, nil)
	c := r.raw("")
	br := bufio.NewReader(c)
	for i := range 2 {
		text := postText(path, notice(t, fmt.Sprint(i), "FlowAlert"))
		for part, piece := range []string{text[:len(text)/2], text[len(text)/2:]} {
			if _, err := io.WriteString(c, piece); err != nil {
				t.Fatal(err)
			}
			if part == 0 {
				r.until("buffer held while a request comes", func() bool { return r.w.front.holding.Load() == 1 })
			}
		}
		if codes, _ := answers(t, br, 1); codes[0] != 200 {
			t.Fatal(codes)
		}
		r.until("buffer given back", func() bool { return r.w.front.holding.Load() == 0 })
	}
}
