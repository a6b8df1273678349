package eiotclub

import (
	"bytes"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"
)

// maxDepth bounds nesting in a notification; wire, which reads it inside its
// envelope later, allows a few levels more.
const maxDepth = 60

// MalformedError says why a body is not JSON that every reader reads alike.
type MalformedError struct {
	Offset int // bytes from the body's start
	Text   string
}

func (e *MalformedError) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Text) }

// kind is what a value is, by its first byte.
type kind byte

const (
	kindString kind = iota + 1
	kindScalar      // number, true, false: signed as its literal text
	kindNull        // signed as an empty value
	kindNested      // list or object: signed as its JSON, raw or compact
)

// member is one name and value of the outermost object.
type member struct {
	name []byte // decoded
	text []byte // what is signed: decoded string, literal number, raw JSON, nothing for null
	kind kind
	// spaced: a nested value holds white space that its compact form does not;
	// while text is the compact form, raw keeps the received one.
	spaced bool
	raw    []byte
}

// Scanner reads the raw tokens of one body in one pass, without maps or floats:
// what is signed must be exactly what was sent. It keeps its buffers, so that a
// warm one allocates nothing. Not for concurrent use.
type Scanner struct {
	body    []byte
	members []member
	scratch []byte   // decoded strings that held escapes
	names   []uint64 // hashes of the folded names of all open objects
	spaces  int      // white space skipped so far
	canon   []byte
}

// keepScratch is the most buffer that a scanner keeps for its next body, bytes.
const keepScratch = 64 << 10

// Scan reads body, which must be one JSON object in UTF-8. It refuses with a
// *MalformedError what two readers could take for different things: a byte
// order mark, bad UTF-8, lone surrogates, a name that stands twice in one object
// (in whatever case or spelling), anything after the object, and deep nesting.
// body must not change while the scanner is used.
func (s *Scanner) Scan(body []byte) error {
	s.reset()
	if bytes.HasPrefix(body, []byte("\xef\xbb\xbf")) {
		return s.bad(0, "byte order mark")
	}
	if !utf8.Valid(body) {
		return s.bad(0, "not valid UTF-8")
	}
	s.body = body
	i := s.space(0)
	if i == len(body) {
		return s.bad(i, "empty")
	}
	if body[i] != '{' {
		return s.bad(i, "not an object")
	}
	start := i
	i, err := s.object(i, 1)
	if err != nil {
		return err
	}
	if end := s.space(i); end != len(body) {
		return s.bad(end, "more than one value")
	}
	s.body = body[start:i]
	return nil
}

// Body is what was scanned without the white space around it.
func (s *Scanner) Body() []byte { return s.body }

// Text is the text of the outermost object's value under name, as it is signed;
// nil if there is none. It is valid until the next Scan.
func (s *Scanner) Text(name string) []byte {
	for i := range s.members {
		if string(s.members[i].name) == name {
			return s.members[i].text
		}
	}
	return nil
}

func (s *Scanner) reset() {
	clear(s.members) // drop references into the last body
	s.body, s.members, s.names, s.spaces = nil, s.members[:0], s.names[:0], 0
	if cap(s.scratch) > keepScratch || cap(s.canon) > keepScratch || cap(s.members) > 1024 || cap(s.names) > 8192 {
		*s = Scanner{}
	}
	s.scratch, s.canon = s.scratch[:0], s.canon[:0]
}

func (s *Scanner) bad(at int, text string) error { return &MalformedError{Offset: at, Text: text} }

func (s *Scanner) space(i int) int {
	start := i
	for i < len(s.body) && (s.body[i] == ' ' || s.body[i] == '\n' || s.body[i] == '\t' || s.body[i] == '\r') {
		i++
	}
	s.spaces += i - start
	return i
}

// object reads the object at i; the outermost one (depth 1) leaves its members.
func (s *Scanner) object(i, depth int) (int, error) {
	if depth > maxDepth {
		return 0, s.bad(i, "nested too deep")
	}
	first := len(s.names)
	i = s.space(i + 1)
	if i < len(s.body) && s.body[i] == '}' {
		return i + 1, nil
	}
	for {
		if i >= len(s.body) || s.body[i] != '"' {
			return 0, s.bad(i, "no name where one must be")
		}
		at := i
		name, i2, err := s.str(i, true)
		if err != nil {
			return 0, err
		}
		if !s.addName(first, foldedHash(name)) {
			return 0, s.bad(at, "a name stands twice in one object")
		}
		i = s.space(i2)
		if i >= len(s.body) || s.body[i] != ':' {
			return 0, s.bad(i, "no colon after a name")
		}
		i = s.space(i + 1)
		if depth == 1 {
			var m member
			m, i, err = s.member(i)
			m.name = name
			s.members = append(s.members, m)
		} else {
			i, err = s.skip(i, depth)
		}
		if err != nil {
			return 0, err
		}
		i = s.space(i)
		switch {
		case i < len(s.body) && s.body[i] == ',':
			i = s.space(i + 1)
		case i < len(s.body) && s.body[i] == '}':
			if !s.closeNames(first) {
				return 0, s.bad(i, "a name stands twice in one object")
			}
			return i + 1, nil
		default:
			return 0, s.bad(i, "object not closed")
		}
	}
}

