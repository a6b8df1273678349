package archiver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What redact leaves of any JSON is what a second reading of the rules leaves, made
// with encoding/json's trees; where that has nothing to leave out, not a byte changes;
// and of text that is cut off anywhere no secret comes through.
func TestRedactAgreesWithTrees(t *testing.T) {
	seed := rand.Uint64()
	g := randomJSON{rand.New(rand.NewPCG(seed, 1))}
	for i := range 20_000 {
		raw := g.value(0)
		got := redact(raw)
		var before, after any
		if err := parse(raw, &before); err != nil {
			t.Fatalf("seed %d: made %s: %v", seed, raw, err)
		}
		if err := parse(got, &after); err != nil {
			t.Fatalf("seed %d: %s\nbecame %s: %v", seed, raw, got, err)
		}
		want, changed := withoutSecrets(before)
		if diff := cmp.Diff(unfold(want), unfold(after)); diff != "" || strings.Contains(got, "SECRET") || !changed && got != raw {
			t.Fatalf("seed %d, input %d: %s\nbecame %s\n%s", seed, i, raw, got, diff)
		}
		if cut := raw[:g.IntN(len(raw)+1)]; strings.Contains(redact(cut), "SECRET") {
			t.Fatalf("seed %d: %s\nbecame %s", seed, cut, redact(cut))
		}
	}
}

// A walk takes what encoding/json takes, and nothing else but for the inside of strings.
func TestWalkTakesJSON(t *testing.T) {
	seed := rand.Uint64()
	g := randomJSON{rand.New(rand.NewPCG(seed, 2))}
	for range 50_000 {
		b := []byte(g.value(0))
		for range g.IntN(3) { // spoilt
			switch at := g.IntN(len(b) + 1); {
			case g.IntN(3) == 0:
				b = b[:at]
			case at < len(b):
				b[at] = "{}[]\",:\\ 0-1.etn\x00\x1f\x80\xff"[g.IntN(20)]
			}
		}
		s := string(b)
		if s != strings.TrimSpace(s) || s == "" {
			continue
		}
		took, valid := skipValue(s, 0, 0, nil) == len(s), json.Valid(b)
		if valid && !took || took && !valid && !bytes.ContainsAny(b, "\\") {
			t.Fatalf("seed %d: %q: taken %v, valid %v", seed, s, took, valid)
		}
		for i := range s { // the eighths do not matter
			if s[i] == '"' {
				if end, plain := skipString(s, i), endOfString(s, i); end != plain {
					t.Fatalf("seed %d: %q: the string at %d ends at %d, want %d", seed, s, i, end, plain)
				}
			}
		}
	}
}

func endOfString(s string, i int) int {
	for i++; i < len(s) && s[i] >= ' '; i++ {
		if s[i] == '"' {
			return i + 1
		}
		if s[i] == '\\' {
			i++
		}
	}
	return -1
}

func parse(s string, v any) error {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	return d.Decode(v)
}

// withoutSecrets is v as the rules have it: a member whose name, without case and
// underscores, installs an eSIM has no value, nor has free text an activation code.
func withoutSecrets(v any) (any, bool) {
	changed := false
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, value := range v {
			switch strings.ToLower(strings.ReplaceAll(name, "_", "")) {
			case "activationcode", "qrcodeurl", "qrcode", "appleinstallurl", "directappleinstallurl", "lpa", "smdpaddress", "matchingid", "confirmationcode":
				if out[name] = value; value != nil && value != "" {
					out[name], changed = "[left out]", true
				}
				continue
			}
			clean, c := withoutSecrets(value)
			out[name], changed = clean, changed || c
		}
		return out, changed
	case []any:
		out := []any{}
		for _, value := range v {
			clean, c := withoutSecrets(value)
			out, changed = append(out, clean), changed || c
		}
		return out, changed
	case string:
		var inner any
		if t := strings.TrimSpace(v); strings.HasPrefix(t, "{") || strings.HasPrefix(t, "[") {
			if json.Valid([]byte(t)) && parse(t, &inner) == nil {
				clean, c := withoutSecrets(inner)
				if !c {
					return v, false
				}
				b, err := json.Marshal(clean)
				if err != nil {
					panic(err)
				}
				return string(b), true
			}
		}
		var out strings.Builder
		for rest := v; ; changed = true {
			at := strings.Index(strings.ToUpper(rest), "LPA:")
			if at < 0 {
				return out.String() + rest, changed
			}
			out.WriteString(rest[:at] + "[left out]")
			rest = rest[at+4:]
			if end := strings.IndexAny(rest, "\"\\ \t\n\r\f"); end >= 0 {
				rest = rest[end:]
			} else {
				rest = ""
			}
		}
	}
	return v, false
}

