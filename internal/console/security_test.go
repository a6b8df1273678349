package console

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
)

// views and deeds are every address of the page; TestEveryRouteIsTried holds them
// to the routes.
var views = []string{"/", "/orders", "/orders/new", "/orders/held-1", "/held", "/dead", "/dead/replay", "/dead/1", "/coverage", "/findings", "/usage", "/switches", "/audit"}

var deeds = map[string]url.Values{
	"/orders":                {"body": {`{"order_id":"new-1","supplier":"eiotclub","product":"esim","goods_code":"G"}`}},
	"/orders/held-1/resolve": {"as": {"not-placed"}},
	"/orders/held-1/cancel":  {},
	"/dead/replay":           {"seq": {"1"}},
	"/dead/1/edit":           {"body": {`{"order_id":"dead-0","supplier":"eiotclub","product":"esim","goods_code":"G"}`}},
	"/switches":              {"switch": {"all.pause"}, "on": {"true"}},
}

var reveals = []string{"/orders/held-1/reveal", "/dead/1/reveal"}

func fill(form url.Values, more ...string) url.Values {
	out := url.Values{}
	for k, v := range form {
		out[k] = v
	}
	for i := 0; i+1 < len(more); i += 2 {
		out.Set(more[i], more[i+1])
	}
	return out
}

// stand is what a refused deed must leave as it was.
func (r *rig) stand() map[string]uint64 {
	r.t.Helper()
	out := map[string]uint64{}
	for _, name := range append(bus.StreamNames(), bus.StreamKV(bus.BucketSwitches)) {
		s, err := r.b.JS.Stream(r.t.Context(), name)
		if err != nil {
			r.t.Fatal(err)
		}
		out[name] = s.CachedInfo().State.LastSeq + s.CachedInfo().State.Msgs
	}
	return out
}

func TestNothingIsReadableWithoutTheToken(t *testing.T) {
	r := newRig(t, true)
	r.seed()
	before := r.stand()
	try := func(how string) {
		t.Helper()
		for _, path := range views {
			if a := r.get(path); a.code != http.StatusUnauthorized || strings.Contains(a.body, "held-1</a>") || strings.Contains(a.body, `name="csrf"`) || strings.Contains(a.body, "dead-0") {
				t.Errorf("%s: %s: %d\n%s", how, path, a.code, a.body)
			}
		}
		for path, form := range deeds {
			if a := r.post(path, fill(form, "reason", "r")); a.code != http.StatusUnauthorized {
				t.Errorf("%s: POST %s: %d", how, path, a.code)
			}
		}
		for _, path := range reveals {
			if a := r.post(path, url.Values{"reason": {"r"}}); a.code != http.StatusUnauthorized {
				t.Errorf("%s: POST %s: %d", how, path, a.code)
			}
		}
	}
	try("no session")
	for _, token := range []string{"", "wrong", testToken + " ", strings.ToUpper(testToken)} {
		if a := r.post("/login", url.Values{"name": {"mira"}, "token": {token}}); a.code != http.StatusForbidden || a.header.Get("Set-Cookie") != "" {
			t.Errorf("token %q: %d %s", token, a.code, a.header)
		}
	}
	if a := r.post("/login", url.Values{"token": {testToken}}); a.code != http.StatusBadRequest {
		t.Errorf("nobody's name: %d", a.code)
	}
	u, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	other := newGate("another token of some length", time.Now)
	forged, err := other.open("mallory", false)
	if err != nil {
		t.Fatal(err)
	}
	old := newGate(testToken, func() time.Time { return time.Now().Add(-sessionFor - time.Second) })
	expired, err := old.open("mira", false)
	if err != nil {
		t.Fatal(err)
	}
	for how, value := range map[string]string{"another token's session": forged.Value, "an expired one": expired.Value, "no signature": strings.SplitN(forged.Value, ".", 2)[0], "nonsense": "a.b"} {
		r.http.Jar.SetCookies(u, []*http.Cookie{{Name: cookieName, Value: value, Path: "/"}})
		try(how)
	}
	if diff := cmp.Diff(before, r.stand()); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
	// Ten tries in a row, and the door is slow.
	for range 20 {
		r.post("/login", url.Values{"name": {"m"}, "token": {"guess"}})
	}
	if a := r.post("/login", url.Values{"name": {"m"}, "token": {testToken}}); a.code != http.StatusTooManyRequests {
		t.Errorf("after many tries: %d", a.code)
	}
}

