package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Reasons for which a message becomes a dead letter; header Simline-Reason.
const (
	ReasonMalformed      = "malformed"       // not JSON, or JSON that two readers could read differently
	ReasonSchema         = "schema"          // JSON, but not such a message
	ReasonMismatch       = "mismatch"        // subject and body disagree
	ReasonUnknownProduct = "unknown_product" // the supplier has no such product
	ReasonUnknownAccount = "unknown_account" // not in our configuration
	ReasonConflict       = "conflict"        // same order id, other body
	ReasonTooLarge       = "too_large"       // over the limit of its kind
	ReasonStale          = "stale"           // well signed, but too old
	ReasonMaxDeliveries  = "max_deliveries"  // given up after many tries
)

// Error says why a message cannot be what it should be.
type Error struct {
	Reason string // one of the Reason constants
	Text   string // for a stranger to understand
}

func (e *Error) Error() string { return e.Reason + ": " + e.Text }

// ReasonOf is the dead-letter reason in err's chain, or ReasonMalformed.
func ReasonOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ReasonMalformed
}

func schemaError(format string, args ...any) error {
	return &Error{Reason: ReasonSchema, Text: fmt.Sprintf(format, args...)}
}

func malformed(format string, args ...any) error {
	return &Error{Reason: ReasonMalformed, Text: fmt.Sprintf(format, args...)}
}

// MaxMessage bounds what is decoded, in bytes.
const MaxMessage = 1 << 20

const maxDepth = 64

// CheckJSON refuses what two JSON readers could read differently: more than one
// value, a byte order mark, bad UTF-8, names given twice or in two cases within
// one object, and nesting deeper than 64.
func CheckJSON(b []byte) error {
	if len(b) > MaxMessage {
		return &Error{Reason: ReasonTooLarge, Text: fmt.Sprintf("%d bytes, over %d", len(b), MaxMessage)}
	}
	if !utf8.Valid(b) {
		return malformed("not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	type level struct {
		names map[string]bool // nil in an array
		name  bool            // the next token is a name
	}
	var stack []level
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return malformed("ends early")
		}
		if err != nil {
			return malformed("%v", err)
		}
		switch t := tok.(type) {
		case json.Delim:
			switch t {
			case '{':
				stack = append(stack, level{names: map[string]bool{}, name: true})
			case '[':
				stack = append(stack, level{})
			default:
				stack = stack[:len(stack)-1]
				if n := len(stack); n > 0 && stack[n-1].names != nil {
					stack[n-1].name = true
				}
			}
			if len(stack) > maxDepth {
				return malformed("nested deeper than %d", maxDepth)
			}
		default:
			n := len(stack)
			if n > 0 && stack[n-1].names != nil {
				if top := &stack[n-1]; top.name {
					key := strings.ToLower(tok.(string))
					if top.names[key] {
						return malformed("name %.40q stands twice in one object", tok)
					}
					top.names[key], top.name = true, false
					continue
				}
				stack[n-1].name = true
			}
		}
		if len(stack) == 0 {
			break
		}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return malformed("more than one JSON value")
	}
	return nil
}

// decodeStrict fills v from b, refusing names that v does not have.
func decodeStrict(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return schemaError("%v", err)
	}
	return nil
}
