package wire

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/schemas/schematest"
)

const packageRequest = `{"order_id":"630000198311142676","supplier":"eiotclub","product":"package","account":"default","iccid":"8988308650100524999",` +
	`"package_code":"CN-5M-7D-C-US-20230103AC4BF927","max_total":{"amount":"5.00","currency":"USD"},"expires_at":"2026-01-15T00:00:00Z","metadata":{"a":1,"b":{"c":"x"}}}`

// Spellings of one request are one request; anything that means something else
// is another.
func TestRequestHash(t *testing.T) {
	hash := func(t *testing.T, in string) string {
		t.Helper()
		r, _, err := DecodeRequest([]byte(in))
		if err != nil {
			t.Fatalf("%v: %s", err, in)
		}
		return r.Hash()
	}
	want := hash(t, packageRequest)
	swap := func(old, new string) string { return strings.Replace(packageRequest, old, new, 1) }
	for name, in := range map[string]string{
		"as CloudEvents":                  `{"specversion":"1.0","id":"7","source":"/shop","type":"x","data":` + packageRequest + `}`,
		"white space":                     strings.ReplaceAll(packageRequest, ",", " ,\n\t"),
		"another order of names":          `{"metadata":{"b":{"c":"x"},"a":1},` + strings.Replace(packageRequest[1:], `,"metadata":{"a":1,"b":{"c":"x"}}`, "", 1),
		"account left out":                swap(`"account":"default",`, ""),
		"account null":                    swap(`"default"`, "null"),
		"an instant in another zone":      swap("2026-01-15T00:00:00Z", "2026-01-15T08:00:00.000+08:00"),
		"an amount with fewer digits":     swap(`"5.00"`, `"5"`),
		"an amount with more digits":      swap(`"5.00"`, `"5.0000"`),
		"escapes":                         swap(`"eiotclub"`, `"eiot\u0063lub"`),
		"null for what does not belong":   swap(`{"order_id"`, `{"eid":null,"price":null,"order_id"`),
		"metadata spelt with other space": swap(`{"a":1,"b":{"c":"x"}}`, `{ "b": {"c": "x"}, "a": 1 }`),
	} {
		t.Run("same/"+name, func(t *testing.T) {
			if got := hash(t, in); got != want {
				t.Errorf("hash %s, wants %s", got, want)
			}
		})
	}
	for name, in := range map[string]string{
		"another card":       swap("8988308650100524999", "8988308650100524998"),
		"another account":    swap(`"default"`, `"other"`),
		"another package":    swap("CN-5M", "CN-6M"),
		"another limit":      swap("5.00", "5.01"),
		"another currency":   swap("USD", "EUR"),
		"no limit":           swap(`"max_total":{"amount":"5.00","currency":"USD"},`, ""),
		"another expiry":     swap("2026-01-15T", "2026-01-16T"),
		"another metadata":   swap(`"a":1`, `"a":2`),
		"metadata's numbers": swap(`"a":1`, `"a":"1"`),
	} {
		t.Run("other/"+name, func(t *testing.T) {
			if got := hash(t, in); got == want {
				t.Error("the same hash")
			}
		})
	}
}

func TestDecodeRequestFillsIn(t *testing.T) {
	r, meta, err := DecodeRequest([]byte(`{"specversion":"1.0","id":"7","source":"/shop","type":"x","time":"2026-01-14T09:00:00+01:00","traceparent":"00-a","data":` +
		`{"order_id":"f-1","supplier":"esimfly","product":"esim","package_code":"c","package_name":"n","price":{"amount":"2.72","currency":"USD"},"metadata":null}}`))
	if err != nil {
		t.Fatal(err)
	}
	if r.Account != order.DefaultAccount || r.Quantity != 1 || r.Metadata != nil {
		t.Errorf("account %q, quantity %d, metadata %s; wants default, 1 and none", r.Account, r.Quantity, r.Metadata)
	}
	if meta.ID != "7" || meta.TraceParent != "00-a" || meta.Time.IsZero() {
		t.Errorf("meta %+v lost what came around the data", meta)
	}
	again, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	r2, _, err := DecodeRequest(again)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, r2); diff != "" || r.Hash() != r2.Hash() {
		t.Errorf("the request that stands in the ledger reads back differently:\n%s", diff)
	}
}

