package archiver

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
)

// secretNames are the fields that install an eSIM, in our spelling and in the
// suppliers', without case and underscores.
var secretNames = map[string]bool{
	"activationcode": true, "qrcodeurl": true, "qrcode": true, "appleinstallurl": true, "directappleinstallurl": true,
	"lpa": true, "smdpaddress": true, "matchingid": true, "confirmationcode": true,
}

var lpaCode = regexp.MustCompile(`(?i)LPA:[^"\\\s]*`)

const redacted = "[left out]"

// mayHoldSecret is a cheap look that lets most messages pass as they are: does
// any of the names, the beginning of an activation code, or an escape that could
// spell them stand in b?
func mayHoldSecret(b []byte) bool {
	for i, c := range b {
		switch c | 0x20 {
		case 'a':
			if folds(b[i:], "activation") || folds(b[i:], "apple") {
				return true
			}
		case 'q':
			if folds(b[i:], "qr") {
				return true
			}
		case 'l':
			if folds(b[i:], "lpa") {
				return true
			}
		case 's':
			if folds(b[i:], "smdp") || folds(b[i:], "sm_dp") {
				return true
			}
		case 'm':
			if folds(b[i:], "matching") {
				return true
			}
		case 'c':
			if folds(b[i:], "confirmation") {
				return true
			}
		case '\\' | 0x20:
			if folds(b[i:], `\u`) {
				return true
			}
		}
	}
	return false
}

// folds says whether b begins with word, in whatever case.
func folds(b []byte, word string) bool {
	return len(b) >= len(word) && strings.EqualFold(string(b[:len(word)]), word)
}

// redact returns raw without what installs an eSIM, at any depth and inside
// strings that hold JSON themselves. Anything else is returned byte for byte.
func redact(raw json.RawMessage) string {
	if !mayHoldSecret(raw) {
		return string(raw)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return redacted // the envelope was checked, so this does not happen
	}
	clean, changed := scrub(v)
	if !changed {
		return string(raw)
	}
	out, err := marshal(clean)
	if err != nil {
		return redacted
	}
	return out
}

func scrub(v any) (clean any, changed bool) {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if secretNames[strings.ToLower(strings.ReplaceAll(name, "_", ""))] {
				if inner != nil && inner != "" {
					v[name], changed = redacted, true
				}
				continue
			}
			c, ch := scrub(inner)
			if ch {
				v[name], changed = c, true
			}
		}
		return v, changed
	case []any:
		for i, inner := range v {
			c, ch := scrub(inner)
			if ch {
				v[i], changed = c, true
			}
		}
		return v, changed
	case string:
		return scrubString(v)
	}
	return v, false
}

// scrubString looks into strings that hold JSON: EIOTCLUB sends data so.
func scrubString(s string) (any, bool) {
	if t := strings.TrimSpace(s); len(t) > 1 && (t[0] == '{' || t[0] == '[') {
		dec := json.NewDecoder(strings.NewReader(t))
		dec.UseNumber()
		var v any
		if dec.Decode(&v) == nil && !dec.More() {
			clean, changed := scrub(v)
			if !changed {
				return s, false
			}
			if out, err := marshal(clean); err == nil {
				return out, true
			}
			return redacted, true
		}
	}
	clean := redactText(s)
	return clean, clean != s
}

// redactText takes activation codes out of free text.
func redactText(s string) string {
	if !strings.Contains(s, ":") {
		return s
	}
	return lpaCode.ReplaceAllString(s, redacted)
}

func marshal(v any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
