package wire

import (
	"bytes"
	"encoding/json"
	"strconv"
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
	var given [18][]byte // the names so far; there are no more to a request
	p, ok := past(b, '{')
	for i := 0; ok && i < len(given); i++ {
		if p, ok = past(p, '"'); !ok {
			return false
		}
		end := bytes.IndexByte(p, '"')
		if end < 0 {
			return false
		}
		given[i] = p[:end] // one of ours, or member refuses it
		if p, ok = past(p[end+1:], ':'); !ok {
			return false
		}
		p = trim(p)
		n := valueLen(p)
		if n == 0 || twice(given[:i+1]) || !in.member(string(given[i]), p[:n]) {
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
func twice(names [][]byte) bool {
	last := len(names) - 1
	for _, n := range names[:last] {
		if bytes.Equal(n, names[last]) {
			return true
		}
	}
	return false
}

// trim is b without the white space that it begins with.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\t' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}

// past is what follows c, which is to stand behind white space at most.
func past(b []byte, c byte) (rest []byte, ok bool) {
	if b = trim(b); len(b) == 0 || b[0] != c {
		return nil, false
	}
	return b[1:], true
}

// valueLen is the length of the value that b begins with; 0 if it is neither a
// string without escapes, nor an object that is sound and without odd names, nor a
// whole number of at most nine digits.
func valueLen(b []byte) int {
	n := 0
	switch {
	case len(b) == 0:
	case b[0] == '"':
		for i, c := range b[1:] {
			switch {
			case c == '"':
				return i + 2
			case c == '\\' || c < 0x20:
				return 0
			}
		}
	case b[0] == '{':
		n = objectLen(b)
		if saw, err := scan(b[:n], 1); err != nil || saw.odd {
			return 0
		}
	default:
		for n < len(b) && b[n] >= '0' && b[n] <= '9' {
			n++
		}
		if n > 9 || n > 1 && b[0] == '0' || n < len(b) && (b[n] == '.' || b[n] == 'e' || b[n] == 'E') {
			return 0
		}
	}
	return n
}

// objectLen is where the braces of an object that b may begin with are even; 0 if
// they never are.
func objectLen(b []byte) int {
	depth, text := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
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
func (in *requestIn) member(name string, raw []byte) bool {
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
		in.Metadata = json.RawMessage(bytes.Clone(raw))
		return raw[0] == '{'
	}
	if raw[0] != '"' {
		return false
	}
	text := string(raw[1 : len(raw)-1])
	switch name {
	case "order_id":
		in.OrderID = text
	case "supplier":
		in.Supplier = text
	case "product":
		in.Product = text
	case "account":
		in.Account = &text
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
		return in.ExpiresAt.UnmarshalJSON(raw) == nil
	default:
		return false
	}
	return true
}

func number(dst **int, raw []byte) bool {
	n, err := strconv.Atoi(string(raw))
	*dst = &n
	return err == nil
}

func money(dst **order.Money, raw []byte) bool {
	*dst = new(order.Money)
	return raw[0] == '{' && (*dst).UnmarshalJSON(raw) == nil
}
