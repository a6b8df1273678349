package ingest

import (
	"errors"
	"net/http"
	"strconv"
	"time"
)

// refusal is why a request is not taken: its status for the sender and its
// reason for our counters. The sender learns no more than that.
type refusal struct {
	status int
	reason string
	retry  int // seconds for Retry-After, 0 for none
}

func (r *refusal) Error() string { return r.reason }

// Everything that ingest can answer but SUCCESS.
var (
	errPath      = &refusal{status: http.StatusNotFound, reason: "path"}
	errAccount   = &refusal{status: http.StatusNotFound, reason: "account"}
	errSecret    = &refusal{status: http.StatusNotFound, reason: "path_secret"}
	errMethod    = &refusal{status: http.StatusMethodNotAllowed, reason: "method"}
	errSender    = &refusal{status: http.StatusForbidden, reason: "sender"}
	errEncoding  = &refusal{status: http.StatusUnsupportedMediaType, reason: "encoding"}
	errTooLarge  = &refusal{status: http.StatusRequestEntityTooLarge, reason: "too_large"}
	errCutShort  = &refusal{status: http.StatusBadRequest, reason: "cut_short"}
	errSlow      = &refusal{status: http.StatusRequestTimeout, reason: "slow"}
	errMalformed = &refusal{status: http.StatusBadRequest, reason: "malformed"}
	errUnsigned  = &refusal{status: http.StatusUnauthorized, reason: "no_signature"}
	errSignature = &refusal{status: http.StatusUnauthorized, reason: "bad_signature"}
	errOverload  = &refusal{status: http.StatusServiceUnavailable, reason: "overload", retry: 1}
	errStore     = &refusal{status: http.StatusServiceUnavailable, reason: "not_stored", retry: 5}
)

var refusals = []*refusal{errPath, errAccount, errSecret, errMethod, errSender, errEncoding, errTooLarge, errCutShort, errSlow,
	errMalformed, errUnsigned, errSignature, errOverload, errStore}

// Header values that are the same in each answer are made once.
var (
	jsonType     = []string{"application/json"}
	allowPost    = []string{http.MethodPost}
	success      = []byte(`{"status":"SUCCESS"}`)
	successBytes = []string{strconv.Itoa(len(success))}
)

// answer writes what became of a request; nil is SUCCESS.
func answer(rw http.ResponseWriter, err error) {
	h := rw.Header()
	h["Content-Type"] = jsonType
	if err == nil {
		h["Content-Length"] = successBytes
		_, _ = rw.Write(success) // who is gone by now sends it again, and it is dropped as known
		return
	}
	r := refusalOf(err)
	if r.retry > 0 {
		h["Retry-After"] = []string{strconv.Itoa(r.retry)}
	}
	if r == errMethod {
		h["Allow"] = allowPost
	}
	if r == errTooLarge || r == errSlow || r == errCutShort || r == errEncoding {
		// The rest of the body is not waited for.
		h["Connection"] = []string{"close"}
		_ = http.NewResponseController(rw).SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	}
	rw.WriteHeader(r.status)
	_, _ = rw.Write([]byte(`{"status":"FAIL","reason":"` + r.reason + `"}`))
}

func refusalOf(err error) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	return errStore
}