func TestDecodeRequestReasons(t *testing.T) {
	swap := func(old, new string) string { return strings.Replace(packageRequest, old, new, 1) }
	for _, c := range []struct{ name, in, reason, text string }{
		{"broken", packageRequest[:40], ReasonMalformed, "unexpected end"},
		{"order id twice", swap(`{`, `{"order_id":"x",`), ReasonMalformed, "twice"},
		{"order id in two cases", swap(`{`, `{"Order_Id":"x",`), ReasonMalformed, "twice"},
		{"metadata with a name twice", swap(`"a":1`, `"a":1,"a":2`), ReasonMalformed, "twice"},
		{"unknown supplier", swap("eiotclub", "acme"), ReasonSchema, "acme"},
		{"unknown product", swap(`"package"`, `"teapot"`), ReasonUnknownProduct, "teapot"},
		{"product of the other supplier", swap(`"eiotclub"`, `"esimfly"`), ReasonUnknownProduct, "esimfly"},
		{"unknown name", swap(`{`, `{"qty":1,`), ReasonSchema, "qty"},
		{"name in another case", swap(`"iccid"`, `"ICCID"`), ReasonSchema, "ICCID"},
		{"long s for an s", swap(`"iccid"`, `"acceſſ"`), ReasonSchema, "acce"},
		{"every fault at once", swap(`"8988308650100524999","package_code":"CN-5M-7D-C-US-20230103AC4BF927"`, `"12"`), ReasonSchema, "package_code is missing\niccid is not"},
		{"metadata over 16 KiB", swap(`"a":1`, `"a":"`+strings.Repeat("x", order.MaxMetadata)+`"`), ReasonTooLarge, "metadata is"},
		{"over a mebibyte", swap(`"a":1`, `"a":"`+strings.Repeat("x", MaxMessage)+`"`), ReasonTooLarge, "over 1048576"},
		{"quantity 0 is not quantity 1", `{"order_id":"f-1","supplier":"esimfly","product":"esim","package_code":"c","package_name":"n","price":{"amount":"2.72","currency":"USD"},"quantity":0}`, ReasonSchema, "quantity is 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := DecodeRequest([]byte(c.in))
			if err == nil || ReasonOf(err) != c.reason || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, wants reason %s and the text %q", err, c.reason, c.text)
			}
		})
	}
}

// Whatever comes in, the decoders do not panic, and what they accept is valid,
// can be written and reads back as the same.
func FuzzDecodeRequest(f *testing.F) {
	for _, e := range schematest.Examples(f) {
		if strings.HasPrefix(e.Type, "order.request") {
			f.Add(e.Body)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, _, err := DecodeRequest(b)
		if err != nil {
			if ReasonOf(err) == "" {
				t.Errorf("no reason in %v", err)
			}
			return
		}
		if err := r.Validate(); err != nil {
			t.Fatalf("accepted, but %v: %q", err, b)
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("accepted, but cannot be written: %v: %q", err, b)
		}
		r2, _, err := DecodeRequest(again)
		if err != nil {
			t.Fatalf("accepted, but %s does not read back: %v", again, err)
		}
		if r.Hash() != r2.Hash() {
			t.Errorf("%s hashes differently after reading back as %+v", again, r2)
		}
	})
}

// The same for what others tell orderer, and for the events that it reads back
// from its ledger.
func FuzzDecodeOthers(f *testing.F) {
	for _, e := range schematest.Examples(f) {
		if _, ok := decoders[e.Type]; ok && e.Type != "order.request.v1" {
			f.Add(e.Body)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if ev, _, err := DecodeEvidence(b); err == nil {
			again, err := json.Marshal(ev)
			if err != nil {
				t.Fatalf("evidence accepted, but cannot be written: %v: %q", err, b)
			}
			ev2, _, err := DecodeEvidence(again)
			if diff := cmp.Diff(ev, ev2); err != nil || diff != "" {
				t.Errorf("evidence reads back differently (%v):\n%s", err, diff)
			}
		}
		if c, _, err := DecodeCancel(b); err == nil {
			if err := c.Validate(); err != nil {
				t.Errorf("cancel accepted, but %v", err)
			}
		}
		if r, _, err := DecodeOrderEvent(b); err == nil {
			if _, err := json.Marshal(r); err != nil {
				t.Errorf("order event accepted, but cannot be written: %v", err)
			}
		}
		if _, err := DecodeData(b, new(Task)); err != nil && ReasonOf(err) == "" {
			t.Errorf("no reason in %v", err)
		}
	})
}
