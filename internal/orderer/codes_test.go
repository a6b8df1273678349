package orderer

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/supplier/esimfly"
)

// meaning is what an answer of some kind does to an order, to its first call and to
// a repeat of one in doubt, of which no refusal says anything.
type meaning struct {
	state     order.State
	certainty order.Certainty
	waitsFor  string
}

var (
	nobodyKnows = meaning{order.Unknown, order.CertainUnknown, ""}
	givenUp     = meaning{order.Rejected, order.CertainNotPlaced, ""}
	meanings    = map[string]struct{ first, doubted meaning }{
		"exists":       {nobodyKnows, nobodyKnows}, // and is looked up at once
		"busy":         {meaning{order.Waiting, order.CertainNotPlaced, "busy"}, nobodyKnows},
		"no_funds":     {meaning{order.Waiting, order.CertainNotPlaced, "no_funds"}, nobodyKnows},
		"out_of_stock": {meaning{order.Waiting, order.CertainNotPlaced, "out_of_stock"}, nobodyKnows},
		"setup":        {meaning{order.Waiting, order.CertainNotPlaced, "setup"}, nobodyKnows},
		"refused":      {givenUp, nobodyKnows},
		"price":        {givenUp, nobodyKnows},
		"unknown":      {nobodyKnows, nobodyKnows},
	}
)

// answered is one answer of a supplier to a purchase and the kind that it is of.
type answered struct {
	name   string
	status int
	body   string
	kind   string
}

// Code by code, from the bytes of the answer to the order's next state: every code
// that the suppliers document, and some that they do not.
func TestEveryDocumentedCode(t *testing.T) {
	table, err := os.ReadFile("../supplier/eiotclub/testdata/error_codes.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var eiot []answered
	for line := range strings.Lines(string(table)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if f[0] == "code" || f[0] == "200" {
			continue
		}
		eiot = append(eiot, answered{f[0], 200, fmt.Sprintf(`{"code":%q,"message":%q,"data":null}`, f[0], f[1]), f[3]},
			answered{f[0] + " as a number", 200, fmt.Sprintf(`{"code":%s,"message":%q}`, f[0], f[1]), f[3]})
	}
	if len(eiot) != 2*88 {
		t.Fatalf("%d codes, the document has 88", len(eiot)/2)
	}
	eiot = append(eiot, answered{"undocumented", 200, `{"code":"77777","message":"?"}`, "unknown"}, answered{"a known code with HTTP 503", 503, `{"code":"45112"}`, "unknown"})
	fly := []answered{
		{"MISSING_FIELDS", 400, "", "refused"}, {"INVALID_PACKAGE", 400, "", "refused"}, {"PRICE_MISMATCH", 400, "", "price"}, {"INSUFFICIENT_BALANCE", 400, "", "no_funds"},
		{"INVALID_SIGNATURE", 401, "", "setup"}, {"INVALID_USER", 403, "", "setup"}, {"ORDER_PROCESSING_ERROR", 500, "", "unknown"},
		{"DUPLICATE_REQUEST", 409, "", "exists"}, {"AUTH_DUPLICATE_REQUEST_ID", 401, "", "exists"}, {"INVALID_TIMESTAMP", 401, "", "setup"},
		{"RATE_LIMIT_EXCEEDED", 429, "", "busy"}, {"NEW_ONE", 400, "", "unknown"}, {"MISSING_FIELDS", 500, "", "unknown"}, {"INSUFFICIENT_BALANCE", 200, "", "unknown"},
		{"no credentials", 401, `{"success":false,"error":"Authentication required"}`, "setup"}, {"gateway", 502, `<html>`, "unknown"},
	}
	for i, a := range fly {
		if a.body == "" {
			fly[i].body = fmt.Sprintf(`{"success":false,"message":"x","code":%q}`, a.name)
			fly[i].name = fmt.Sprintf("%s with HTTP %d", a.name, a.status)
		}
	}
	http := supplier.NewHTTP(supplier.HTTPConfig{Timeout: 5 * time.Second})
	t.Cleanup(http.CloseIdle)
	for _, product := range products {
		r := product.request("codes")
		if r.Supplier == order.ESIMFly {
			codesOf(t, r, fly, func(url string) Client {
				return esimfly.New(esimfly.Config{BaseURL: url, AccessCode: "1", SecretKey: "2", HTTP: http})
			})
		} else {
			codesOf(t, r, eiot, func(url string) Client {
				return eiotclub.New(eiotclub.Config{BaseURL: url, AppKey: "1", Secret: "2", HTTP: http})
			})
		}
	}
}

func codesOf(t *testing.T, r order.Request, answers []answered, dial func(url string) Client) {
	var now answered
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(now.status)
		_, _ = io.WriteString(w, now.body)
	}))
	defer server.Close()
	client := dial(server.URL)
	rules, _ := client.Rules(r.Product)
	for _, now = range answers {
		placement, err := client.Place(t.Context(), supplier.Purchase{Request: r})
		for _, doubted := range []bool{false, true} {
			want := meanings[now.kind].first
			if doubted {
				want = meanings[now.kind].doubted
			}
			intent := intentRecord(doubted)
			next := testJudge(rules).verdict(&intent, placement, err)
			if got := (meaning{next.State, next.Certainty, next.WaitingFor}); got != want {
				t.Errorf("%s %s, %s, in doubt %t: %+v, want %+v", r.Supplier, r.Product, now.name, doubted, got, want)
			}
			if next.Error == nil || next.Error.Kind != now.kind {
				t.Errorf("%s %s, %s: error %+v, want kind %s", r.Supplier, r.Product, now.name, next.Error, now.kind)
			}
			if now.kind == "exists" && next.NotBefore.After(judgeNow) {
				t.Errorf("%s: looked up at %s only", now.name, next.NotBefore)
			}
			if err := order.CheckMove(order.Intent, &next); err != nil {
				t.Error(err)
			}
		}
	}
}
