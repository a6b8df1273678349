package archiver

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// secretNames are the fields that install an eSIM, in our spelling and in the
// suppliers', without case and underscores.
var secretNames = []string{
	"activationcode", "qrcodeurl", "qrcode", "appleinstallurl", "directappleinstallurl",
	"lpa", "smdpaddress", "matchingid", "confirmationcode",
}

var lpaCode = regexp.MustCompile(`(?i)LPA:[^"\\\s]*`)

// redacted stands where something was left out.
const (
	redacted = "[left out]"
	quoted   = `"` + redacted + `"`
)

// mayHoldSecret is a quick look that lets most messages pass as they are. What it
// looks for stands before a colon, a name as well as the beginning of an activation
// code; anything may be written in escapes.
func mayHoldSecret(s string) bool {
	if strings.Contains(s, `\u`) {
		return true
	}
	for i := 0; ; i++ {
		next := strings.IndexByte(s[i:], ':')
		if next < 0 {
			return false
		}
		i += next
		if i < 2 || s[i-1] >= '0' && s[i-1] <= '9' || s[i-1] == '"' && s[i-2] != '\\' && s[i-2] != '_' && !secretEnds[s[i-2]|0x20] {
			continue // a time, or a name that ends like none of them: most of what there is
		}
		if word := strings.TrimRight(wordBefore(s[:i]), "_"); len(word) >= 3 && secretEnds[word[len(word)-1]|0x20] && (isSecret(word) || strings.EqualFold(word[len(word)-3:], "lpa")) {
			return true
		}
	}
}

// wordBefore is the word at the end of s, quotes and white space behind it left
// out, also as they are written in a string that holds JSON.
func wordBefore(s string) string {
	end := len(s)
	for ; end > 0; end-- {
		switch c := s[end-1]; {
		case c == '"', c == '\\', c == ' ', c == '\n', c == '\t', c == '\r':
			continue
		case (c == 'n' || c == 't' || c == 'r') && end > 1 && s[end-2] == '\\':
			continue
		}
		break
	}
	at := end
	for at > 0 && (s[at-1]|0x20 >= 'a' && s[at-1]|0x20 <= 'z' || s[at-1] == '_') {
		at--
	}
	return s[at:end]
}

// secretEnds are the last letters of secretNames.
var secretEnds = func() (ends [256]bool) {
	for _, name := range secretNames {
		ends[name[len(name)-1]] = true
	}
	return ends
}()

// redact returns raw, a JSON value, without what installs an eSIM, at any depth
// and inside strings that hold JSON themselves. Anything else stays byte for byte.
func redact(raw string) string {
	if !mayHoldSecret(raw) {
		return raw
	}
	r := redactor{in: raw, out: make([]byte, 0, len(raw))}
	if skipValue(raw, 0, 0, &r) != len(raw) {
		return quoted // it was walked before, so this does not happen
	}
	if r.last == 0 {
		return raw
	}
	return string(append(r.out, raw[r.last:]...))
}

// redactor copies in to out but for the values that it replaces.
type redactor struct {
	in   string
	out  []byte
	last int // what lies before it in in is copied or replaced
}

func (r *redactor) replace(start, end int, with string) {
	r.out = append(append(r.out, r.in[r.last:start]...), with...)
	r.last = end
}

// secret takes out the value of a member that is called one.
func (r *redactor) secret(start, end int) {
	if s := r.in[start:end]; s != `""` && s != "null" {
		r.replace(start, end, quoted)
	}
}

// text looks into a string: free text may hold an activation code, and EIOTCLUB
// sends lists as JSON inside a string.
func (r *redactor) text(start, end int) {
	raw := r.in[start:end]
	if !mayHoldSecret(raw) {
		return
	}
	s, err := text(raw)
	if err != nil {
		r.replace(start, end, quoted)
		return
	}
	clean := redactText(s)
	if t := strings.TrimSpace(s); len(t) > 1 && (t[0] == '{' || t[0] == '[') && json.Valid([]byte(t)) {
		clean = redact(t)
	}
	if clean != s && clean != strings.TrimSpace(s) {
		r.replace(start, end, quote(clean))
	}
}

// isSecret says whether a member's raw name is one of secretNames.
func isSecret(raw string) bool {
	if strings.IndexByte(raw, '\\') >= 0 {
		var name string
		if json.Unmarshal([]byte(`"`+raw+`"`), &name) != nil {
			return false
		}
		raw = name
	}
	var plain [32]byte
	n := 0
	for _, c := range []byte(raw) {
		if c == '_' {
			continue
		}
		if n == len(plain) {
			return false // longer than any of them
		}
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		plain[n] = c
		n++
	}
	return slices.Contains(secretNames, string(plain[:n]))
}

func quote(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return quoted
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// redactText takes activation codes out of free text.
func redactText(s string) string {
	if !strings.Contains(s, ":") {
		return s
	}
	return lpaCode.ReplaceAllString(s, redacted)
}
