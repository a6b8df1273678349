package wire

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/schemas/schematest"
)

// sameAsSlow: what quick takes is a sound bare message, and what encoding/json makes
// of it. It says whether quick took it.
func sameAsSlow(t rapid.TB, b []byte) bool {
	t.Helper()
	var fast, slow requestIn
	if !fast.quick(b) {
		return false
	}
	d, err := open(b)
	if err != nil {
		t.Fatalf("%q: taken, and refused by the scan: %v", b, err)
	}
	if d.odd || d.env.SpecVersion != "" {
		t.Fatalf("%q: taken, with odd names %v or as an envelope", b, d.odd)
	}
	if err := d.decode(&slow); err != nil {
		t.Fatalf("%q: taken, and refused by encoding/json: %v", b, err)
	}
	if diff := cmp.Diff(slow, fast, cmp.Comparer(func(a, b order.Money) bool { return a.Currency == b.Currency && a.Amount.Equal(b.Amount) })); diff != "" {
		t.Fatalf("%s: -encoding/json +quick\n%s", b, diff)
	}
	return true
}

// dirt is what mutations of bytes are made of.
var dirt = []byte("{}[]\",:\\0123456789-.eE \t\n\r\x00\x1f\x7f\x80\xc3\xa9\xffatrufnlsA_")

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
		for range rapid.IntRange(0, 4).Draw(rt, "bytes") { // broken, as a rule
			at := rapid.IntRange(0, len(b)-1).Draw(rt, "at")
			switch rapid.IntRange(0, 3).Draw(rt, "how") {
			case 0:
				b[at] = rapid.SampledFrom(dirt).Draw(rt, "byte")
			case 1:
				b = slices.Insert(b, at, rapid.SampledFrom(dirt).Draw(rt, "byte"))
			case 2:
				b = slices.Delete(b, at, at+1)
			case 3:
				from := rapid.IntRange(0, at).Draw(rt, "from")
				b = slices.Insert(b, at, slices.Clone(b[from:at])...) // a member twice, if it fits
			}
			if len(b) == 0 {
				break
			}
			sameAsSlow(rt, b)
		}
	})
	if quick == 0 {
		t.Error("none was quick")
	}
	for _, b := range []string{`{}`, ` { } `, `{"order_id":"a\"b"}`, `{"quantity":1e1}`, `{"quantity":1.0}`, `{"quantity":01}`, `{"quantity":9999999999}`, `{"metadata":{"a":"}\"{"},"order_id":"x"}`,
		`{"metadata":[]}`, `{"price":null}`, `{"price":{"amount":"1.00","currency":"USD","x":1}}`, `{"expires_at":"2026-01-15"}`, `{"order_id":7}`, `{"order_id":"中"}`, `[]`, `"x"`, `7`, `{"iccid":null}`,
		`{"iccid":"a",}`, `{"iccid":"a"} x`, `{"iccid":"a"}{}`, `{"iccid":"a""eid":"b"}`, `{"iccid" "a"}`, `{"iccid":"a","iccid":"a"}`, `{"iccid":"","iccid":"a"}`, `{"ICCID":"a","iccid":"a"}`, "{\"iccid\":\"\x1f\"}",
		"{\"iccid\":\"\xff\"}", "\ufeff{\"iccid\":\"a\"}", `{"specversion":"1.0"}`, `{"quantity":00}`, `{"quantity":-1}`, `{"quantity":1 2}`, `{"metadata":{"a":1,"a":2}}`, `{"metadata":{"a":}}`, `{"metadata":{"A":1}}`,
		`{"metadata":` + strings.Repeat(`{"a":`, 63) + `1` + strings.Repeat(`}`, 64), `{"metadata":` + strings.Repeat(`{"a":`, 64) + `1` + strings.Repeat(`}`, 65)} {
		sameAsSlow(t, []byte(b))
	}
	usual := []byte(`{"order_id":"o","supplier":"esimfly","product":"esim","account":"default","package_code":"c","package_name":"n","price":{"amount":"2.72","currency":"USD"},"quantity":2,"expires_at":"2099-01-15T00:00:00Z","metadata":{"k":[1,"}"]}}`)
	for _, spaced := range []string{string(usual), " " + strings.ReplaceAll(string(usual), ",", " ,\n\t") + "\n"} {
		if !sameAsSlow(t, []byte(spaced)) {
			t.Errorf("the usual request is not quick: %q", spaced)
		}
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
