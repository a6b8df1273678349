package eiotclub

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// signed puts the signature of canon (without the secret) in place of SIGN.
func signed(body, canon, secret string) []byte {
	return []byte(strings.ReplaceAll(body, "SIGN", fmt.Sprintf("%X", sha1.Sum([]byte(canon+"&secret="+secret)))))
}

func check(t *testing.T, body []byte, secrets ...string) error {
	t.Helper()
	v, err := NewVerifier(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	var s Scanner
	if err := s.Scan(body); err != nil {
		return err
	}
	return v.Verify(&s)
}

func TestVerifyDocumentedVector(t *testing.T) {
	body := `{"appkey":"000001","timestamp":1556595508,"nonce":24523,"sign":"963A56BAEBED746F2746E4D9B3B77BE0F2E171E7","userName":"wx","age":"24","sex":"1"}`
	if err := check(t, []byte(body), "a1b1c1d1"); err != nil {
		t.Error(err)
	}
	if err := check(t, []byte(body), "a1b1c1d2"); !errors.Is(err, ErrBadSignature) {
		t.Errorf("another secret: %v", err)
	}
}

func TestVerify(t *testing.T) {
	cases := []struct {
		name, body, canon string
	}{
		{"numbers as sent", `{"a":1.50,"b":1e3,"c":12345678901234567890,"sign":"SIGN"}`, "a=1.50&b=1e3&c=12345678901234567890"},
		{"empty and null values do not count", `{"z":"","b":null,"c":true,"sign":"SIGN"}`, "c=true"},
		{"strings are decoded", `{"a":"x\"\u00e9\ud83d\ude00\/y","sign":"SIGN"}`, "a=x\"é😀/y"},
		{"an escaped name is its name", `{"\u0061":"1","sign":"SIGN"}`, "a=1"},
		{"nested as received", `{"d":[{"k": 1}],"sign":"SIGN"}`, `d=[{"k": 1}]`},
		{"nested compact", `{"d":[ {"k" : "a \" b"} ],"sign":"SIGN"}`, `d=[{"k":"a \" b"}]`},
		{"nested empty list is a value", `{"d":[],"sign":"SIGN"}`, `d=[]`},
		{"names in ASCII order", `{"b":"1","B":"x","a10":"3","a":"2","sign":"SIGN"}`, ""},
		{"a name that begins another", `{"a1":"1","a":"2","sign":"SIGN"}`, "a=2&a1=1"},
		{"Java: whole pairs sorted", `{"a1":"1","a":"2","sign":"SIGN"}`, "a1=1&a=2"},
		{"Java: empties kept", `{"z":"","b":null,"a":"1","sign":"SIGN"}`, "a=1&b=&z="},
		{"Java: nested compact", `{"z":"","d":[ 1 ],"sign":"SIGN"}`, "d=[1]&z="},
		{"Java: nested as received", `{"z":"","d":[ 1 ],"sign":"SIGN"}`, "d=[ 1 ]&z="},
		{"white space around it", " \n{\"a\":1,\"sign\":\"SIGN\"}\n", "a=1"},
	}
	for _, c := range cases {
		if c.canon == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			good := signed(c.body, c.canon, "s3cret")
			if err := check(t, good, "old", "s3cret"); err != nil {
				t.Errorf("%s: %v", good, err)
			}
			if err := check(t, []byte(strings.ToLower(string(good))), "s3cret"); err != nil && strings.ToLower(c.body) == c.body && strings.ToLower(c.canon) == c.canon {
				t.Errorf("lower-case sign: %v", err)
			}
			if err := check(t, good, "old"); !errors.Is(err, ErrBadSignature) {
				t.Errorf("signed with a secret that is not valid: %v", err)
			}
		})
	}
	t.Run("no signature", func(t *testing.T) {
		for _, body := range []string{`{"a":1}`, `{"a":1,"sign":""}`, `{"a":1,"sign":null}`} {
			if err := check(t, []byte(body), "s"); !errors.Is(err, ErrNoSignature) {
				t.Errorf("%s: %v", body, err)
			}
		}
	})
	t.Run("not a signature", func(t *testing.T) {
		for _, body := range []string{`{"sign":1}`, `{"sign":"zz3A56BAEBED746F2746E4D9B3B77BE0F2E171E7"}`, `{"sign":["963A56BAEBED746F2746E4D9B3B77BE0F2E171E7"]}`} {
			if err := check(t, []byte(body), "s"); !errors.Is(err, ErrBadSignature) {
				t.Errorf("%s: %v", body, err)
			}
		}
	})
	t.Run("an empty secret is none", func(t *testing.T) {
		if _, err := NewVerifier("a", ""); err == nil {
			t.Error("accepted")
		}
		if _, err := NewVerifier(); err == nil {
			t.Error("accepted")
		}
	})
}

