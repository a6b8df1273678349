package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/simline/simline/internal/bus"
)

// raw opens a connection and writes text.
func (r *rig) raw(text string) net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.w.Addr())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// rest reads what comes until the server closes; it fails if it never does.
func (r *rig) rest(c net.Conn) string {
	r.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		r.t.Fatalf("still open after %s; got %q", patience, b)
	}
	return string(b)
}

func head(length string, more ...string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + strings.Join(append(more, length), "\r\n") + "\r\n\r\n"
}

func TestSlowSendersAreCutOff(t *testing.T) {
	r := startWith(t, nil, func(w *Worker) { w.server.ReadTimeout = 300 * time.Millisecond })
	cases := map[string]string{
		"half a header": "POST " + path + " HTTP/1.1\r\nHost:",
		"half a body":   head("Content-Length: 100") + "{",
		"half a chunk":  head("Transfer-Encoding: chunked") + "5\r\n{",
	}
	conns := map[string]net.Conn{}
	for name, text := range cases {
		conns[name] = r.raw(text)
	}
	r.mustTake("1") // meanwhile good ones are served
	for name, c := range conns {
		if answer := r.rest(c); strings.Contains(answer, "SUCCESS") || strings.Contains(name, "body") && !strings.Contains(answer, " 408 ") {
			t.Errorf("%s: %q", name, answer)
		}
	}
}

func TestOversizedRequests(t *testing.T) {
	r := start(t, nil)
	cases := []struct {
		name, text, want string
	}{
		{"10 MiB announced", head("Content-Length: 10485760") + strings.Repeat("x", 4096), " 413 "},
		{"endless chunks", head("Transfer-Encoding: chunked") + strings.Repeat("10000\r\n"+strings.Repeat("x", 0x10000)+"\r\n", 17), " 413 "},
		{"header flood", "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-A: "+strings.Repeat("y", 1000)+"\r\n", 40) + "\r\n", " 431 "},
		{"length that lies", head("Content-Length: 3", "Connection: close") + `{"a":1}`, " 400 "},
		{"two lengths", head("Content-Length: 3", "Content-Length: 4") + `{"a"`, " 400 "},
		{"no HTTP", "\x16\x03\x01\r\n\r\n", " 400 "},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if answer := r.rest(r.raw(c.text)); !strings.Contains(answer, c.want) {
				t.Errorf("%.200q, want %s", answer, c.want)
			}
		})
	}
	r.mustTake("1")
}

func TestIdleConnectionsMakeRoom(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxConns = 50 })
	var idle []net.Conn
	for range 200 {
		idle = append(idle, r.raw(""))
	}
	for i := range 5 {
		r.mustTake(fmt.Sprint(i))
	}
	if n := r.w.conns.count(); n > 51 {
		t.Errorf("%d connections open, limit 50", n)
	}
	r.rest(idle[0]) // the oldest was closed
}

func TestLargeBodiesCannotStarveSmallOnes(t *testing.T) {
	r := start(t, func(c *Config) { c.BodyMemory = MaxBody })
	half := r.raw(head("Content-Length: 1048576") + strings.Repeat(" ", 700<<10)) // holds most of the budget
	r.until("the large body has arrived", func() bool { return r.w.memory.left.Load() < MaxBody/2 })
	big := padded(t, "big", 600<<10)
	resp, err := http.Post(r.url+path, "application/json", bytes.NewReader(big))
	if err == nil {
		resp.Body.Close()
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("a second large one: %d", resp.StatusCode)
		}
	}
	r.mustTake("small")
	half.Close()
	r.until("the budget is whole again", func() bool { return r.w.memory.left.Load() == MaxBody })
	if status, answer := r.post(path, big); status != 200 {
		t.Errorf("afterwards: %d %s", status, answer)
	}
}

func TestOverloadIs503BeforeItFails(t *testing.T) {
	r := startWith(t, func(c *Config) { c.MaxInFlight = 1 }, func(w *Worker) { w.cfg.QueueTimeout = 20 * time.Millisecond })
	r.nats.Pause()
	first := make(chan int, 1)
	go func() {
		resp, err := http.Post(r.url+path, "application/json", bytes.NewReader(notice(t, "1", "FlowAlert")))
		if err != nil {
			first <- 0
			return
		}
		resp.Body.Close()
		first <- resp.StatusCode
	}()
	r.until("one in flight", func() bool { return len(r.w.places) == 1 })
	resp, err := http.Post(r.url+path, "application/json", bytes.NewReader(notice(t, "2", "FlowAlert")))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(b), "overload") {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, b)
	}
	r.nats.Resume()
	if status := <-first; status != 200 {
		t.Errorf("the first: %d", status)
	}
}

