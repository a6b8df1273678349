package esimfly

import (
	"encoding/json"
	"net/http"
	"regexp"
	"time"

	"github.com/simline/simline/internal/supplier"
)

// codes is what each error code means for an order. It counts only with a status
// that says the same, 400 to 499, but for a duplicate, which proves no refusal; a
// code that is not here is Unknown.
var codes = map[string]supplier.Kind{
	// D, 400.
	"MISSING_FIELDS":       supplier.Refused,
	"INVALID_PACKAGE":      supplier.Refused,
	"PRICE_MISMATCH":       supplier.Price,
	"INSUFFICIENT_BALANCE": supplier.NoFunds,
	// D, 401 and 403.
	"INVALID_SIGNATURE": supplier.Setup,
	"INVALID_USER":      supplier.Setup,
	// D, 500: the order may stand all the same.
	"ORDER_PROCESSING_ERROR": supplier.Unknown,

	// A repeated RT-RequestID is refused for 24 hours (D, without a code).
	"DUPLICATE_REQUEST":         supplier.Exists,
	"AUTH_DUPLICATE_REQUEST_ID": supplier.Exists,
	// A timestamp more than five minutes off (I); nothing was looked at beyond it.
	"INVALID_TIMESTAMP":      supplier.Setup,
	"AUTH_INVALID_TIMESTAMP": supplier.Setup,
	"AUTH_TIMESTAMP_EXPIRED": supplier.Setup,
	"AUTH_INVALID_SIGNATURE": supplier.Setup,
	// I, of the two things that the page demands of a request.
	"INVALID_QUANTITY":   supplier.Refused,
	"INVALID_REQUEST_ID": supplier.Setup,
	// 1,000 calls an hour and key (D, without a code).
	"RATE_LIMIT_EXCEEDED": supplier.Busy,
	// The status answer for a reference that is not there (I).
	"ORDER_NOT_FOUND": supplier.Unknown,
	"NOT_FOUND":       supplier.Unknown,
}

// notFound is our code for a 404 of the API's own form and without a code; one
// that is no JSON speaks of the address, not of the order.
const notFound = "(not found)"

// statuses is what an HTTP status means that comes without a code, as JSON of the
// API's own form. One from something in between proves nothing.
var statuses = map[int]supplier.Kind{
	http.StatusUnauthorized:    supplier.Setup, // D: "Missing authentication" has no code
	http.StatusForbidden:       supplier.Setup,
	http.StatusTooManyRequests: supplier.Busy,
}

// refusal is every answer that is not a success (D). Texts stand in error or in
// message, or in both.
type refusal struct {
	Success         bool   `json:"success"`
	Code            scalar `json:"code"`
	Message         scalar `json:"message"`
	Text            scalar `json:"error"`
	CurrentBalance  scalar `json:"currentBalance"`
	RequiredBalance scalar `json:"requiredBalance"`
}

// error is the refusal as an error: of its code's kind where code and status agree
// that nothing was bought, else Unknown.
func (r refusal) error(op string, a supplier.Answer, isJSON bool, now time.Time) error {
	code, message := string(r.Code), string(r.Message)
	if message == "" {
		message = string(r.Text)
	}
	kind := supplier.Unknown
	switch {
	case a.Status == http.StatusTooManyRequests: // whoever says it did not pass the call on
		kind = supplier.Busy
	case !isJSON || r.Success:
		code = "" // a stranger's answer, or one that contradicts itself
	case a.Status >= 500 || a.Status >= 300 && a.Status < 400:
	case code != "":
		// All of them are documented with a 4xx: one in an answer that calls itself
		// a success contradicts itself, and must not lead to a second purchase.
		if k, known := codes[code]; known && (a.Status >= 400 || k == supplier.Exists) {
			kind = k
		}
	default:
		if k, known := statuses[a.Status]; known {
			kind = k
		}
	}
	if kind == supplier.NoFunds && r.RequiredBalance != "" {
		message += ": has " + string(r.CurrentBalance) + ", needs " + string(r.RequiredBalance)
	}
	if code == "" {
		code = supplier.StatusCode(a.Status)
		if isJSON && a.Status == http.StatusNotFound {
			code = notFound
		}
	}
	if code[0] != '(' && !codeForm.MatchString(code) {
		code, kind = "(odd code)", supplier.Unknown
	}
	e := a.Error(op, kind, code, message, nil)
	if kind == supplier.Busy && e.RetryAfter == 0 {
		if reset := limitReset(a.Header, now); reset.After(now) {
			e.RetryAfter = min(reset.Sub(now), time.Hour) // the limit is counted by the hour
		}
	}
	return e
}

// codeForm is what a code looks like; the documented ones are capitals and _.
var codeForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// scalar is a field that must not make an answer unreadable when it is of another
// type than documented: a string's characters, anything else as the JSON it is,
// null empty.
type scalar string

// UnmarshalJSON takes any value.
func (s *scalar) UnmarshalJSON(b []byte) error {
	var text string
	switch {
	case json.Unmarshal(b, &text) == nil: // null leaves it empty
		*s = scalar(text)
	default:
		*s = scalar(b)
	}
	return nil
}
