package eiotclub

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A second canonicaliser, written on encoding/json and maps, slow and without a
// shared line with the scanner: what they disagree on is a bug in one of them.

// refForms lists the strings that the sender of body may have signed; an error
// says that body must be refused.
func refForms(body []byte) (map[string]bool, error) {
	if !utf8.Valid(body) || bytes.HasPrefix(body, []byte("\ufeff")) {
		return nil, errors.New("not plain UTF-8")
	}
	if err := refWalk(body); err != nil {
		return nil, err
	}
	if refHalfPair(body) {
		return nil, errors.New("half of a pair")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return nil, fmt.Errorf("not an object: %w", err)
	}
	delete(members, "sign")
	forms := map[string]bool{}
	for _, compact := range []bool{false, true} {
		texts := map[string]string{}
		for name, raw := range members {
			texts[name] = refText(raw, compact)
		}
		var pairs, all []string
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			if texts[name] != "" {
				pairs = append(pairs, name+"="+texts[name])
			}
			all = append(all, name+"="+texts[name]+"&")
		}
		documented := strings.Join(pairs, "&")
		if len(pairs) > 0 {
			documented += "&"
		}
		sort.Strings(all)
		forms[documented], forms[strings.Join(all, "")] = true, true
	}
	return forms, nil
}

func refText(raw json.RawMessage, compact bool) string {
	switch raw[0] {
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			panic(err) // it was walked before
		}
		return s
	case 'n':
		return ""
	case '{', '[':
		if compact {
			var b bytes.Buffer
			if err := json.Compact(&b, raw); err != nil {
				panic(err)
			}
			return b.String()
		}
	}
	return string(raw)
}

// refWalk checks that there is one value, not too deep, and no name twice.
func refWalk(body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var value func(depth int) error
	value = func(depth int) error {
		tok, err := dec.Token()
		if err != nil {
			return err
		}
		d, ok := tok.(json.Delim)
		if !ok {
			return nil
		}
		if depth == maxDepth {
			return errors.New("too deep")
		}
		var names []string
		for dec.More() {
			if d == '{' {
				tok, err := dec.Token()
				if err != nil {
					return err
				}
				name := tok.(string)
				for _, other := range names {
					if strings.EqualFold(name, other) {
						return errors.New("a name twice")
					}
				}
				names = append(names, name)
			}
			if err := value(depth + 1); err != nil {
				return err
			}
		}
		_, err = dec.Token()
		return err
	}
	if err := value(0); err != nil {
		return err
	}
	if _, err := dec.Token(); err == nil {
		return errors.New("more than one value")
	}
	if !json.Valid(body) {
		return errors.New("not JSON")
	}
	return nil
}

// refHalfPair looks for \u escapes of half a surrogate pair in valid JSON.
func refHalfPair(body []byte) bool {
	unit := func(i int) int {
		if i+6 > len(body) || body[i] != '\\' || body[i+1] != 'u' {
			return -1
		}
		v, err := strconv.ParseUint(string(body[i+2:i+6]), 16, 16)
		if err != nil {
			return -1
		}
		return int(v)
	}
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		switch u := unit(i); {
		case u >= 0xd800 && u < 0xdc00:
			if low := unit(i + 6); low < 0xdc00 || low > 0xdfff {
				return true
			}
			i += 11
		case u >= 0xdc00 && u < 0xe000:
			return true
		default:
			i++
		}
	}
	return false
}

// scanForms is what the scanner would try.
func scanForms(s *Scanner, body []byte) (map[string]bool, error) {
	if err := s.Scan(body); err != nil {
		return nil, err
	}
	forms := map[string]bool{}
	s.forms(func() bool { forms[string(s.canon)] = true; return false })
	return forms, nil
}

func compare(t interface {
	Helper()
	Fatalf(string, ...any)
}, s *Scanner, body []byte) {
	t.Helper()
	want, refErr := refForms(body)
	got, err := scanForms(s, body)
	if (err == nil) != (refErr == nil) {
		t.Fatalf("%q\nscanner: %v\nreference: %v", body, err, refErr)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%q\n%s", body, diff)
	}
	if err == nil && !bytes.Equal(s.Body(), bytes.Trim(body, " \t\r\n")) {
		t.Fatalf("%q: body %q", body, s.Body())
	}
}

