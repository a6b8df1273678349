package archiver

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/simline/simline/internal/warehouse"
)

// A walk reads JSON where it lies: archiver spends its time on it, and
// encoding/json costs five times as much. It checks the grammar but for the
// inside of strings, which decoding checks. What it finds are parts of the text,
// so that reading a message copies nothing.

var errJSON = errors.New("not JSON")

// skipSpace returns where s goes on behind white space.
func skipSpace(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\t' || s[i] == '\r') {
		i++
	}
	return i
}

// Bytes eight at a time: each is the lowest and the highest bit of all eight.
const (
	low8  = 0x0101010101010101
	high8 = 0x8080808080808080
)

// skipString returns where the string that begins at i ends, -1 if it does not.
func skipString(s string, i int) int {
	for i++; i < len(s); i++ {
		for i+8 <= len(s) {
			b := s[i : i+8]
			w := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 | uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
			quote, slash := w^low8*'"', w^low8*'\\'
			// The lowest byte that has its high bit here is the first which is a quote,
			// a backslash or below a space.
			if found := ((quote-low8)&^quote | (slash-low8)&^slash | (w-low8*' ')&^w) & high8; found != 0 {
				i += bits.TrailingZeros64(found) / 8
				break
			}
			i += 8
		}
		if i == len(s) {
			return -1
		}
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			i++
		case c < ' ':
			return -1
		}
	}
	return -1
}

// skipValue returns where the value that begins at i ends, -1 if it is none. On
// its way it shows r, if there is one, what may have to be left out.
func skipValue(s string, i, depth int, r *redactor) int {
	if i >= len(s) || depth > 100 {
		return -1
	}
	switch c := s[i]; {
	case c == '"':
		end := skipString(s, i)
		if r != nil && end >= 0 {
			r.text(i, end)
		}
		return end
	case c == '{', c == '[':
		end := c + 2 // '}' or ']'
		i = skipSpace(s, i+1)
		if i < len(s) && s[i] == end {
			return i + 1
		}
		for {
			within := r
			if c == '{' {
				name := i
				if i >= len(s) || s[i] != '"' {
					return -1
				}
				if i = skipString(s, i); i < 0 {
					return -1
				}
				if r != nil && isSecret(s[name+1:i-1]) {
					within = nil // it goes as a whole
				}
				if i = skipSpace(s, i); i >= len(s) || s[i] != ':' {
					return -1
				}
				i = skipSpace(s, i+1)
			}
			value := i
			if i = skipValue(s, i, depth+1, within); i < 0 {
				return -1
			}
			if within != r {
				r.secret(value, i)
			}
			i = skipSpace(s, i)
			switch {
			case i < len(s) && s[i] == ',':
				i = skipSpace(s, i+1)
			case i < len(s) && s[i] == end:
				return i + 1
			default:
				return -1
			}
		}
	}
	start := i
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'z' || s[i] == '-' || s[i] == '+' || s[i] == '.' || s[i] == 'E') {
		i++
	}
	switch word := s[start:i]; {
	case len(word) == 0:
		return -1
	case word[0] >= 'a':
		if word != "null" && word != "true" && word != "false" {
			return -1
		}
	case !isNumber(word):
		return -1
	}
	return i
}

// isNumber checks JSON's grammar of numbers.
func isNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	whole := digits(s)
	if whole == 0 || whole > 1 && s[0] == '0' {
		return false
	}
	if s = s[whole:]; strings.HasPrefix(s, ".") {
		n := digits(s[1:])
		if n == 0 {
			return false
		}
		s = s[1+n:]
	}
	if len(s) > 0 && (s[0] == 'e' || s[0] == 'E') {
		if s = s[1:]; len(s) > 0 && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		return len(s) > 0 && digits(s) == len(s)
	}
	return s == ""
}

// digits counts those that s begins with.
func digits(s string) (n int) {
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// walkObject calls each for every member of the object that s is, from its first
// byte to its last. name is raw: what was written with escapes is not found.
func walkObject(s string, each func(name, value string) error) error {
	if len(s) < 2 || s[len(s)-1] != '}' {
		return errJSON
	}
	return walkMembers(s, each)
}

// walkMembers is walkObject of an object that may also break off behind a comma.
func walkMembers(s string, each func(name, value string) error) error {
	if len(s) < 2 || s[0] != '{' {
		return errJSON
	}
	i := skipSpace(s, 1)
	if i < len(s) && s[i] == '}' {
		if i+1 != len(s) {
			return errJSON
		}
		return nil
	}
	for {
		if i >= len(s) || s[i] != '"' {
			return errJSON
		}
		end := skipString(s, i)
		if end < 0 {
			return errJSON
		}
		name := s[i+1 : end-1]
		if i = skipSpace(s, end); i >= len(s) || s[i] != ':' {
			return errJSON
		}
		i = skipSpace(s, i+1)
		if end = skipValue(s, i, 0, nil); end < 0 {
			return errJSON
		}
		if err := each(name, s[i:end]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if i = skipSpace(s, end); i >= len(s) {
			return errJSON
		}
		switch s[i] {
		case ',':
			if i+1 == len(s) {
				return nil
			}
			i = skipSpace(s, i+1)
		case '}':
			if i+1 != len(s) {
				return errJSON
			}
			return nil
		default:
			return errJSON
		}
	}
}

// walkList calls each for every item of the list that s is.
func walkList(s string, each func(value string) error) error {
	if s == "null" {
		return nil
	}
	if len(s) < 2 || s[0] != '[' {
		return errJSON
	}
	i := skipSpace(s, 1)
	for i < len(s) && s[i] != ']' {
		end := skipValue(s, i, 0, nil)
		if end < 0 {
			return errJSON
		}
		if err := each(s[i:end]); err != nil {
			return err
		}
		if i = skipSpace(s, end); i < len(s) && s[i] == ',' {
			i = skipSpace(s, i+1)
		}
	}
	return nil
}

// text is a string value; null is empty.
func text(v string) (string, error) {
	if len(v) >= 2 && v[0] == '"' {
		if in := v[1 : len(v)-1]; strings.IndexByte(in, '\\') < 0 {
			return in, nil
		}
	} else if v == "null" {
		return "", nil
	}
	var s string
	err := json.Unmarshal([]byte(v), &s)
	return s, err
}

// whole is an integer value; null is 0.
func whole(v string) (int64, error) {
	if v == "null" {
		return 0, nil
	}
	return strconv.ParseInt(v, 10, 64)
}

// moment is a time as our envelopes and records write it; null is none.
func moment(v string) (time.Time, error) {
	s, err := text(v)
	if err != nil || s == "" {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339Nano, s)
}

// moneyOf is {"amount":"1.25","currency":"USD"}; null is none.
func moneyOf(v string) (a warehouse.Amount, err error) {
	if v == "null" {
		return a, nil
	}
	err = walkObject(v, func(name, v string) (err error) {
		var s string
		switch name {
		case "amount":
			if s, err = text(v); err == nil {
				var ok bool
				if a.Micros, ok = warehouse.ParseMicros(s); !ok {
					err = fmt.Errorf("%.40q is no amount", s)
				}
			}
		case "currency":
			a.Currency, err = text(v)
		}
		return err
	})
	return a, err
}

// into stores the text of a value.
func into(to *string, v string) (err error) {
	*to, err = text(v)
	return err
}
