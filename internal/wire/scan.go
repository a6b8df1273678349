package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxMessage bounds what is decoded, in bytes.
const MaxMessage = 1 << 20

const maxDepth = 64

// CheckJSON refuses what two JSON readers could read differently: more than one
// value, a byte order mark, bad UTF-8, half of a surrogate pair, names given
// twice or in two cases within one object, and nesting deeper than 64. Its error
// is an *Error.
func CheckJSON(b []byte) error {
	_, err := scan(b, 0)
	return err
}

// seen is what a scan saw besides faults.
type seen struct {
	// odd: some name, at whatever depth, is not plain, so that encoding/json could
	// match it to a field although it is not that field's name.
	odd bool
	// envelope: the outermost object has the name specversion.
	envelope bool
}

// scan is CheckJSON, for a value that stands within so many objects, and says what it
// saw.
func scan(b []byte, within int) (seen, error) {
	if len(b) > MaxMessage {
		return seen{}, &Error{Reason: ReasonTooLarge, Text: fmt.Sprintf("%d bytes, over %d", len(b), MaxMessage)}
	}
	if !utf8.Valid(b) {
		return seen{}, malformed("not valid UTF-8")
	}
	if !json.Valid(b) {
		var v json.RawMessage
		return seen{}, malformed("%v", json.Unmarshal(b, &v))
	}
	// From here on b is one JSON value, so the walk need not look for ends.
	s := scanner{b: b, within: within}
	if err := s.walk(); err != nil {
		return seen{}, err
	}
	return s.seen, nil
}

type scanner struct {
	seen
	b      []byte
	within int // objects around b
	stack  []frame
	names  [][]byte // of the open objects, folded, innermost last
}

// frame is one open object or array.
type frame struct {
	object bool
	name   bool // an object's next string is a name
	first  int  // where the object's names begin in scanner.names
	many   map[string]bool
}

func (s *scanner) walk() error {
	for i := 0; i < len(s.b); i++ {
		switch s.b[i] {
		case '{', '[':
			object := s.b[i] == '{'
			s.stack = append(s.stack, frame{object: object, name: object, first: len(s.names)})
			if s.within+len(s.stack) > maxDepth {
				return malformed("nested deeper than %d", maxDepth)
			}
		case '}', ']':
			top := s.stack[len(s.stack)-1]
			s.names = s.names[:top.first]
			s.stack = s.stack[:len(s.stack)-1]
		case ',':
			top := &s.stack[len(s.stack)-1]
			top.name = top.object
		case '"':
			end, err := s.text(i)
			if err != nil {
				return err
			}
			if n := len(s.stack); n > 0 && s.stack[n-1].name {
				s.stack[n-1].name = false
				if err := s.member(&s.stack[n-1], s.b[i:end+1]); err != nil {
					return err
				}
			}
			i = end
		}
	}
	return nil
}

// text returns the index of the quote that ends the string begun at start.
func (s *scanner) text(start int) (int, error) {
	for i := start + 1; ; i++ {
		switch s.b[i] {
		case '"':
			return i, nil
		case '\\':
			i++
			if s.b[i] != 'u' {
				continue
			}
			r := hex4(s.b[i+1:])
			i += 4
			if !utf16.IsSurrogate(r) {
				continue
			}
			if s.b[i+1] != '\\' || s.b[i+2] != 'u' || utf16.DecodeRune(r, hex4(s.b[i+3:])) == unicode.ReplacementChar {
				return 0, malformed("half of a surrogate pair at byte %d", i-5)
			}
			i += 6
		}
	}
}

func hex4(b []byte) rune {
	v, _ := strconv.ParseUint(string(b[:4]), 16, 32) // four hex digits: b is valid JSON
	return rune(v)
}

// member notes the name quoted in the object top, or refuses it as a repeat.
func (s *scanner) member(top *frame, quoted []byte) error {
	name := quoted[1 : len(quoted)-1]
	if !plain(name) {
		s.odd = true
		var text string
		if err := json.Unmarshal(quoted, &text); err != nil {
			return malformed("%v", err)
		}
		name = []byte(strings.Map(foldRune, text))
	}
	if len(s.stack) == 1 && string(name) == "specversion" {
		s.envelope = true
	}
	twice := top.many[string(name)]
	if top.many == nil {
		for _, n := range s.names[top.first:] {
			twice = twice || bytes.Equal(n, name)
		}
	}
	if twice {
		return malformed("name %.40s stands twice in one object", quoted)
	}
	s.names = append(s.names, name)
	switch {
	case top.many != nil:
		top.many[string(name)] = true
	case len(s.names)-top.first > 32: // a long object is not searched from its start each time
		top.many = map[string]bool{}
		for _, n := range s.names[top.first:] {
			top.many[string(n)] = true
		}
	}
	return nil
}

// plain says that name is of lower-case letters, digits and _, as all of ours
// are: its own folding.
func plain(name []byte) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return len(name) > 0
}

// foldRune is one rune for all that are equal when case is ignored, the lower
// case letter if there is an ASCII one: S, s and ſ are s.
func foldRune(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	if 'A' <= least && least <= 'Z' {
		return least - 'A' + 'a'
	}
	return least
}
