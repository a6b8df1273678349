package console

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/simline/simline/internal/order"
)

// Every view, with something of everything: what must stand there stands there,
// and no card's number in clear.
func TestViews(t *testing.T) {
	r := newRig(t, true)
	r.seed()
	r.s.lines.take(t.Context())
	r.login()
	for path, want := range map[string][]string{
		"/":                                  {"2 orders wait for a person", "11 dead letters", "1 open finding, critical", "24</td>", "reconciler", "archiver"},
		"/orders":                            {"held-2", "waits for no funds", "2.72 USD", "630000198311140000"},
		"/orders?state=held":                 {"held-1", "held-2"},
		"/orders?supplier=esimfly":           {"being-looked-up"},
		"/orders?q=" + testICCID:             {"held-2", "refused-1"},
		"/orders?q=nowhere-at-all":           {"No order that was archived has"},
		"/orders/held-1":                     {"call 2", "Duplicate request ID", "SubPkgList", "ben: comparing with the supplier&#39;s list", "order by id", "not found", "Finding: order stuck", "held for 24 minutes", "buy it now"},
		"/orders/new":                        {"package_code"},
		"/held":                              {"held-1", "held-2", "does not tell what became of it", "What the looks said", "what was bought is there: the order is fulfilled"},
		"/dead":                              {"unknown_account", "ORDERS 10", "WEBHOOKS 1", "…4999"},
		"/dead?error=schema":                 {"belong to esimfly only"},
		"/dead/1":                            {"dead-0", "…4999", "Preview"},
		"/dead/11":                           {"its timestamp is 74h old"},
		"/dead/replay?error=unknown_account": {"Will replay 9", "Replay 9"},
		"/coverage":                          {"missing", "Complete up to", "<rect class=\"missing", "with bad rows"},
		"/findings":                          {"order missing here", "0.50 USD", "nobody-asked-for-this", "usage missing", "find out who else buys"},
		"/findings?severity=warning":         {"usage missing"},
		"/usage":                             {"bytes in", "<rect"},
		"/usage?days=30":                     {"day (UTC)"},
		"/switches":                          {"Turn eiotclub.pause on"},
		"/audit":                             {"order reveal", "ben"},
	} {
		a := r.get(path)
		if a.code != http.StatusOK {
			t.Errorf("%s: %d %s", path, a.code, a.body)
			continue
		}
		for _, w := range want {
			if !strings.Contains(a.body, w) {
				t.Errorf("%s does not say %q", path, w)
			}
		}
		for _, secret := range []string{testCode, "K2-SECRET"} {
			if strings.Contains(a.body, secret) {
				t.Errorf("%s shows %s", path, secret)
			}
		}
		if n := strings.Count(a.body, testICCID); n > 0 && path != "/orders?q="+testICCID {
			t.Errorf("%s shows the card's number %d times", path, n)
		}
	}
	for path, where := range map[string]string{"/orders?q=held-1": "/orders/held-1", "/orders?q=order_630000198311140003": "/orders/630000198311140003", "/orders?q=+held-2+": "/orders/held-2"} {
		if a := r.get(path); a.code != http.StatusSeeOther || a.location != where {
			t.Errorf("%s: %d to %q, want %s", path, a.code, a.location, where)
		}
	}
	for path, code := range map[string]int{"/orders/nope": 404, "/orders/a%20b": 422, "/dead/99": 404, "/dead/x": 404, "/dead?older=soon": 422, "/dead?stream=NONE": 422, "/nowhere": 404, "/assets/": 404, "/assets/../server.go": 404} {
		if a := r.get(path); a.code != code && !(code == 404 && a.code >= 300 && a.code < 400) {
			t.Errorf("%s: %d, want %d", path, a.code, code)
		}
	}
	// What is there for certain is neither told to be there nor bought again.
	part := life("held-part", order.ESIMFly, time.Now().UTC().Add(-time.Hour), order.Intent, order.Placed, order.Held)
	part[2].Certainty = order.CertainPlaced
	r.story(part...)
	a := r.get("/orders/held-part")
	if !strings.Contains(a.body, "the order is fulfilled") || !strings.Contains(a.body, "reject the order") {
		t.Errorf("an order that is there for certain cannot be decided: %d %s", a.code, a.body)
	}
	for _, w := range []string{`value="send-again"`, `value="placed"`} {
		if strings.Contains(a.body, w) {
			t.Errorf("an order that is there for certain is offered %q", w)
		}
	}
}
