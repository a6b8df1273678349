package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/simline/simline/schemas/schematest"
)

func TestCheckJSON(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	long := func(n int, last string) string {
		var b strings.Builder
		b.WriteString("{")
		for i := range n {
			b.WriteString(`"n` + strconv.Itoa(i) + `":0,`)
		}
		return b.String() + last + `:0}`
	}
	for _, c := range []struct {
		name, in string
		reason   string // empty: accepted
	}{
		{"object", `{"a":1,"b":[1,2,{"a":1}],"c":{"a":{}}}`, ""},
		{"number alone", `1`, ""},
		{"white space around", " \r\n\t{} ", ""},
		{"same name in two objects", `[{"a":1},{"a":1}]`, ""},
		{"same name as its parent", `{"a":{"a":1}}`, ""},
		{"value like a name", `{"a":"a","b":"a"}`, ""},
		{"braces within text", `{"a":"}{\"b\":[","c":"\\"}`, ""},
		{"surrogate pair", `{"a":"\ud83d\ude00"}`, ""},
		{"escaped backslash before u", `{"a":"\\ud800"}`, ""},
		{"nested 64 deep", deep(64), ""},
		{"object of many names", long(500, `"x"`), ""},

		{"nothing", ``, ReasonMalformed},
		{"white space only", " \n", ReasonMalformed},
		{"ends early", `{"a":`, ReasonMalformed},
		{"two values", `{}{}`, ReasonMalformed},
		{"value and dirt", `{} x`, ReasonMalformed},
		{"comma at the end", `{"a":1,}`, ReasonMalformed},
		{"single quotes", `{'a':1}`, ReasonMalformed},
		{"comment", `{"a":1}//x`, ReasonMalformed},
		{"not a number", `{"a":NaN}`, ReasonMalformed},
		{"leading zero", `{"a":01}`, ReasonMalformed},
		{"raw line break in text", "{\"a\":\"\n\"}", ReasonMalformed},
		{"byte order mark", "\ufeff{}", ReasonMalformed},
		{"bad UTF-8", "{\"a\":\"\xff\"}", ReasonMalformed},
		{"UTF-16", "\xff\xfe{\x00}\x00", ReasonMalformed},
		{"high surrogate alone", `{"a":"\ud83d"}`, ReasonMalformed},
		{"high surrogate before text", `{"a":"\ud83dx"}`, ReasonMalformed},
		{"high surrogate before another", `{"a":"\ud83d\ud83d"}`, ReasonMalformed},
		{"high surrogate before a plain escape", `{"a":"\ud83d\n"}`, ReasonMalformed},
		{"low surrogate alone", `{"a":"\ude00"}`, ReasonMalformed},
		{"half pair in a name", `{"\ud83d":1}`, ReasonMalformed},
		{"name twice", `{"a":1,"a":2}`, ReasonMalformed},
		{"name twice, deep", `[{"x":{"a":1,"b":2,"a":3}}]`, ReasonMalformed},
		{"name twice with an object between", `{"a":{"b":1},"c":2,"a":3}`, ReasonMalformed},
		{"name twice, once escaped", `{"a":1,"\u0061":2}`, ReasonMalformed},
		{"name in two cases", `{"orderId":1,"OrderID":2}`, ReasonMalformed},
		{"name in two cases, long s", `{"supplier":1,"ſupplier":2}`, ReasonMalformed},
		{"name in two cases, Kelvin sign", "{\"key\":1,\"\u212aey\":2}", ReasonMalformed},
		{"name in two cases, not ASCII", `{"straße":1,"STRAßE":2}`, ReasonMalformed},
		{"name in two cases, Greek sigmas", `{"σ":1,"ς":2}`, ReasonMalformed},
		{"name twice among many", long(500, `"N7"`), ReasonMalformed},
		{"empty name twice", `{"":1,"":2}`, ReasonMalformed},
		{"nested 65 deep", deep(65), ReasonMalformed},
		{"nested a million deep", deep(400_000), ReasonMalformed},
		{"over the limit", `"` + strings.Repeat("x", MaxMessage) + `"`, ReasonTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := CheckJSON([]byte(c.in))
			if c.reason == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || e.Reason != c.reason {
				t.Errorf("%v, wants reason %s", err, c.reason)
			}
		})
	}
}

// judge is a second reader of the same law, written on the standard library's
// tokens and strings.EqualFold.
func judge(b []byte) bool {
	if len(b) > MaxMessage || !utf8.Valid(b) || halfPair(b) {
		return false
	}
	type level struct {
		names []string
		name  bool
		array bool
	}
	var stack []*level
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	for {
		tok, err := dec.Token()
		if err != nil {
			return false
		}
		var top *level
		if len(stack) > 0 {
			top = stack[len(stack)-1]
		}
		switch {
		case tok == json.Delim('{') || tok == json.Delim('['):
			if top != nil {
				top.name = true
			}
			stack = append(stack, &level{name: true, array: tok == json.Delim('[')})
		case tok == json.Delim('}') || tok == json.Delim(']'):
			stack = stack[:len(stack)-1]
		case top != nil && !top.array && top.name:
			for _, n := range top.names {
				if strings.EqualFold(n, tok.(string)) {
					return false
				}
			}
			top.names, top.name = append(top.names, tok.(string)), false
		case top != nil:
			top.name = true
		}
		if len(stack) > maxDepth {
			return false
		}
		if len(stack) == 0 {
			break
		}
	}
	_, err := dec.Token()
	return errors.Is(err, io.EOF)
}

var escapes = regexp.MustCompile(`\\(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u....|.)`)

// halfPair says that some \u escape is a surrogate without its other half.
func halfPair(b []byte) bool {
	for _, m := range escapes.FindAll(b, -1) {
		if len(m) == 6 && strings.ContainsRune("dD", rune(m[2])) && strings.ContainsRune("89abAB"+"cdefCDEF", rune(m[3])) {
			return true
		}
	}
	return false
}

func FuzzCheckJSON(f *testing.F) {
	for _, e := range schematest.Examples(f) {
		f.Add(e.Body)
	}
	for _, s := range []string{`{"a":1,"A":2}`, `{"a":"\ud83d\ude00","b":"\ud83d"}`, `[{"ſ":1,"s":2}]`, `{"a":[{},[],"",0,null,true]} `, "\ufeff1", `{"\u0061":0,"a":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := CheckJSON(b)
		if got, want := err == nil, judge(b); got != want {
			t.Errorf("accepted %v (%v), the other judge says %v: %q", got, err, want, b)
		}
	})
}

func BenchmarkCheckJSON(b *testing.B) {
	in := []byte(`{"order_id":"630000198311142676","supplier":"eiotclub","product":"package","account":"default","iccid":"8988308650100524999",` +
		`"package_code":"CN-5M-7D-C-US-20230103AC4BF927","max_total":{"amount":"5.00","currency":"USD"},"expires_at":"2026-01-15T00:00:00Z","metadata":{}}`)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckJSON(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeRequest(b *testing.B) {
	in := []byte(`{"order_id":"630000198311142676","supplier":"eiotclub","product":"package","account":"default","iccid":"8988308650100524999",` +
		`"package_code":"CN-5M-7D-C-US-20230103AC4BF927","max_total":{"amount":"5.00","currency":"USD"},"expires_at":"2026-01-15T00:00:00Z","metadata":{}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := DecodeRequest(in); err != nil {
			b.Fatal(err)
		}
	}
}