// jsonText draws JSON, mostly valid, with all that makes canonicalisation hard.
func jsonText(t *rapid.T) []byte {
	space := func() string { return rapid.SampledFrom([]string{"", "", "", "", " ", "\n\t", "\r"}).Draw(t, "space") }
	str := func() string {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "B", "1", "_", "é", "K", "ſ", "s", "k", "&", "=", "\\\"", "\\\\", "\\/", "\\n", "\\u0041", "\\u00e9", "\\ud83d\\ude00", "\\ud83d", "\\udc00", "\\u0000", "😀", " ", "sign", "\\u017f", "\x01", "\\x", "\xff"}), 0, 3).Draw(t, "string")
		if rapid.IntRange(0, 19).Draw(t, "nasty") > 0 {
			parts = slices.DeleteFunc(parts, func(p string) bool {
				return p == "\\ud83d" || p == "\\udc00" || p == "\x01" || p == "\\x" || p == "\xff"
			})
		}
		return `"` + strings.Join(parts, "") + `"`
	}
	var value func(depth int) string
	object := func(depth int) string {
		n := rapid.IntRange(0, 4).Draw(t, "members")
		if depth == 0 && rapid.IntRange(0, 30).Draw(t, "large") == 0 {
			n = 40
		}
		var b strings.Builder
		b.WriteString("{" + space())
		for i := range n {
			if i > 0 {
				b.WriteString("," + space())
			}
			name := rapid.SampledFrom([]string{str(), fmt.Sprintf("%q", fmt.Sprint("n", i)), `"id"`, `"a"`, `"a1"`, `"sign"`, `"event"`}).Draw(t, "name")
			if n == 40 {
				name = fmt.Sprintf("%q", fmt.Sprint("n", rapid.SampledFrom([]int{i, i, i, i, i, i, i, i, i, 7}).Draw(t, "twice")))
			}
			b.WriteString(name + space() + ":" + space() + value(depth+1) + space())
		}
		return b.String() + "}"
	}
	value = func(depth int) string {
		choice := rapid.IntRange(0, 9).Draw(t, "kind")
		if depth > 4 && choice > 6 {
			choice = 0
		}
		switch choice {
		case 0, 1, 2:
			return str()
		case 3, 4:
			return rapid.SampledFrom([]string{"0", "-0", "1", "1.50", "1e5", "1E+5", "12345678901234567890123", "01", "1.", ".5", "+1", "-"}).Draw(t, "number")
		case 5:
			return rapid.SampledFrom([]string{"true", "false", "null", "null", "nul", "True"}).Draw(t, "word")
		case 6:
			return `""`
		case 7:
			return object(depth)
		default:
			n := rapid.IntRange(0, 3).Draw(t, "items")
			items := make([]string, n)
			for i := range items {
				items[i] = space() + value(depth+1) + space()
			}
			return "[" + strings.Join(items, ",") + "]"
		}
	}
	b := []byte(space() + object(0) + space())
	if rapid.IntRange(0, 9).Draw(t, "mangle") == 0 && len(b) > 0 {
		at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 0:
			b = slices.Delete(b, at, at+1)
		case 1:
			b[at] = rapid.SampledFrom([]byte(`{}[]",:\u0 `)).Draw(t, "byte")
		default:
			b = b[:at]
		}
	}
	return b
}

func TestScannerAgreesWithReference(t *testing.T) {
	var s Scanner
	good := 0
	rapid.Check(t, func(t *rapid.T) {
		body := jsonText(t)
		if s.Scan(body) == nil {
			good++
		}
		compare(t, &s, body)
	})
	if good == 0 {
		t.Error("no drawn body was valid")
	}
}

func FuzzScanner(f *testing.F) {
	for _, b := range []string{seedSubPkgList, seedRefund, seedFlowAlert, seedSwitch, `{"a":null,"b":"","sign":"x","d":[ {"k" : 1} ]}`, `{"k":1,"K":2}`, `{"a":"\ud83d\ude00\ud83d"}`,
		`{"a1":1,"a":2,"a\u0031":3}`, "\xef\xbb\xbf{}", `{"a":01}`, ` {"a":-0.0e+1 , "b" : true } `, strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 70)} {
		f.Add([]byte(b))
	}
	var s Scanner
	f.Fuzz(func(t *testing.T, body []byte) { compare(t, &s, body) })
}

// FuzzParseNotification: whatever the scanner lets in, the decoder stands.
func FuzzParseNotification(f *testing.F) {
	for _, b := range []string{seedSubPkgList, seedRefund, seedFlowAlert, seedSwitch, `{"event":"SubPkgList","data":"[{]"}`, `{"event":"PkgEffective","data":{"orderId":{}}}`} {
		f.Add([]byte(b))
	}
	var s Scanner
	f.Fuzz(func(t *testing.T, body []byte) {
		if s.Scan(body) != nil {
			return
		}
		n, err := ParseNotification(body)
		if err == nil {
			n.Orders()
		}
	})
}
