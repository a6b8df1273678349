package eiotclub

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/simline/simline/internal/supplier"
)

// envelope is every answer (D): code is the string "200" on most endpoints and an
// integer on /esim/.
type envelope struct {
	Code    Text            `json:"code"`
	Message Text            `json:"message"`
	Data    json.RawMessage `json:"data"` // may be a part of the answer's body
	Total   Text            `json:"total"`
}

// succeeded: 200 is documented as success everywhere, 0 is the example of /esim/.
func (e envelope) succeeded() bool { return e.Code == "200" || e.Code == "0" }

// codeForm is what a code looks like; the documented ones have three to six digits.
var codeForm = regexp.MustCompile(`^-?[A-Za-z0-9_]{1,16}$`)

// decodeAnswer turns an HTTP answer into an envelope, or an error of the kind
// that its code has.
func decodeAnswer(op string, a supplier.Answer) (envelope, error) {
	var e envelope
	var parse error
	if !e.quick(a.Body) {
		e = envelope{}
		parse = json.Unmarshal(a.Body, &e)
	}
	if a.Status != http.StatusOK {
		// Whatever the body says: D has answers with HTTP 200 alone, so this came
		// from something in between, which may have passed the call on or not.
		return envelope{}, a.Error(op, supplier.Unknown, supplier.StatusCode(a.Status), string(e.Message), nil)
	}
	if parse != nil {
		return envelope{}, a.Error(op, supplier.Unknown, "(not json)", "", parse)
	}
	if e.succeeded() {
		return e, nil
	}
	code := string(e.Code)
	if !codeForm.MatchString(code) {
		return envelope{}, a.Error(op, supplier.Unknown, "(no code)", string(e.Message), nil)
	}
	return e, a.Error(op, KindOf(code), code, string(e.Message), nil)
}

var scanners = sync.Pool{New: func() any { return new(Scanner) }}

// find reads an object by the scanner that notifications are read by, which refuses
// more than encoding/json does. found are the members with these names. False: let
// encoding/json read it, which may find a name in another case, or what is wrong.
func (s *Scanner) find(b []byte, found []member, names ...string) bool {
	if s.Scan(b) != nil {
		return false
	}
	for _, m := range s.members {
		i := slices.IndexFunc(names, func(name string) bool { return string(m.name) == name })
		if i >= 0 {
			found[i] = m
		} else if slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(string(m.name), name) }) {
			return false
		}
	}
	return true
}

// quick reads b as encoding/json does, in a fraction of the time, if it is what
// nearly every answer is; if not, it returns false, and e is to be dropped.
func (e *envelope) quick(b []byte) bool {
	s := scanners.Get().(*Scanner)
	defer func() { s.reset(); scanners.Put(s) }()
	var found [4]member
	if !s.find(b, found[:], "code", "message", "data", "total") {
		return false
	}
	for i, to := range []*Text{&e.Code, &e.Message, nil, &e.Total} {
		switch m := found[i]; {
		case to == nil && m.kind == kindNull:
			e.Data = json.RawMessage("null")
		case to == nil && (m.kind == kindNested || m.kind == 0):
			e.Data = m.text
		case to != nil && m.kind != kindNested:
			*to = Text(m.text) // a string decoded, a number as it stands, nothing for null
		default:
			return false
		}
	}
	return true
}

// quickIDs reads two members of data that are ids, as quick reads an envelope.
func quickIDs(data []byte, first, second string) (a, b ID, ok bool) {
	s := scanners.Get().(*Scanner)
	defer func() { s.reset(); scanners.Put(s) }()
	var found [2]member
	if !s.find(data, found[:], first, second) {
		return "", "", false
	}
	for i, to := range []*ID{&a, &b} {
		text := string(found[i].text)
		switch found[i].kind {
		case kindNested:
			return "", "", false
		case kindScalar:
			if len(text) > 18 || strings.Trim(text, "0123456789") != "" {
				return "", "", false
			}
		}
		if text = strings.TrimSpace(text); len(text) > maxID {
			return "", "", false
		}
		if text != "0" {
			*to = ID(text)
		}
	}
	return a, b, true
}
