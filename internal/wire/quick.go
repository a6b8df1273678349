package wire

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/simline/simline/internal/order"
)

// requestIn is a request as it comes: the outer fields win over the embedded ones
// and tell absent from empty.
type requestIn struct {
	order.Request
	Account      *string `json:"account"`
	Quantity     *int    `json:"quantity"`
	DurationDays *int    `json:"duration_days"`
}

// quick fills in from b, which nobody has looked at yet, as open and encoding/json
// do, in a fraction of the time. It knows only what nearly every bare request looks
// like; at anything else, sound or not, it returns false, and in is to be dropped.
func (in *requestIn) quick(b []byte) bool {
	if len(b) > MaxMessage || !utf8.Valid(b) {
		return false
	}
	var given [18]string          // the names so far; there are no more to a request
	p, ok := past(string(b), '{') // of which the members are parts
	for i := 0; ok && i < len(given); i++ {
		if p, ok = past(p, '"'); !ok {
			return false
		}
		end := strings.IndexByte(p, '"')
		if end < 0 {
			return false
		}
		given[i] = p[:end] // one of ours, or member refuses it
		if p, ok = past(p[end+1:], ':'); !ok {
			return false
		}
		p = trim(p)
		n := valueLen(p)
		if n == 0 || twice(given[:i+1]) || !in.member(given[i], p[:n]) {
			return false
		}
		if rest, last := past(p[n:], '}'); last {
			return len(trim(rest)) == 0
		}
		p, ok = past(p[n:], ',')
	}
	return false
}

// twice says whether the last name was there before.
func twice(names []string) bool {
	last := len(names) - 1
	return slices.Contains(names[:last], names[last])
}

// trim is s without the white space that it begins with.
func trim(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\n' || s[0] == '\t' || s[0] == '\r') {
		s = s[1:]
	}
	return s
}

// past is what follows c, which is to stand behind white space at most.
func past(s string, c byte) (rest string, ok bool) {
	if s = trim(s); len(s) == 0 || s[0] != c {
		return "", false
	}
	return s[1:], true
}

// valueLen is the length of the value that s begins with; 0 if it is neither a
// string without escapes, nor an object that is sound and without odd names, nor a
// whole number of at most nine digits.
func valueLen(s string) int {
	n := 0
	switch {
	case len(s) == 0:
	case s[0] == '"':
		for i := 1; i < len(s); i++ {
			switch c := s[i]; {
			case c == '"':
				return i + 1
			case c == '\\' || c < 0x20:
				return 0
			}
		}
	case s[0] == '{':
		if n = objectLen(s); s[:n] == "{}" {
			return n
		}
		if saw, err := scan([]byte(s[:n]), 1); err != nil || saw.odd {
			return 0
		}
	default:
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		if n > 9 || n > 1 && s[0] == '0' || n < len(s) && (s[n] == '.' || s[n] == 'e' || s[n] == 'E') {
			return 0
		}
	}
	return n
}

// objectLen is where the braces of an object that s may begin with are even; 0 if
// they never are.
func objectLen(s string) int {
	depth, text := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// member takes one member; false if it is not what it should be.
func (in *requestIn) member(name, raw string) bool {
	switch name {
	case "quantity":
		return number(&in.Quantity, raw)
	case "duration_days":
		return number(&in.DurationDays, raw)
	case "price":
		return money(&in.Price, raw)
	case "max_total":
		return money(&in.MaxTotal, raw)
	case "metadata":
		in.Metadata = json.RawMessage(raw)
		return raw[0] == '{'
	}
	if raw[0] != '"' {
		return false
	}
	text := raw[1 : len(raw)-1]
	switch name {
	case "order_id":
		in.OrderID = text
	case "supplier":
		in.Supplier = text
	case "product":
		in.Product = text
	case "account":
		account := text // of which alone there is a pointer
		in.Account = &account
	case "iccid":
		in.ICCID = text
	case "eid":
		in.EID = text
	case "goods_code":
		in.GoodsCode = text
	case "pool_object_id":
		in.PoolObjectID = text
	case "pool_type_code":
		in.PoolTypeCode = text
	case "package_code":
		in.PackageCode = text
	case "package_name":
		in.PackageName = text
	case "flag_url":
		in.FlagURL = text
	case "expires_at":
		in.ExpiresAt = new(time.Time)
		return in.ExpiresAt.UnmarshalJSON([]byte(raw)) == nil
	default:
		return false
	}
	return true
}

func number(dst **int, raw string) bool {
	n, err := strconv.Atoi(raw)
	*dst = &n
	return err == nil
}

func money(dst **order.Money, raw string) bool {
	*dst = new(order.Money)
	return raw[0] == '{' && (*dst).UnmarshalJSON([]byte(raw)) == nil
}