func TestRefusedAreVisibleAndRedacted(t *testing.T) {
	r := start(t, nil)
	const iccid, eid, code = "89852012345678901234", "89044045116727494800000011603725", "LPA:1$smdp.example.com$K2-1ABCDE-SECRET"
	bodies := []string{
		fmt.Sprintf(`{"id":"1","iccid":"%s","eid":"%s","activationCode":"%s","sign":"88426183D4F6A984E9EA2F8BB2F7221D732F2EDF"}`, iccid, eid, code),
		fmt.Sprintf(`{"data":"[{\"iccid\":\"%s\",\"url\":\"https:\/\/x.example/%s\"}]","sign":"88426183D4F6A984E9EA2F8BB2F7221D732F2EDF"}`, iccid, code),
		strings.Repeat("x", keepRejectedBody-10) + iccid,
	}
	for _, b := range bodies {
		if status, _ := r.post(path, []byte(b)); status == 200 {
			t.Fatal("taken")
		}
	}
	rec := httptest.NewRecorder()
	r.w.Rejected().ServeHTTP(rec, httptest.NewRequestWithContext(context.Background(), "GET", "/rejected", nil))
	var list []Rejected
	if err := json.Unmarshal(rec.Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != len(bodies) || list[0].Reason != "malformed" || list[2].Reason != "bad_signature" || list[2].Account != "eiotclub/default" || !strings.Contains(list[2].Body, `"iccid":"…1234"`) {
		t.Errorf("rejected: %+v", list)
	}
	for _, seen := range []string{rec.Body.String(), r.logs.String()} {
		for _, hidden := range []string{iccid, eid, "SECRET", "8985201234", "88426183D4F6A984E9EA2F8BB2F7221D732F2EDF", secret} {
			if strings.Contains(seen, hidden) {
				t.Errorf("%q is visible in %s", hidden, seen)
			}
		}
	}
	for range keepRejected + 10 {
		r.w.rejected.add(Rejected{Reason: "x"})
	}
	r.w.rejected.add(Rejected{Reason: "last"})
	if got := r.w.rejected.last(); len(got) != keepRejected || got[0].Reason != "last" {
		t.Errorf("%d kept, newest %+v", len(got), got[0])
	}
}

func TestSenderBehindProxies(t *testing.T) {
	r := start(t, func(c *Config) { c.TrustedProxies = []string{"127.0.0.1", "10.0.0.0/8"} })
	cases := []struct {
		name, forwarded string
		want            int
	}{
		{"none named", "", 403},
		{"the supplier", "203.0.113.9", 200},
		{"the supplier through two proxies", "203.0.113.9, 10.1.2.3", 200},
		{"another", "198.51.100.1", 403},
		{"another that names the supplier", "203.0.113.9, 198.51.100.1", 403},
		{"rubbish", "203.0.113.9, x", 403},
		{"mapped", "::ffff:203.0.113.9", 200},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequest("POST", r.url+"/webhooks/eiotclub/walled", bytes.NewReader(notice(t, fmt.Sprint(i), "FlowAlert")))
			if err != nil {
				t.Fatal(err)
			}
			if c.forwarded != "" {
				req.Header.Set("X-Forwarded-For", c.forwarded)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != c.want {
				t.Errorf("%d, want %d", resp.StatusCode, c.want)
			}
		})
	}
}

// A body of exactly the limit is taken, and its message fits.
func TestLargestBody(t *testing.T) {
	r := start(t, nil)
	body := padded(t, "max", MaxBody-len(padded(t, "max", 0)))
	if len(body) != MaxBody {
		t.Fatalf("%d bytes", len(body))
	}
	if status, answer := r.post(path, body); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
	if msgs := r.stored(bus.StreamWebhooks); len(msgs) != 1 || !bytes.Contains(msgs[0].Data, body) {
		t.Error("not stored as it was")
	}
}