// member reads a value of the outermost object.
func (s *Scanner) member(i int) (m member, end int, err error) {
	if i < len(s.body) && s.body[i] == '"' {
		m.kind = kindString
		m.text, end, err = s.str(i, true)
		return m, end, err
	}
	before := s.spaces
	end, err = s.skip(i, 1)
	if err != nil {
		return m, 0, err
	}
	m.text = s.body[i:end]
	switch s.body[i] {
	case '{', '[':
		m.kind, m.spaced = kindNested, s.spaces != before
	case 'n':
		m.kind, m.text = kindNull, nil
	default:
		m.kind = kindScalar
	}
	return m, end, nil
}

// skip checks the value at i and returns where it ends.
func (s *Scanner) skip(i, depth int) (int, error) {
	if i >= len(s.body) {
		return 0, s.bad(i, "ends early")
	}
	switch c := s.body[i]; {
	case c == '"':
		_, end, err := s.str(i, false)
		return end, err
	case c == '{':
		return s.object(i, depth+1)
	case c == '[':
		return s.list(i, depth+1)
	case c == '-' || c >= '0' && c <= '9':
		return s.number(i)
	}
	for _, word := range []string{"true", "false", "null"} {
		if len(s.body)-i >= len(word) && string(s.body[i:i+len(word)]) == word {
			return i + len(word), nil
		}
	}
	return 0, s.bad(i, "no value where one must be")
}

func (s *Scanner) list(i, depth int) (int, error) {
	if depth > maxDepth {
		return 0, s.bad(i, "nested too deep")
	}
	i = s.space(i + 1)
	if i < len(s.body) && s.body[i] == ']' {
		return i + 1, nil
	}
	for {
		var err error
		if i, err = s.skip(i, depth); err != nil {
			return 0, err
		}
		i = s.space(i)
		switch {
		case i < len(s.body) && s.body[i] == ',':
			i = s.space(i + 1)
		case i < len(s.body) && s.body[i] == ']':
			return i + 1, nil
		default:
			return 0, s.bad(i, "list not closed")
		}
	}
}

func (s *Scanner) number(i int) (int, error) {
	digits := func() bool {
		start := i
		for i < len(s.body) && s.body[i] >= '0' && s.body[i] <= '9' {
			i++
		}
		return i > start
	}
	if s.body[i] == '-' {
		i++
	}
	if i < len(s.body) && s.body[i] == '0' {
		i++
	} else if !digits() {
		return 0, s.bad(i, "not a number")
	}
	if i < len(s.body) && s.body[i] == '.' {
		i++
		if !digits() {
			return 0, s.bad(i, "not a number")
		}
	}
	if i < len(s.body) && (s.body[i] == 'e' || s.body[i] == 'E') {
		i++
		if i < len(s.body) && (s.body[i] == '+' || s.body[i] == '-') {
			i++
		}
		if !digits() {
			return 0, s.bad(i, "not a number")
		}
	}
	return i, nil
}

// addName notes the hash of a name of the object whose names start at first. It
// is false if the name is there already; in a large object that is found when
// it closes, so that many names cost no more than sorting them.
func (s *Scanner) addName(first int, hash uint64) bool {
	own := s.names[first:]
	if len(own) < 32 && slices.Contains(own, hash) {
		return false
	}
	s.names = append(s.names, hash)
	return true
}

func (s *Scanner) closeNames(first int) bool {
	own := s.names[first:]
	s.names = s.names[:first]
	if len(own) <= 32 {
		return true
	}
	slices.Sort(own)
	for i := 1; i < len(own); i++ {
		if own[i] == own[i-1] {
			return false
		}
	}
	return true
}

// foldedHash is FNV-1a over the name's runes, each as the least of those that
// differ from it in case only: Go's decoder takes such names for one. That two
// different names meet in one hash is as likely as a broken disk.
func foldedHash(name []byte) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(name); {
		c := name[i]
		if c < utf8.RuneSelf {
			if c >= 'a' && c <= 'z' {
				c -= 'a' - 'A'
			}
			h = (h ^ uint64(c)) * 1099511628211
			i++
			continue
		}
		r, n := utf8.DecodeRune(name[i:])
		i += n
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		h = (h ^ uint64(least)) * 1099511628211
	}
	return h
}