func TestReadOnlyRefusesEveryMutation(t *testing.T) {
	r := newRig(t, false)
	r.seed()
	r.login()
	csrf, before := r.csrf(), r.stand()
	for path, form := range deeds {
		if a := r.post(path, fill(form, "reason", "r", "csrf", csrf)); a.code != http.StatusForbidden || !strings.Contains(a.body, "read-only") {
			t.Errorf("POST %s: %d", path, a.code)
		}
	}
	if diff := cmp.Diff(before, r.stand()); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
	// No page offers what it would refuse.
	for _, path := range views {
		for _, action := range regexp.MustCompile(`action="([^"]+)"`).FindAllStringSubmatch(r.get(path).body, -1) {
			if a := action[1]; strings.HasSuffix(a, "/resolve") || strings.HasSuffix(a, "/cancel") || strings.HasSuffix(a, "/edit") {
				t.Errorf("%s offers %s", path, a)
			}
		}
	}
	// Card data may be asked for, with a reason; that is written down, and only then shown.
	for _, path := range reveals {
		if a := r.post(path, url.Values{"csrf": {csrf}}); a.code != http.StatusUnprocessableEntity || strings.Contains(a.body, testICCID) {
			t.Errorf("POST %s without a reason: %d", path, a.code)
		}
		if len(r.audits()) != 0 {
			t.Fatal("an audit without a reason")
		}
	}
	for _, path := range reveals {
		if a := r.post(path, url.Values{"csrf": {csrf}, "reason": {"the customer lost it"}}); a.code != http.StatusOK || path == "/dead/1/reveal" && !strings.Contains(a.body, testICCID) {
			t.Errorf("POST %s: %d", path, a.code)
		}
	}
	want := []string{"order_reveal | held-1 | mira | the customer lost it | console", "dead_reveal | 1 | mira | the customer lost it | console"}
	if diff := cmp.Diff(want, r.audits()); diff != "" {
		t.Error(diff)
	}
}

func TestFormsAreOurs(t *testing.T) {
	r := newRig(t, true)
	r.seed()
	r.login()
	csrf, before := r.csrf(), r.stand()
	for path, form := range deeds {
		for how, token := range map[string]string{"no token": "", "another's token": newGate(testToken, time.Now).csrf(session{raw: "x"}), "cut": csrf[:10]} {
			if a := r.post(path, fill(form, "reason", "r", "csrf", token)); a.code != http.StatusForbidden {
				t.Errorf("%s: POST %s: %d", how, path, a.code)
			}
		}
		for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://elsewhere.example"} {
			req, err := http.NewRequest(http.MethodPost, r.url+path, strings.NewReader(fill(form, "reason", "r", "csrf", csrf).Encode()))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set(name, value)
			if a := r.do(req); a.code != http.StatusForbidden {
				t.Errorf("%s %s: POST %s: %d", name, value, path, a.code)
			}
		}
		if a := r.post(path, fill(form, "csrf", csrf)); a.code != http.StatusUnprocessableEntity {
			t.Errorf("without a reason: POST %s: %d", path, a.code)
		}
	}
	if diff := cmp.Diff(before, r.stand()); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
}

