package eiotclub

import (
	"unicode/utf16"
	"unicode/utf8"
)

// str reads the string at i (its opening quote) and returns its decoded text, if
// that is wanted, and where it ends. Without escapes the text is the body's own
// bytes.
func (s *Scanner) str(i int, want bool) (text []byte, end int, err error) {
	start := i + 1
	for i = start; i < len(s.body); i++ {
		switch c := s.body[i]; {
		case c == '"':
			return s.body[start:i], i + 1, nil
		case c < 0x20:
			return nil, 0, s.bad(i, "control character in a string")
		case c == '\\':
			return s.escaped(start, i, want)
		}
	}
	return nil, 0, s.bad(i, "string not closed")
}

// escaped goes on with a string that began at start at its first backslash.
func (s *Scanner) escaped(start, i int, want bool) ([]byte, int, error) {
	from := len(s.scratch)
	if want {
		s.scratch = append(s.scratch, s.body[start:i]...)
	}
	for i < len(s.body) {
		c := s.body[i]
		switch {
		case c == '"':
			return s.scratch[from:len(s.scratch):len(s.scratch)], i + 1, nil
		case c < 0x20:
			return nil, 0, s.bad(i, "control character in a string")
		case c != '\\':
			run := i
			for i < len(s.body) && s.body[i] != '"' && s.body[i] != '\\' && s.body[i] >= 0x20 {
				i++
			}
			if want {
				s.scratch = append(s.scratch, s.body[run:i]...)
			}
		default:
			r, n := s.escape(i)
			if n == 0 {
				return nil, 0, s.bad(i, "bad escape or lone surrogate")
			}
			i += n
			if want {
				s.scratch = utf8.AppendRune(s.scratch, r)
			}
		}
	}
	return nil, 0, s.bad(i, "string not closed")
}

// escape decodes the escape at i; n is how many bytes it takes, 0 if it is bad.
func (s *Scanner) escape(i int) (r rune, n int) {
	if i+1 >= len(s.body) {
		return 0, 0
	}
	switch c := s.body[i+1]; c {
	case '"', '\\', '/':
		return rune(c), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r, ok := s.hex4(i + 2)
		if !ok {
			return 0, 0
		}
		if !utf16.IsSurrogate(r) {
			return r, 6
		}
		if i+7 >= len(s.body) || s.body[i+6] != '\\' || s.body[i+7] != 'u' {
			return 0, 0
		}
		low, ok := s.hex4(i + 8)
		if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
			return 0, 0
		}
		return r, 12
	}
	return 0, 0
}

func (s *Scanner) hex4(i int) (r rune, ok bool) {
	if i+4 > len(s.body) {
		return 0, false
	}
	for _, c := range s.body[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
