package fault_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/simline/simline/internal/sim/fault"
)

func TestWhichCallsARuleMeets(t *testing.T) {
	const path = "/api/v3/package/orderPackage"
	for _, tc := range []struct {
		name string
		rule fault.Rule
		want string // of ten calls, x where it fires
	}{
		{"always", fault.Rule{}, "xxxxxxxxxx"},
		{"the end of the path", fault.Rule{Path: "package/orderPackage"}, "xxxxxxxxxx"},
		{"a pattern", fault.Rule{Path: "/api/v3/*/order*"}, "xxxxxxxxxx"},
		{"another path", fault.Rule{Path: "esim/purchase"}, ".........."},
		{"an order", fault.Rule{Order: "o1"}, "xxxxxxxxxx"},
		{"another order", fault.Rule{Order: "o"}, ".........."},
		{"once", fault.Rule{Times: 1}, "x........."},
		{"each third", fault.Rule{Every: 3}, "..x..x..x."},
		{"after four, each second, twice", fault.Rule{After: 4, Every: 2, Times: 2}, ".....x.x.."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s fault.Set
			tc.rule.Kind = fault.LostReply
			s.MustAdd(tc.rule)
			var got strings.Builder
			for range 10 {
				got.WriteString(map[bool]string{true: "x", false: "."}[len(s.Take(fault.Call, path, "o1", "iccid")) == 1])
			}
			if got.String() != tc.want {
				t.Errorf("%s, want %s", got.String(), tc.want)
			}
			if n := s.Rules()[0].Met; n != strings.Count(tc.want, "x") {
				t.Errorf("met %d times", n)
			}
		})
	}
}

func TestProbabilityIsSeeded(t *testing.T) {
	run := func(seed uint64) string {
		var s fault.Set
		s.MustAdd(fault.Rule{Kind: fault.Reset, Probability: 0.3, Seed: seed})
		var b strings.Builder
		for range 1000 {
			b.WriteByte("01"[len(s.Take(fault.Call, "/x"))])
		}
		return b.String()
	}
	first, again := run(1), run(1)
	if first != again || first == run(2) {
		t.Error("the same seed must give the same calls, another seed others")
	}
	if n := strings.Count(first, "1"); n < 230 || n > 370 {
		t.Errorf("%d of 1000 met, want about 300", n)
	}
}

func TestHidden(t *testing.T) {
	var s fault.Set
	s.MustAdd(fault.Rule{Kind: fault.Hide, Looks: 2}, fault.Rule{Kind: fault.Hide, Order: "b", For: fault.Duration(time.Minute)})
	for i, tc := range []struct {
		id   string
		age  time.Duration
		want bool
	}{
		{"a", 0, true}, {"a", 0, true}, {"a", 0, false}, // two looks, each order for itself
		{"b", 0, true}, {"b", 0, true}, {"b", 59 * time.Second, true}, {"b", time.Minute, false},
	} {
		if got := s.Hidden("/look", tc.age, tc.id); got != tc.want {
			t.Errorf("look %d at %s after %s: hidden %v", i, tc.id, tc.age, got)
		}
	}
}

func TestBadRulesAreRefused(t *testing.T) {
	for name, r := range map[string]fault.Rule{
		"unknown kind":  {Kind: "explode"},
		"probability 2": {Kind: fault.Reset, Probability: 2},
		"bad pattern":   {Kind: fault.Reset, Path: "[a"},
	} {
		var s fault.Set
		if _, err := s.Add(fault.Rule{Kind: fault.Reset}, r); err == nil || s.Active() {
			t.Errorf("%s: error %v, active %v; want an error and none of the rules", name, err, s.Active())
		}
	}
}

func TestScripts(t *testing.T) {
	want := []fault.Rule{{Kind: fault.LostReply, Path: "orderPackage", Every: 10},
		{Kind: fault.NotifyLate, Delay: fault.Duration(1500 * time.Millisecond)}}
	for name, text := range map[string]string{
		"list.yaml":   "- kind: lost_reply\n  path: orderPackage\n  every: 10\n- kind: notify_late\n  delay: 1.5s\n",
		"named.yaml":  "faults:\n  - {kind: lost_reply, path: orderPackage, every: 10}\n  - {kind: notify_late, delay: 1.5s}\n",
		"list.json":   `[{"kind":"lost_reply","path":"orderPackage","every":10},{"kind":"notify_late","delay":"1.5s"}]`,
		"spelt.yaml":  "- kind: lost_reply\n  pathh: x\n",
		"broken.yaml": "- kind: [\n",
	} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := fault.Load(file)
		if bad := strings.HasPrefix(name, "spelt") || strings.HasPrefix(name, "broken"); bad != (err != nil) {
			t.Errorf("%s: %v", name, err)
		} else if !bad && !cmp.Equal(got, want) {
			t.Errorf("%s: %s", name, cmp.Diff(want, got))
		}
	}
}