// unfold reads the strings of v that hold JSON, so that it does not matter how
// that was written.
func unfold(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = unfold(v[name])
		}
	case []any:
		for i := range v {
			v[i] = unfold(v[i])
		}
	case string:
		var inner any
		if t := strings.TrimSpace(v); (strings.HasPrefix(t, "{") || strings.HasPrefix(t, "[")) && json.Valid([]byte(t)) && parse(t, &inner) == nil {
			return []any{"JSON", unfold(inner)}
		}
	}
	return v
}

// randomJSON writes JSON as nobody sensible does. What is secret says SECRET.
type randomJSON struct{ *rand.Rand }

func (g randomJSON) pick(list ...string) string { return list[g.IntN(len(list))] }

func (g randomJSON) space() string { return g.pick("", "", "", "", " ", "\n\t", "\r ") }

func (g randomJSON) value(depth int) string {
	switch n := g.IntN(10); {
	case n < 4 && depth < 4 || depth == 0:
		return g.object(depth)
	case n == 4 && depth < 4:
		out := "[" + g.space()
		for i := range g.IntN(4) {
			if i > 0 {
				out += "," + g.space()
			}
			out += g.value(depth+1) + g.space()
		}
		return out + "]"
	case n == 5:
		return g.pick("null", "true", "false", "0", "-1.50", "12345678901234567890", "1e9", "-0.1E+7")
	case n == 6 && depth < 4:
		return g.quote(g.pick("", " ", "\n") + g.pick(g.object(depth+1), "["+g.value(depth+1)+"]"))
	}
	return g.quote(g.pick("", "8988", "12:30:59", "a:b", "é", "日本語", "\U0001F600 ok", "lpa", "LPA", "[", "{\"a\":", "a\"b\\c", "tab\there", "state: e", "https://example.com/a?b=c",
		"scan LPA:1$smdp.example$SECRET now", "lPa:SECRET", "xLPA:1$SECRET\tLPA:2$SECRET", "{broken LPA:SECRET", "LPA:", " [left out] "))
}

func (g randomJSON) object(depth int) string {
	out, seen := "{"+g.space(), map[string]bool{}
	for range g.IntN(5) {
		name := g.pick("a", "iccid", "order_id", "state", "code", "url", "note", "activate_date", "apple", "x-lpa", "lpa2", "é", "", "data", "matching_i", "goods_code", "qr code")
		value := g.value(depth + 1)
		if g.IntN(4) == 0 {
			name = g.pick("activation_code", "activationCode", "ACTIVATION_CODE", "qr_code_url", "QRCode", "_lpa__", "Lpa", "appleInstallUrl", "direct_apple_install_url", "smdpAddress", "matching_id", "matching_i_d_", "confirmationCode")
			value = g.pick(`""`, "null", "7", `"SECRET"`, `{"a":"SECRET"}`, `["SECRET",1]`, `"LPA:1$SECRET"`, `"S\"ECRET SECRET"`)
		}
		if seen[name] {
			continue
		}
		if len(seen) > 0 {
			out += "," + g.space()
		}
		seen[name] = true
		out += g.quote(name) + g.space() + ":" + g.space() + value + g.space()
	}
	return out + "}"
}

// quote writes s with more escapes than it needs, here and there.
func (g randomJSON) quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	if g.IntN(4) > 0 {
		return string(b)
	}
	var out strings.Builder
	for i, c := range string(b) {
		if i > 0 && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == ':') && b[i-1] != '\\' && !bytes.Contains(b, []byte(`\u`)) && g.IntN(6) == 0 {
			fmt.Fprintf(&out, `\u%04x`, c)
			continue
		}
		out.WriteRune(c)
	}
	return out.String()
}
