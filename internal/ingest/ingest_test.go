package ingest

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/wire"
)

const secret = "a1b1c1d1"

// patience is longer than a machine that is busy with other tests stands still, as it
// may for longer than a supplier waits. How long an answer may take is looked at by
// TestTimeoutsLeaveTheSpoolItsPart, and by the storm of internal/e2e.
const patience = 30 * time.Second

// hasty is for tests of a broker that hangs: the first to meet it waits for so long.
func hasty(w *Worker) { w.cfg.PublishTimeout = time.Second }

// rig is one worker on a NATS server of its own.
type rig struct {
	t    *testing.T
	nats *bustest.Server
	bus  *bus.Bus
	w    *Worker
	reg  *prometheus.Registry
	url  string
	logs *syncBuffer
	stop func() error

	adjust func(*Worker)
}

const accountsYAML = `
eiotclub:
  default: {app_key: "1", app_secret: a1b1c1d1}
  rotating: {app_key: "2", app_secret: new, app_secrets: [old]}
  hidden: {app_key: "3", app_secret: a1b1c1d1, webhook_path_secret: s3cretpath}
  walled: {app_key: "4", app_secret: a1b1c1d1, webhook_ips: ["203.0.113.0/24"]}
`

func start(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	return startWith(t, change, nil)
}