func TestAdmin(t *testing.T) {
	var s fault.Set
	srv := httptest.NewServer(http.HandlerFunc(s.Admin))
	defer srv.Close()
	do := func(method, query, body string) (int, string) {
		req, _ := http.NewRequest(method, srv.URL+query, strings.NewReader(body))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	if code, _ := do("POST", "", `{"kind":"reset","times":1}`); code != 200 {
		t.Errorf("one rule: %d", code)
	}
	if code, b := do("POST", "", `[{"kind":"slow_after","delay":"2s"},{"kind":"hide"}]`); code != 200 || !strings.Contains(b, "3") {
		t.Errorf("two rules: %d %s", code, b)
	}
	if code, b := do("POST", "", `{"kind":"nope"}`); code != 400 || !strings.Contains(b, "nope") {
		t.Errorf("unknown kind: %d %s", code, b)
	}
	if code, _ := do("DELETE", "?id=2", ""); code != 200 {
		t.Errorf("delete: %d", code)
	}
	if code, _ := do("DELETE", "?id=2", ""); code != 404 {
		t.Errorf("delete again: %d", code)
	}
	var rules []fault.Rule
	if _, b := do("GET", "", ""); json.Unmarshal([]byte(b), &rules) != nil || len(rules) != 2 {
		t.Errorf("list: %s", b)
	}
	do("DELETE", "", "")
	if s.Active() {
		t.Error("still active")
	}
	if code, _ := do("PUT", "", ""); code != 405 {
		t.Errorf("PUT: %d", code)
	}
}

func TestServe(t *testing.T) {
	good := []byte(`{"code":"200","data":{"orderId":1}}`)
	for _, tc := range []struct {
		rule   fault.Rule
		done   bool // what was asked was done
		status int  // 0: no answer, or a broken one
	}{
		{fault.Rule{Kind: fault.Reset}, false, 0},
		{fault.Rule{Kind: fault.LostReply}, true, 0},
		{fault.Rule{Kind: fault.StatusBefore}, false, 500},
		{fault.Rule{Kind: fault.StatusBefore, Status: 503}, false, 503},
		{fault.Rule{Kind: fault.StatusAfter, Status: 504}, true, 504},
		{fault.Rule{Kind: fault.HTMLBefore}, false, 502},
		{fault.Rule{Kind: fault.HTMLAfter}, true, 200},
		{fault.Rule{Kind: fault.HalfBody}, true, 0},
		{fault.Rule{Kind: fault.HugeBody, Size: 5000}, true, 200},
		{fault.Rule{Kind: fault.CodeBefore, Code: "45112"}, false, 299},
		{fault.Rule{Kind: fault.CodeAfter, Code: "500"}, true, 299},
		{fault.Rule{Kind: fault.TooManyRequests}, false, 299},
		{fault.Rule{Kind: fault.SlowBefore, Delay: fault.Duration(20 * time.Millisecond)}, true, 200},
		{fault.Rule{Kind: fault.SlowAfter, Delay: fault.Duration(20 * time.Millisecond)}, true, 200},
	} {
		t.Run(string(tc.rule.Kind), func(t *testing.T) {
			done := make(chan bool, 1)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fault.Serve(w, r, []fault.Rule{tc.rule},
					func() fault.Answer {
						done <- true
						return fault.Answer{Type: "application/json", Body: good}
					},
					func(r fault.Rule) fault.Answer {
						return fault.Answer{Status: 299, Body: []byte(r.Code)}
					})
			}))
			defer srv.Close()
			begin := time.Now()
			resp, err := http.Post(srv.URL, "application/json", strings.NewReader("{}"))
			var body []byte
			status := 0
			if err == nil {
				body, err = io.ReadAll(resp.Body)
				resp.Body.Close()
				status = resp.StatusCode
			}
			if err != nil {
				status = 0
			}
			if status != tc.status || (len(done) == 1) != tc.done {
				t.Errorf("status %d (%v), done %v; want %d, %v", status, err, len(done) == 1, tc.status, tc.done)
			}
			switch {
			case tc.rule.Delay > 0 && time.Since(begin) < time.Duration(tc.rule.Delay):
				t.Errorf("answered after %s", time.Since(begin))
			case tc.rule.Kind == fault.HugeBody && (len(body) != 5000 || !json.Valid(body)):
				t.Errorf("%d bytes, valid JSON: %v", len(body), json.Valid(body))
			case tc.rule.Kind == fault.HalfBody && !bytes.Equal(body, good[:len(good)/2]):
				t.Errorf("half of the body is %q", body)
			}
		})
	}
}
