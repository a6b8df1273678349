package wire

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/schemas/schematest"
)

// sameAsSlow: what quick takes is what encoding/json makes of it. It says whether
// quick took it.
func sameAsSlow(t rapid.TB, b []byte) bool {
	t.Helper()
	d, err := open(b)
	if err != nil || d.odd {
		return false
	}
	var fast, slow requestIn
	if !fast.quick(d.data) {
		return false
	}
	if err := d.decode(&slow); err != nil {
		t.Fatalf("%s: taken, and refused by encoding/json: %v", b, err)
	}
	if diff := cmp.Diff(slow, fast, cmp.Comparer(func(a, b order.Money) bool { return a.Currency == b.Currency && a.Amount.Equal(b.Amount) })); diff != "" {
		t.Fatalf("%s: -encoding/json +quick\n%s", b, diff)
	}
	return true
}

func TestTheQuickDecoderIsEncodingJSON(t *testing.T) {
	var good []any
	for _, e := range schematest.Examples(t) {
		if e.Type == "order.request.v1" && e.Good {
			sameAsSlow(t, e.Body)
			good = append(good, decodeAny(t, e.Body))
		}
	}
	quick := 0
	rapid.Check(t, func(rt *rapid.T) {
		m := clone(rapid.SampledFrom(good).Draw(rt, "good"))
		for range rapid.IntRange(0, 3).Draw(rt, "changes") {
			m = mutate(rt, m)
		}
		indent := rapid.StringOf(rapid.RuneFrom([]rune(" \t\r\n"))).Draw(rt, "indent")
		b, err := json.MarshalIndent(m, indent, indent)
		if err != nil {
			rt.Fatal(err)
		}
		if sameAsSlow(rt, b) {
			quick++
		}
	})
	if quick == 0 {
		t.Error("none was quick")
	}
	for _, b := range []string{`{}`, ` { } `, `{"order_id":"a\"b"}`, `{"quantity":1e1}`, `{"quantity":1.0}`, `{"quantity":01}`, `{"quantity":9999999999}`, `{"metadata":{"a":"}\"{"},"order_id":"x"}`,
		`{"metadata":[]}`, `{"price":null}`, `{"price":{"amount":"1.00","currency":"USD","x":1}}`, `{"expires_at":"2026-01-15"}`, `{"order_id":7}`, `{"order_id":"中"}`, `[]`, `"x"`, `7`, `{"iccid":null}`} {
		sameAsSlow(t, []byte(b))
	}
	usual := []byte(`{"order_id":"o","supplier":"esimfly","product":"esim","account":"default","package_code":"c","package_name":"n","price":{"amount":"2.72","currency":"USD"},"quantity":2,"expires_at":"2099-01-15T00:00:00Z","metadata":{"k":[1,"}"]}}`)
	if !sameAsSlow(t, usual) {
		t.Error("the usual request is not quick")
	}
}

// An envelope is written as encoding/json writes it.
func TestEnvelopeIsWrittenAsEncodingJSONWritesIt(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := func(name string) string {
			return rapid.OneOf(rapid.StringMatching(`[ -~]{0,20}`), rapid.String()).Draw(rt, name)
		}
		e := Envelope{SpecVersion: "1.0", ID: text("id"), Source: text("source"), Type: text("type"), Subject: text("subject"),
			Time:            time.Unix(rapid.Int64Range(0, 4e9).Draw(rt, "s"), rapid.Int64Range(0, 999999999).Draw(rt, "ns")).UTC(),
			DataContentType: text("datacontenttype"), TraceParent: text("traceparent"), Data: json.RawMessage(`{"a":1}`)}
		want, err := json.Marshal(e)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := e.Marshal()
		if err != nil || string(got) != string(want) {
			rt.Fatalf("%v\n%s\n%s", err, got, want)
		}
	})
}

func TestATraceParentIsOne(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		p := NewTraceParent()
		var trace, span string
		if n, err := fmt.Sscanf(p, "00-%32x-%16x-00", &trace, &span); n != 2 || err != nil || len(p) != 55 || seen[p] {
			t.Fatalf("%q: %v", p, err)
		}
		seen[p] = true
	}
}
