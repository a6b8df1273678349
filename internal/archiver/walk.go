package archiver

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/simline/simline/internal/warehouse"
)

// A walk reads JSON where it lies: archiver spends its time on it, and
// encoding/json costs five times as much. It checks the grammar but for the
// inside of strings, which decoding checks. Over a string what it finds are parts
// of that string, so that reading a message copies nothing.

type jsonText interface{ ~string | ~[]byte }

var errJSON = errors.New("not JSON")

// skipSpace returns where b goes on behind white space.
func skipSpace[T jsonText](b T, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// inString are the bytes that mean nothing else inside a string.
var inString = func() (plain [256]bool) {
	for c := 0x20; c < 256; c++ {
		plain[c] = c != '"' && c != '\\'
	}
	return plain
}()

// skipString returns where the string that begins at i ends, -1 if it does not.
func skipString[T jsonText](b T, i int) int {
	for i++; i < len(b); i++ {
		if inString[b[i]] {
			continue
		}
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		default:
			return -1
		}
	}
	return -1
}

// skipValue returns where the value that begins at i ends, -1 if it is none.
func skipValue[T jsonText](b T, i, depth int) int {
	if i >= len(b) || depth > 100 {
		return -1
	}
	switch c := b[i]; {
	case c == '"':
		return skipString(b, i)
	case c == '{', c == '[':
		end := c + 2 // '}' or ']'
		i = skipSpace(b, i+1)
		if i < len(b) && b[i] == end {
			return i + 1
		}
		for {
			if c == '{' {
				if i >= len(b) || b[i] != '"' {
					return -1
				}
				if i = skipString(b, i); i < 0 {
					return -1
				}
				if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
					return -1
				}
				i = skipSpace(b, i+1)
			}
			if i = skipValue(b, i, depth+1); i < 0 {
				return -1
			}
			i = skipSpace(b, i)
			switch {
			case i < len(b) && b[i] == ',':
				i = skipSpace(b, i+1)
			case i < len(b) && b[i] == end:
				return i + 1
			default:
				return -1
			}
		}
	}
	start := i
	for i < len(b) && (b[i] >= '0' && b[i] <= '9' || b[i] >= 'a' && b[i] <= 'z' || b[i] == '-' || b[i] == '+' || b[i] == '.' || b[i] == 'E') {
		i++
	}
	switch word := b[start:i]; {
	case len(word) == 0:
		return -1
	case word[0] >= 'a':
		if string(word) != "null" && string(word) != "true" && string(word) != "false" {
			return -1
		}
	case !isNumber(string(word)):
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

// walkObject calls each for every member of the object that b is, from its first
// byte to its last. name is raw: what was written with escapes is not found.
func walkObject[T jsonText](b T, each func(name, value T) error) error {
	if len(b) < 2 || b[0] != '{' {
		return errJSON
	}
	i := skipSpace(b, 1)
	if i < len(b) && b[i] == '}' {
		if i+1 != len(b) {
			return errJSON
		}
		return nil
	}
	for {
		if i >= len(b) || b[i] != '"' {
			return errJSON
		}
		end := skipString(b, i)
		if end < 0 {
			return errJSON
		}
		name := b[i+1 : end-1]
		if i = skipSpace(b, end); i >= len(b) || b[i] != ':' {
			return errJSON
		}
		i = skipSpace(b, i+1)
		if end = skipValue(b, i, 0); end < 0 {
			return errJSON
		}
		if err := each(name, b[i:end]); err != nil {
			return fmt.Errorf("%s: %w", string(name), err)
		}
		if i = skipSpace(b, end); i >= len(b) {
			return errJSON
		}
		switch b[i] {
		case ',':
			i = skipSpace(b, i+1)
		case '}':
			if i+1 != len(b) {
				return errJSON
			}
			return nil
		default:
			return errJSON
		}
	}
}

// walkList calls each for every item of the list that b is.
func walkList[T jsonText](b T, each func(value T) error) error {
	if string(b) == "null" {
		return nil
	}
	if len(b) < 2 || b[0] != '[' {
		return errJSON
	}
	i := skipSpace(b, 1)
	for i < len(b) && b[i] != ']' {
		end := skipValue(b, i, 0)
		if end < 0 {
			return errJSON
		}
		if err := each(b[i:end]); err != nil {
			return err
		}
		if i = skipSpace(b, end); i < len(b) && b[i] == ',' {
			i = skipSpace(b, i+1)
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