// startWith also lets a test change the worker before it serves.
func startWith(t *testing.T, change func(*Config), adjust func(*Worker)) *rig {
	t.Helper()
	srv := bustest.Start(t, bustest.Options{})
	r := &rig{t: t, nats: srv, adjust: adjust, reg: prometheus.NewRegistry(), logs: &syncBuffer{}}
	log := slog.New(slog.NewJSONHandler(r.logs, nil))
	b, err := bus.Connect(bus.Config{URL: srv.Gated(), Name: "ingest", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	r.bus = b
	if err := b.Provision(t.Context(), bus.DefaultSettings()); err != nil {
		t.Fatal(err)
	}
	r.serve(config(t, change), log)
	t.Cleanup(func() {
		if r.stop != nil {
			if err := r.stop(); err != nil {
				t.Errorf("stop: %v", err)
			}
		}
		b.Close()
	})
	return r
}

// config is a valid configuration of the accounts above.
func config(t *testing.T, change func(*Config)) Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "accounts.yaml")
	if err := os.WriteFile(path, []byte(accountsYAML), 0o600); err != nil {
		t.Fatal(err)
	}
	var cfg Config
	if err := service.LoadConfig([]string{"ACCOUNTS_FILE=" + path, "HTTP_ADDR=127.0.0.1:0"}, &cfg); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func (r *rig) serve(cfg Config, log *slog.Logger) {
	r.t.Helper()
	w, err := New(cfg, Deps{Bus: r.bus, Log: log, Metrics: r.reg, Work: context.Background()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.w, r.url = w, "http://"+w.Addr()
	w.cfg.PublishTimeout, w.cfg.QueueTimeout = patience, patience
	if w.spool != nil {
		w.spool.wait = patience
	}
	if r.adjust != nil {
		r.adjust(w)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	r.stop = func() error {
		r.stop = nil
		cancel()
		return <-done
	}
}

func (r *rig) post(path string, body []byte) (status int, answer string) {
	r.t.Helper()
	resp, err := http.Post(r.url+path, "application/json;charset=utf-8", bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// stored lists a stream's messages in order.
func (r *rig) stored(stream string) []*jetstream.RawStreamMsg {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := r.bus.JS.Stream(ctx, stream)
	if err != nil {
		r.t.Fatal(err)
	}
	info, err := s.Info(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []*jetstream.RawStreamMsg
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// sign puts a good signature in place of SIGN, the way the document's prose has
// it. It knows flat bodies only and shares nothing with the code under test.
func sign(t *testing.T, body, secret string) []byte {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(body))
	dec.UseNumber()
	var flat map[string]any
	if err := dec.Decode(&flat); err != nil {
		t.Fatal(err)
	}
	var pairs []string
	for name, v := range flat {
		if s := fmt.Sprint(v); name != "sign" && v != nil && s != "" {
			pairs = append(pairs, name+"="+s)
		}
	}
	sortStrings(pairs)
	sum := sha1.Sum([]byte(strings.Join(pairs, "&") + "&secret=" + secret))
	return []byte(strings.Replace(body, "SIGN", fmt.Sprintf("%X", sum), 1))
}

func sortStrings(s []string) {
	for i := range s {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
}

// notice is a signed notification of the present.
func notice(t *testing.T, id, event string) []byte {
	t.Helper()
	return sign(t, fmt.Sprintf(`{"id":%q,"event":%q,"nonce":40974,"timestamp":%d,"iccid":"89852012345678901234","sign":"SIGN"}`, id, event, time.Now().Unix()), secret)
}

// padded is a signed notification of the present with n bytes more than it needs.
func padded(t *testing.T, id string, n int) []byte {
	t.Helper()
	return sign(t, fmt.Sprintf(`{"id":%q,"timestamp":%d,"pad":%q,"sign":"SIGN"}`, id, time.Now().Unix(), strings.Repeat("x", n)), secret)
}

func TestSuccessIsStoredByteForByte(t *testing.T) {
	r := start(t, nil)
	body := notice(t, "CNTUlkm0pzRujPBr2tN8NNa7", "FlowAlert")
	for range 2 { // the repeat is answered alike and stored once
		if status, answer := r.post("/webhooks/eiotclub/default", append([]byte(" \n"), body...)); status != 200 || answer != `{"status":"SUCCESS"}` {
			t.Fatalf("%d %s", status, answer)
		}
	}
	msgs := r.stored(bus.StreamWebhooks)
	if len(msgs) != 1 {
		t.Fatalf("%d messages, want 1", len(msgs))
	}
	if first, again := testutil.ToFloat64(r.w.m.stored), testutil.ToFloat64(r.w.m.duplicate); first != 1 || again != 1 {
		t.Errorf("%.0f stored and %.0f duplicates are counted", first, again)
	}
	m := msgs[0]
	if m.Subject != "webhooks.v1.eiotclub.default.FlowAlert" {
		t.Errorf("subject %s", m.Subject)
	}
	if got := m.Header.Get("Nats-Msg-Id"); got != "eiotclub:default:CNTUlkm0pzRujPBr2tN8NNa7" {
		t.Errorf("message id %s", got)
	}
	env, err := wire.ParseEnvelope(m.Data)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(env.Data, body) {
		t.Errorf("data\n%s, want\n%s", env.Data, body)
	}
	if env.Type != "simline.webhook.FlowAlert.v1" || env.TraceParent != m.Header.Get("traceparent") || !validTrace(env.TraceParent) {
		t.Errorf("envelope %+v", env)
	}
}

func TestAnswers(t *testing.T) {
	r := start(t, nil)
	good := notice(t, "1", "FlowAlert")
	now := time.Now().Unix()
	stamped := func(id, secret string) []byte {
		return sign(t, fmt.Sprintf(`{"id":%q,"timestamp":%d,"sign":"SIGN"}`, id, now), secret)
	}
	odd := []string{`"id":"none"`, `"id":"text","timestamp":"yesterday"`, `"id":"point","timestamp":1716860580.5`, `"id":"future","timestamp":4102444800`}
	old := sign(t, `{"id":"old","event":"Refund","timestamp":1716860580,"sign":"SIGN"}`, secret)
	const path = "/webhooks/eiotclub/default"
	cases := []struct {
		name, method, path string
		header             map[string]string
		body               []byte
		want               int
		why                string
	}{
		{name: "good", body: good, want: 200},
		{name: "bad signature", body: sign(t, string(bytes.Replace(good, good[len(good)-42:len(good)-2], []byte("SIGN"), 1)), "other"), want: 401, why: "bad_signature"},
		{name: "one byte changed", body: bytes.Replace(good, []byte("FlowAlert"), []byte("FlowAlerd"), 1), want: 401, why: "bad_signature"},
		{name: "no signature", body: []byte(`{"id":"1"}`), want: 401, why: "no_signature"},
		{name: "broken JSON", body: []byte(`{"id":`), want: 400, why: "malformed"},
		{name: "a name twice", body: []byte(`{"id":"1","Id":"1"}`), want: 400, why: "malformed"},
		{name: "empty", body: nil, want: 400, why: "malformed"},
		{name: "unknown account", path: "/webhooks/eiotclub/nobody", body: good, want: 404, why: "account"},
		{name: "unknown supplier", path: "/webhooks/esimfly/default", body: good, want: 404, why: "account"},
		{name: "another path", path: "/", body: good, want: 404, why: "path"},
		{name: "too large", body: append(bytes.Repeat([]byte(" "), MaxBody), '{'), want: 413, why: "too_large"},
		{name: "GET", method: "GET", want: 405, why: "method"},
		{name: "compressed", header: map[string]string{"Content-Encoding": "gzip"}, body: good, want: 415, why: "encoding"},
		{name: "secret path missing", path: "/webhooks/eiotclub/hidden", body: good, want: 404, why: "path_secret"},
		{name: "secret path wrong", path: "/webhooks/eiotclub/hidden/x", body: good, want: 404, why: "path_secret"},
		{name: "secret path right", path: "/webhooks/eiotclub/hidden/s3cretpath", body: good, want: 200},
		{name: "secret path where none is set", path: path + "/x", body: good, want: 404, why: "path_secret"},
		{name: "another sender", path: "/webhooks/eiotclub/walled", body: good, want: 403, why: "sender"},
		{name: "a sender that only says so", path: "/webhooks/eiotclub/walled", header: map[string]string{"X-Forwarded-For": "203.0.113.9"}, body: good, want: 403, why: "sender"},
		{name: "old secret", path: "/webhooks/eiotclub/rotating", body: stamped("2", "old"), want: 200},
		{name: "new secret", path: "/webhooks/eiotclub/rotating", body: stamped("3", "new"), want: 200},
		{name: "an event that nobody documented", body: sign(t, fmt.Sprintf(`{"id":"4","event":"brand new!","timestamp":%d,"sign":"SIGN"}`, now), secret), want: 200},
		{name: "another, which can be a token", body: sign(t, fmt.Sprintf(`{"id":"5","event":"BrandNew","timestamp":%d,"sign":"SIGN"}`, now), secret), want: 200},
		{name: "stale", body: old, want: 200},
	}
	for _, o := range odd {
		cases = append(cases, struct {
			name, method, path string
			header             map[string]string
			body               []byte
			want               int
			why                string
		}{name: "set apart: " + o, body: sign(t, `{`+o+`,"event":"Refund","sign":"SIGN"}`, secret), want: 200})
	}
	refused, taken := map[string]float64{}, 0.0
	for _, c := range cases {
		if c.why != "" {
			refused[c.why]++
		} else {
			taken++
		}
		t.Run(c.name, func(t *testing.T) {
			method, url := "POST", r.url+path
			if c.method != "" {
				method = c.method
			}
			if c.path != "" {
				url = r.url + c.path
			}
			req, err := http.NewRequest(method, url, bytes.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range c.header {
				req.Header.Set(name, value)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			answer, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.want {
				t.Errorf("%d %s, want %d", resp.StatusCode, answer, c.want)
			}
			if got := strings.Contains(string(answer), "SUCCESS"); got != (c.want == 200) {
				t.Errorf("answer %s", answer)
			}
			if c.why != "" && !strings.Contains(string(answer), `"`+c.why+`"`) {
				t.Errorf("answer %s, want reason %s", answer, c.why)
			}
		})
	}
	if msgs := r.stored(bus.StreamWebhooks); len(msgs) != 6 || msgs[4].Subject != "webhooks.v1.eiotclub.default.unknown" || msgs[5].Subject != "webhooks.v1.eiotclub.default.BrandNew" {
		t.Errorf("%d stored, want the six good ones", len(msgs))
	}
	for _, why := range refusals {
		if n := testutil.ToFloat64(r.w.m.refused[why]); n != refused[why.reason] {
			t.Errorf("%.0f refused as %s are counted, want %.0f", n, why.reason, refused[why.reason])
		}
	}
	stored, stale := testutil.ToFloat64(r.w.m.stored), testutil.ToFloat64(r.w.m.stale)
	if stored != 6 || stale != 5 || stored+stale != taken {
		t.Errorf("%.0f stored and %.0f stale are counted, %.0f were answered with SUCCESS", stored, stale, taken)
	}
	for event, want := range map[string]float64{"unknown": 2, "BrandNew": 0, "FlowAlert": 1, "Refund": 5} {
		if n := testutil.ToFloat64(r.w.m.events.WithLabelValues("default", event)); n != want {
			t.Errorf("%.0f notifications of the event %s are counted, want %.0f", n, event, want)
		}
	}
	dead := r.stored(bus.StreamDead)
	if len(dead) != 1+len(odd) || dead[0].Subject != "dead.v1.WEBHOOKS" || dead[0].Header.Get(bus.HeaderReason) != "stale" ||
		dead[0].Header.Get(bus.HeaderOrigin) != "webhooks.v1.eiotclub.default.Refund" || !bytes.Contains(dead[0].Data, old) {
		t.Errorf("stale: %+v", dead)
	}
}

// What may be configured keeps every answer under a second, the spool's part included.
func TestTimeoutsLeaveTheSpoolItsPart(t *testing.T) {
	cfg := config(t, nil)
	for _, c := range []struct {
		publish, queue time.Duration
		ok             bool
	}{{400 * time.Millisecond, 200 * time.Millisecond, true}, {450 * time.Millisecond, 200 * time.Millisecond, true}, {450 * time.Millisecond, 450 * time.Millisecond, false},
		{700 * time.Millisecond, time.Millisecond, false}, {0, time.Millisecond, false}} {
		cfg.PublishTimeout, cfg.QueueTimeout = c.publish, c.queue
		if err := cfg.Validate(); (err == nil) != c.ok {
			t.Errorf("%s and %s: %v", c.publish, c.queue, err)
		}
		if worst := c.publish + c.publish/16 + c.queue + spoolWait; c.ok && worst > time.Second {
			t.Errorf("%s and %s: an answer may take %s", c.publish, c.queue, worst)
		}
	}
}

func TestBrokerAwayWithoutSpoolIs503(t *testing.T) {
	r := startWith(t, nil, func(w *Worker) { w.cfg.PublishTimeout = config(t, nil).PublishTimeout })
	r.nats.Pause()
	t0 := time.Now()
	status, answer := r.post("/webhooks/eiotclub/default", notice(t, "1", "FlowAlert"))
	if status != 503 || strings.Contains(answer, "SUCCESS") {
		t.Errorf("%d %s", status, answer)
	}
	if d := time.Since(t0); d >= bus.PublishTimeout {
		t.Errorf("answered after %s, as if nothing were configured", d)
	}
	r.nats.Resume()
}
