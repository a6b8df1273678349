package eiotclub

import (
	"bytes"
	"crypto/sha1"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// param is one parameter of a call. What is signed is the text that is sent:
// literal is a number's digits, a string's raw characters.
type param struct {
	name, literal string
	number        bool
}

// params are a call's parameters. An empty one is left out of both body and
// signature, so that D's prose (drop empties) and D's sample (keep them) agree.
type params []param

func (p params) text(name, value string) params {
	if value == "" {
		return p
	}
	return append(p, param{name: name, literal: value})
}

func (p params) number(name string, value int) params {
	return append(p, param{name: name, literal: strconv.Itoa(value), number: true})
}

// digits sends value as a JSON number if it is a plain one, for the ids that the
// document calls integers; else as a string, and the supplier may judge it.
func (p params) digits(name, value string) params {
	plain := value != "" && len(value) <= 18 && value[0] != '0' && !strings.ContainsFunc(value, func(r rune) bool { return r < '0' || r > '9' })
	if !plain {
		return p.text(name, value)
	}
	return append(p, param{name: name, literal: value, number: true})
}

// list joins ids with commas (D).
func (p params) list(name string, ids []string) params { return p.text(name, strings.Join(ids, ",")) }

// signed is the body of a call: the parameters, the four of the system, sorted.
func (p params) signed(appKey, secret string, now time.Time) []byte {
	var few [12]param // on the stack, which has room for nearly all calls
	all := append(append(params(few[:0]), p...),
		param{name: "appkey", literal: appKey},
		param{name: "timestamp", literal: strconv.FormatInt(now.Unix(), 10), number: true},
		param{name: "nonce", literal: strconv.Itoa(10000 + rand.IntN(90000)), number: true}) // D: five digits
	all = append(all, param{name: "sign", literal: all.signature(secret)})
	size := len("}")
	for _, one := range all {
		size += len(one.name) + len(one.literal) + len(`,"":""`)
	}
	b := make([]byte, 0, size)
	for i, one := range all {
		b = append(b, "{,"[min(i, 1)], '"')
		b = append(append(b, one.name...), '"', ':') // D's names need no escaping
		if one.number {
			b = append(b, one.literal...)
		} else {
			b = appendText(b, one.literal)
		}
	}
	return append(b, '}')
}

// appendText appends s quoted. What is signed is the raw text, so nothing is escaped
// that need not be.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			var quoted bytes.Buffer
			enc := json.NewEncoder(&quoted)
			enc.SetEscapeHTML(false)
			_ = enc.Encode(s) // a string into a buffer cannot fail
			return append(b, bytes.TrimSuffix(quoted.Bytes(), []byte("\n"))...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// signature is the upper-case SHA-1 of the parameters, sorted by name, as
// name=value&…&secret=SECRET with raw values (D, with a vector). It sorts p.
//
// The Java sample sorts whole pairs, which differs only where one name begins
// with another and a digit follows; no call of ours has two such names.
func (p params) signature(secret string) string {
	slices.SortFunc(p, func(a, b param) int { return strings.Compare(a.name, b.name) })
	b := make([]byte, 0, 512)
	for _, one := range p {
		if one.literal == "" {
			continue
		}
		b = append(append(append(append(b, one.name...), '='), one.literal...), '&')
	}
	b = append(append(b, "secret="...), secret...)
	sum := sha1.Sum(b)
	out := make([]byte, 0, 2*len(sum))
	for _, c := range sum {
		out = append(out, "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
	}
	return string(out)
}
