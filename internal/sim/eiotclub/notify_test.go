package eiotclub_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/sim/fault"
)

// inbox is a receiver of notifications.
type inbox struct {
	mu     sync.Mutex
	bodies []string
	answer string
	status int
}

func (in *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.bodies = append(in.bodies, string(b))
	w.WriteHeader(in.status)
	io.WriteString(w, in.answer)
}

func (in *inbox) events(t *testing.T) (out []string) {
	t.Helper()
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, b := range in.bodies {
		var v struct{ Event string }
		if err := json.Unmarshal([]byte(b), &v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v.Event)
	}
	return out
}

func newInbox(t *testing.T) (*inbox, string) {
	in := &inbox{answer: `{"status":"SUCCESS"}`, status: 200}
	srv := httptest.NewServer(in)
	t.Cleanup(srv.Close)
	return in, srv.URL + "/webhooks/eiotclub/default"
}

func notified(t *testing.T, r *rig) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.WaitNotified(ctx); err != nil {
		t.Fatal(err)
	}
}

// verify signs a body anew from its JSON text and compares: strings as they read, everything else as it stands.
func verify(t *testing.T, body, secret string) {
	t.Helper()
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &raw); err != nil {
		t.Fatal(err)
	}
	text := map[string]string{}
	for k, v := range raw {
		var s string
		if json.Unmarshal(v, &s) != nil {
			s = string(v)
		}
		text[k] = s
	}
	if _, there := text["appkey"]; there {
		t.Errorf("a notification must not carry appkey: %s", body)
	}
	if got := eiotclub.Sign(text, secret); got != text["sign"] {
		t.Errorf("signature %s, want %s over %s", text["sign"], got, body)
	}
}

func TestAPackagesLifeInNotifications(t *testing.T) {
	for _, nested := range []bool{false, true} {
		in, url := newInbox(t)
		r := newRig(t, eiotclub.Config{WebhookURL: url, NestedData: nested})
		r.buyPackage("first")
		r.buyPackage("second")
		r.clock.Add(7 * 24 * time.Hour)
		r.Tick()
		if err := r.Refund("second", nil, false); err != nil {
			t.Fatal(err)
		}
		notified(t, r)
		want := []string{"SubPkgList", "PkgEffective", "SubPkgList", "PkgQuantityList", "PkgEffective", "Refund", "PkgQuantityList"}
		if d := cmp.Diff(want, in.events(t)); d != "" {
			t.Errorf("nested %v: %s", nested, d)
		}
		ids := map[string]bool{}
		for _, b := range in.bodies {
			verify(t, b, r.Secret())
			var v struct {
				ID    string
				Nonce int
				Data  json.RawMessage
			}
			if err := json.Unmarshal([]byte(b), &v); err != nil {
				t.Fatal(err)
			}
			if ids[v.ID] || len(v.ID) != 24 || v.Nonce < 10000 || v.Nonce > 99999 {
				t.Errorf("id %q, nonce %d", v.ID, v.Nonce)
			}
			ids[v.ID] = true
			if v.Data != nil && (v.Data[0] == '"') == nested {
				t.Errorf("nested %v: data %s", nested, v.Data)
			}
		}
		for _, n := range r.Notifications() {
			if n.Sends != 1 || n.Accepted != 1 || n.OutTradeNo == "" {
				t.Errorf("%+v", n)
			}
		}
		if !strings.Contains(in.bodies[5], `"orderAmount":"0.50"`) || !strings.Contains(in.bodies[5], `"outTradeNo":"second"`) {
			t.Errorf("refund %s", in.bodies[5])
		}
	}
}

func TestEveryKindOfNotification(t *testing.T) {
	in, url := newInbox(t)
	r := newRig(t, eiotclub.Config{WebhookURL: url})
	r.Faults().MustAdd(fault.Rule{Kind: fault.NotifyNever, Times: 3}) // those of the two purchases
	r.buyPackage("pkg")
	r.call("/cloudesim/purchase", obj{"eid": eiotclub.SeedEID, "packageCode": eiotclub.CloudPackageCode, "outTradeNo": "cloud"})
	r.Faults().Clear()
	notified(t, r)
	in.bodies = nil
	for _, e := range eiotclub.Events {
		about := eiotclub.Subject{ICCID: eiotclub.SeedICCID, Order: "pkg", AlertType: 2, AlertValue: "9", ProductCode: "P", PoolGroup: 77}
		if strings.HasPrefix(e, "CloudESim") {
			about.ICCID, about.EID, about.Order = "", eiotclub.SeedEID, "cloud"
		}
		if _, err := r.Notify(e, about); err != nil {
			t.Errorf("%s: %v", e, err)
		}
	}
	notified(t, r)
	if len(eiotclub.Events) != 20 || !slices.Equal(in.events(t), eiotclub.Events) {
		t.Errorf("events %v", in.events(t))
	}
	for i, b := range in.bodies {
		verify(t, b, r.Secret())
		if key := `"eid`; strings.HasPrefix(eiotclub.Events[i], "CloudESim") != strings.Contains(strings.ReplaceAll(b, `\"`, `"`), key) {
			t.Errorf("%s", b)
		}
		if moved := strings.HasPrefix(eiotclub.Events[i], "CardMoved"); moved != strings.Contains(b, `"nonce":"`) {
			t.Errorf("the nonce is a string in CardMoved… only: %s", b)
		}
	}
	if _, err := r.Notify("Nonsense", eiotclub.Subject{ICCID: "1", Order: "pkg"}); err == nil {
		t.Error("an unknown event was made")
	}
	if _, err := r.Notify("Refund", eiotclub.Subject{ICCID: "1", Order: "nope"}); err == nil {
		t.Error("an unknown order was notified of")
	}
	n, err := r.Notify("CardStopped", eiotclub.Subject{ICCID: eiotclub.SeedICCID, BadSign: true})
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if json.Unmarshal([]byte(n.Body), &v) != nil || v["sign"] == eiotclub.Sign(map[string]string{"event": "CardStopped"}, r.Secret()) {
		t.Errorf("%s", n.Body)
	}
}