func TestScanRefuses(t *testing.T) {
	deep := strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)
	many := &strings.Builder{}
	for i := range 100 {
		fmt.Fprintf(many, `"n%d":1,`, i)
	}
	cases := map[string]string{
		"nothing":                 "",
		"white space":             " \n",
		"a list":                  `[1]`,
		"a string":                `"a"`,
		"two values":              `{} {}`,
		"rubbish after":           `{}x`,
		"byte order mark":         "\xef\xbb\xbf{}",
		"bad UTF-8":               "{\"a\":\"\xff\"}",
		"surrogate in UTF-8":      "{\"a\":\"\xed\xa0\x80\"}",
		"lone high surrogate":     `{"a":"\ud800"}`,
		"lone low surrogate":      `{"a":"\udc00"}`,
		"high surrogate twice":    `{"a":"\ud800\ud800"}`,
		"high, then no escape":    `{"a":"\ud800xxxxxx"}`,
		"lone surrogate inside":   `{"d":[{"a":"\ud800"}]}`,
		"name twice":              `{"a":1,"a":2}`,
		"name in two cases":       `{"sign":1,"Sign":2}`,
		"name escaped":            `{"id":1,"\u0069d":2}`,
		"name folded by Go":       `{"sign":1,"\u017fign":2}`,
		"Kelvin":                  `{"k":1,"K":2}`,
		"name twice inside":       `{"d":[{"a":1,"b":{"c":1,"C":2}}]}`,
		"name twice among many":   `{` + many.String() + `"N50":1}`,
		"name twice, both late":   `{` + many.String() + `"x":1,"X":1}`,
		"too deep":                `{"a":` + deep + `}`,
		"control character":       "{\"a\":\"\n\"}",
		"control after an escape": "{\"a\":\"\\t\n\"}",
		"bad escape":              `{"a":"\x"}`,
		"short escape":            `{"a":"\u12"}`,
		"leading zero":            `{"a":01}`,
		"plus":                    `{"a":+1}`,
		"no digits":               `{"a":-}`,
		"no fraction":             `{"a":1.}`,
		"no exponent":             `{"a":1e}`,
		"NaN":                     `{"a":NaN}`,
		"word cut":                `{"a":tru}`,
		"comma at the end":        `{"a":1,}`,
		"comma in a list":         `{"a":[1,]}`,
		"no colon":                `{"a" 1}`,
		"no comma":                `{"a":1 "b":2}`,
		"not closed":              `{"a":1`,
		"list not closed":         `{"a":[1`,
		"string not closed":       `{"a":"`,
		"string not closed, esc":  `{"a":"\"`,
		"backslash at the end":    `{"a":"\`,
		"single quotes":           `{'a':1}`,
		"comment":                 `{/**/}`,
	}
	for name, body := range cases {
		t.Run(name, func(t *testing.T) {
			var s Scanner
			err := s.Scan([]byte(body))
			var m *MalformedError
			if !errors.As(err, &m) {
				t.Errorf("%q was accepted (%v)", body, err)
			}
		})
	}
	var s Scanner
	for _, body := range []string{`{}`, ` { } `, `{"a":{"b":1},"c":{"b":1},"d":[{"b":1},{"b":2}]}`, `{"a":` + deep[1:len(deep)-1] + `}`, `{` + many.String() + `"x":1}`, `{"a":"\ud83d\ude00"}`} {
		if err := s.Scan([]byte(body)); err != nil {
			t.Errorf("%.60s: %v", body, err)
		}
	}
}
