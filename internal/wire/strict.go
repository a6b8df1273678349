package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// Reasons for which a message becomes a dead letter; header Simline-Reason.
const (
	ReasonMalformed      = "malformed"       // not JSON, or JSON that two readers could read differently
	ReasonSchema         = "schema"          // JSON, but not such a message
	ReasonMismatch       = "mismatch"        // subject and body disagree
	ReasonUnknownProduct = "unknown_product" // the supplier has no such product
	ReasonUnknownAccount = "unknown_account" // not in our configuration
	ReasonConflict       = "conflict"        // same order id, other body; or evidence that contradicts an order
	ReasonTooLarge       = "too_large"       // over the limit of its kind
	ReasonStale          = "stale"           // well signed, but too old
	ReasonMaxDeliveries  = "max_deliveries"  // given up after many tries
)

// Reasons lists them.
var Reasons = []string{ReasonMalformed, ReasonSchema, ReasonMismatch, ReasonUnknownProduct, ReasonUnknownAccount, ReasonConflict, ReasonTooLarge, ReasonStale, ReasonMaxDeliveries}

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

// decodeStrict fills v from b, refusing names that v does not have. odd says
// that b holds names that need the slow look (see seen).
func decodeStrict(b []byte, odd bool, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return schemaError("%s", explain(err))
	}
	if odd {
		return exactNames(b, reflect.TypeOf(v))
	}
	return nil
}

// explain says what encoding/json found in words for a stranger, without the
// names of our types.
func explain(err error) string {
	var wrongType *json.UnmarshalTypeError
	var wrongTime *time.ParseError
	switch {
	case errors.As(err, &wrongType) && wrongType.Field == "":
		return "a JSON " + wrongType.Value + " where an object belongs"
	case errors.As(err, &wrongType):
		parts := strings.Split(wrongType.Field, ".")
		parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" || p[0] >= 'A' && p[0] <= 'Z' }) // embedded types
		return fmt.Sprintf("%s is a JSON %s, and must not be", strings.Join(parts, "."), wrongType.Value)
	case errors.As(err, &wrongTime):
		return fmt.Sprintf("%.40s is no time as RFC 3339 writes it", wrongTime.Value)
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// exactNames refuses what encoding/json lets pass: a name that fits a field of
// t only when case is ignored. Our names are lower case throughout, so that only
// a document with an odd name needs it.
func exactNames(b []byte, t reflect.Type) error {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		return nil // raw JSON is free; money and times look for themselves
	}
	switch t.Kind() {
	case reflect.Struct:
		var members map[string]json.RawMessage
		if err := json.Unmarshal(b, &members); err != nil {
			return schemaError("%v", err)
		}
		known := fieldsOf(t)
		for name, raw := range members {
			ft, ok := known[name]
			if !ok {
				return schemaError("unknown field %.40q", name)
			}
			if err := exactNames(raw, ft); err != nil {
				return err
			}
		}
	case reflect.Slice:
		var items []json.RawMessage
		if err := json.Unmarshal(b, &items); err != nil {
			return schemaError("%v", err)
		}
		for _, raw := range items {
			if err := exactNames(raw, t.Elem()); err != nil {
				return err
			}
		}
	}
	return nil
}

var (
	unmarshaler = reflect.TypeFor[json.Unmarshaler]()
	fieldCache  sync.Map // reflect.Type → map[string]reflect.Type
)

// fieldsOf lists the JSON names of t's fields, those of embedded structs too.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if known, ok := fieldCache.Load(t); ok {
		return known.(map[string]reflect.Type)
	}
	known := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			known[name] = f.Type
		}
	}
	fieldCache.Store(t, known)
	return known
}

// checkTime refuses a moment that no message of ours can mean. What lies at the
// edge of the calendar cannot be written again in another zone.
func checkTime(name string, t time.Time) error {
	if y := t.Year(); y < 1900 || y > 2999 {
		return fmt.Errorf("%s is not between the years 1900 and 2999", name)
	}
	return nil
}