func TestNotificationFaults(t *testing.T) {
	order := func(in *inbox, r *rig) []string { // outTradeNos of SubPkgList in the order of arrival
		var out []string
		for _, b := range in.bodies {
			for _, o := range []string{"a", "b", "c"} {
				if strings.Contains(b, `outTradeNo\":\"`+o) && strings.Contains(b, "SubPkgList") {
					out = append(out, o)
				}
			}
		}
		return out
	}
	for _, tc := range []struct {
		name string
		rule fault.Rule
		want []string
	}{
		{"none", fault.Rule{Kind: fault.NotifyNever, Order: "z"}, []string{"a", "b", "c"}},
		{"twice", fault.Rule{Kind: fault.NotifyTwice, Order: "b", Path: "SubPkgList"}, []string{"a", "b", "b", "c"}},
		{"never", fault.Rule{Kind: fault.NotifyNever, Order: "b"}, []string{"a", "c"}},
		{"out of order", fault.Rule{Kind: fault.NotifyReorder, Order: "b", Path: "SubPkgList"}, []string{"a", "c", "b"}},
		{"late", fault.Rule{Kind: fault.NotifyLate, Order: "a", Path: "SubPkgList", Delay: fault.Duration(100 * time.Millisecond)}, []string{"b", "c", "a"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			arrive := func() (*inbox, []string) {
				in, url := newInbox(t)
				r := newRig(t, eiotclub.Config{WebhookURL: url})
				r.Faults().MustAdd(tc.rule)
				for _, o := range []string{"a", "b", "c"} {
					r.buyPackage(o)
				}
				notified(t, r)
				return in, order(in, r)
			}
			in, got := arrive()
			for !slices.Equal(got, tc.want) && 0 < tc.rule.Delay && time.Duration(tc.rule.Delay) < 3*time.Second {
				tc.rule.Delay *= 3 // the others were bought later than that
				in, got = arrive()
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("arrived %v, want %v", got, tc.want)
			}
			if tc.name == "twice" && in.bodies[2] != in.bodies[3] {
				t.Errorf("the copy differs:\n%s\n%s", in.bodies[2], in.bodies[3])
			}
		})
	}
	t.Run("held until released", func(t *testing.T) {
		in, url := newInbox(t)
		r := newRig(t, eiotclub.Config{WebhookURL: url})
		r.Faults().MustAdd(fault.Rule{Kind: fault.NotifyReorder})
		r.buyPackage("a")
		notified(t, r)
		if n := len(in.events(t)); n != 0 {
			t.Errorf("%d arrived", n)
		}
		r.Release()
		notified(t, r)
		if n := len(in.events(t)); n != 2 {
			t.Errorf("%d arrived after the release, want 2", n)
		}
	})
	for _, retries := range []int{0, 2} {
		in, url := newInbox(t)
		in.answer = `{"status":"LATER"}`
		r := newRig(t, eiotclub.Config{WebhookURL: url, NotifyRetries: retries})
		n, err := r.Notify("CardStopped", eiotclub.Subject{ICCID: eiotclub.SeedICCID})
		if err != nil {
			t.Fatal(err)
		}
		notified(t, r)
		if got := r.Notifications()[0]; got.Sends != 1+retries || got.Accepted != 0 {
			t.Errorf("%d retries: %+v", retries, got)
		}
		if in.answer = `{"status":"SUCCESS"}`; !r.Resend(n.ID) || r.Resend("nope") {
			t.Error("Resend")
		}
		notified(t, r)
		if got := r.Notifications()[0]; got.Accepted != 1 {
			t.Errorf("after a resend: %+v", got)
		}
	}
}