func TestHeadersAndCookie(t *testing.T) {
	r := newRig(t, false)
	check := func(a answer, what string) {
		t.Helper()
		csp := a.header.Get("Content-Security-Policy")
		for _, w := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, w) {
				t.Errorf("%s: policy %q lacks %s", what, csp, w)
			}
		}
		if strings.Contains(csp, "unsafe") || a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %v", what, a.header)
		}
	}
	check(r.get("/"), "the login")
	check(r.get("/assets/style.css"), "an asset")
	a := r.post("/login", url.Values{"name": {"mira"}, "token": {testToken}, "next": {"//elsewhere.example/"}})
	if a.location != "/" {
		t.Errorf("the login leads to %q", a.location)
	}
	cookie := a.header.Get("Set-Cookie")
	for _, w := range []string{"HttpOnly", "SameSite=Strict", "Path=/"} {
		if !strings.Contains(cookie, w) {
			t.Errorf("cookie %q lacks %s", cookie, w)
		}
	}
	inline := regexp.MustCompile(`<script(?:>| [^>]*>[^<])|\son[a-z]+="|\sstyle="|<style|javascript:`)
	for _, path := range views {
		a := r.get(path)
		check(a, path)
		if m := inline.FindString(a.body); m != "" {
			t.Errorf("%s holds %q, which the policy forbids", path, m)
		}
		if path != "/" && a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be kept by caches", path)
		}
	}
	if a := r.post("/logout", url.Values{}); a.code != http.StatusSeeOther || !strings.Contains(a.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("logout: %d %s", a.code, a.header.Get("Set-Cookie"))
	}
}

// What a person does reaches the bus, with who and why.
func TestDeeds(t *testing.T) {
	r := newRig(t, true)
	r.seed()
	r.login()
	csrf := r.csrf()
	for _, d := range []struct {
		path string
		form url.Values
		next string
	}{
		{"/switches", url.Values{"switch": {"eiotclub.pause"}, "on": {"true"}}, "/switches?done=switched"},
		{"/dead/1/edit", url.Values{"body": {`{"order_id":"dead-0","supplier":"eiotclub","product":"esim","goods_code":"G"}`}}, "/dead?done=edited"},
		{"/dead/replay", url.Values{"seq": {"2"}}, "/dead?done=replayed"},
		{"/dead/replay", url.Values{"error": {"unknown_account"}, "last": {"4"}}, "/dead?done=replayed"},
	} {
		if a := r.post(d.path, fill(d.form, "csrf", csrf, "reason", "because")); a.code != http.StatusSeeOther || a.location != d.next {
			t.Errorf("POST %s: %d to %q\n%s", d.path, a.code, a.location, a.body)
		}
	}
	want := []string{"switch_set | eiotclub.pause | mira | because | console", "dead_edit | 1 | mira | because | console",
		"dead_replay | 2 | mira | because | console", "dead_replay | 3 and 1 more | mira | because | console"}
	if diff := cmp.Diff(want, r.audits()); diff != "" {
		t.Error(diff)
	}
	if counts, err := r.s.op.DeadCounts(t.Context()); err != nil || counts[bus.StreamOrders] != 6 {
		t.Errorf("dead letters left: %v, %v; want 6 of ORDERS", counts, err)
	}
	msgs, _, err := r.b.Range(t.Context(), bus.StreamOrders, bus.SubjectRequest(order.EIOTCLUB, "*"), 1, 10)
	if err != nil || len(msgs) != 4 {
		t.Errorf("%d requests went out, %v", len(msgs), err)
	}
	for path, form := range map[string]url.Values{
		"/dead/replay":           {},
		"/dead/11/edit":          {"body": {"{}"}},
		"/dead/10/edit":          {"body": {"not JSON"}},
		"/switches":              {"switch": {"all"}, "on": {"true"}},
		"/orders":                {"body": {"{}"}},
		"/orders/held-1/resolve": {"as": {"placed"}},
	} {
		if a := r.post(path, fill(form, "csrf", csrf, "reason", "because")); a.code != http.StatusUnprocessableEntity {
			t.Errorf("POST %s %v: %d", path, form, a.code)
		}
	}
	fulfilled := url.Values{"as": {"fulfilled"}, "supplier_order_id": {"order_1"}, "csrf": {csrf}, "reason": {"because"}}
	if a := r.post("/orders/held-1/resolve", fulfilled); a.code != http.StatusUnprocessableEntity || !strings.Contains(a.body, "no eSIM of order held-1 is known") {
		t.Errorf("fulfilled without an eSIM: %d %s", a.code, a.body)
	}
}