func TestAdminEndpoints(t *testing.T) {
	in, url := newInbox(t)
	r := newRig(t, eiotclub.Config{WebhookURL: url})
	r.buyPackage("a")
	do := func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, r.url+path, bytes.NewBufferString(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	for _, tc := range []struct {
		path, body string
		status     int
	}{
		{"plant", `{"order":{"out_trade_no":"ghost"},"charge":true}`, 200},
		{"plant", `{"order":{"sales_channel":"USER"},"notify":true}`, 200},
		{"plant", `{"order":{"code":"nope"}}`, 422},
		{"plant", `{"ordr":{}}`, 400},
		{"price", `{"id":"a","price":{"amount":"0.75","currency":"USD"}}`, 200},
		{"price", `{"id":"nope","price":{"amount":"0.75","currency":"USD"}}`, 422},
		{"refund", `{"id":"ghost","amount":{"amount":"0.10","currency":"USD"},"quiet":true}`, 200},
		{"refund", `{"id":"ghost"}`, 422},
		{"odd", `{"id":"a"}`, 200},
		{"topup", `{"minor":100}`, 200},
		{"stock", `{"code":"` + eiotclub.GoodsCode + `","stock":0}`, 200},
		{"cards", `[{"iccid":"8988308650106999990"}]`, 200},
		{"task", `{"iccids":["8988308650106999990"]}`, 200},
		{"task", `{"id":"nope","status":2}`, 422},
		{"notify", `{"event":"FlowAlert","iccid":"8988308650106999990","alert_value":"100"}`, 200},
		{"notify", `{"event":"FlowAlert"`, 400},
		{"faults", `{"kind":"lost_reply","times":1}`, 200},
		{"cdr/step", `{}`, 404},
	} {
		if status, b := do("POST", "/_sim/"+tc.path, tc.body); status != tc.status {
			t.Errorf("%s %s: %d %s, want %d", tc.path, tc.body, status, b, tc.status)
		}
	}
	notified(t, r)
	status, b := do("GET", "/_sim/book", "")
	var book eiotclub.Book
	if err := json.Unmarshal([]byte(b), &book); err != nil || status != 200 {
		t.Fatalf("book: %d %v", status, err)
	}
	if len(book.Orders) != 3 || book.Purchases["a"] != 1 || book.Purchases["ghost"] != 1 || book.Balance != r.Balance() ||
		book.Orders[0].Price.String() != "0.75" || !book.Orders[1].Planted || book.Orders[2].Channel != "USER" ||
		len(book.Notifications) != len(in.events(t)) || len(book.Tasks) != 1 {
		t.Errorf("book over HTTP: %s", b)
	}
	if status, b := do("GET", "/_sim/order?id=ghost", ""); status != 200 || !strings.Contains(b, `"amount": "0.10"`) {
		t.Errorf("order: %d %s", status, b)
	}
	if status, _ := do("GET", "/_sim/order?id=nope", ""); status != 404 {
		t.Errorf("unknown order: %d", status)
	}
	checkLedger(t, book)
}

func TestHooksPlantDiscrepancies(t *testing.T) {
	r := newRig(t, eiotclub.Config{})
	r.buyPackage("a")
	r.buyPackage("b")
	if err := r.Forget("a"); err != nil {
		t.Fatal(err)
	}
	r.want(`"42002"`, r.call("/package/orderPackage", obj{"iccid": eiotclub.SeedICCID, "packageCode": eiotclub.PackageCode, "outTradeNo": "a"}))
	if n := len(r.details(obj{"outTradeNoArrStr": "a", "state": 1})) + len(r.details(obj{"outTradeNoArrStr": "a", "state": 0})); n != 0 {
		t.Errorf("a forgotten order is shown %d times", n)
	}
	before := r.Balance().Minor
	if err := r.SetPrice("b", eiotclub.Money{Minor: 99, Currency: "EUR"}, false); err != nil {
		t.Fatal(err)
	}
	if err := r.SetPackage("b", "GJ-LLB-100M-30D-RPOZLLB-20221115DAAB11A1"); err != nil {
		t.Fatal(err)
	}
	if x := r.details(obj{"outTradeNoArrStr": "b", "state": 0})[0]; x.Price != "0.99" || x.Currency != "EUR" || !strings.HasPrefix(x.PackageCode, "GJ-") {
		t.Errorf("%+v", x)
	}
	if r.Balance().Minor != before {
		t.Error("a changed price moved money")
	}
	if err := r.Finish("b"); err != nil {
		t.Fatal(err)
	}
	if len(r.details(obj{"outTradeNoArrStr": "b", "state": 2})) != 1 {
		t.Error("not finished")
	}
	if err := r.SetPackagePrice(eiotclub.PackageCode, 60); err != nil {
		t.Fatal(err)
	}
	r.buyPackage("c")
	if err := r.Fail("c"); err != nil {
		t.Fatal(err)
	}
	if got := r.Balance().Minor; got != before {
		t.Errorf("a failed order cost %d", before-got)
	}
	checkLedger(t, r.Book())
}
