package ingest

import (
	"errors"
	"fmt"
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
	_, _ = rw.Write([]byte(failure(r)))
}

// appendAnswer appends the same as an HTTP/1.1 response, for front.
func (f *front) appendAnswer(b []byte, err error, now time.Time, closing bool) []byte {
	if err == nil && !closing {
		b = append(b, successHead...)
		b = append(b, f.date(now)...)
		return append(b, successTail...)
	}
	status, body, more := http.StatusOK, string(success), ""
	if err != nil {
		r := refusalOf(err)
		status, body = r.status, failure(r)
		if r.retry > 0 {
			more += "Retry-After: " + strconv.Itoa(r.retry) + "\r\n"
		}
	}
	if closing {
		more += "Connection: close\r\n"
	}
	return fmt.Appendf(b, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%sDate: %s\r\n\r\n%s",
		status, http.StatusText(status), len(body), more, f.date(now), body)
}

const (
	successHead = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\nDate: "
	successTail = "\r\n\r\n" + `{"status":"SUCCESS"}`
)

// date is a second and its text in HTTP.
type date struct {
	second int64
	text   string
}

func (f *front) date(now time.Time) string {
	d := f.today.Load()
	if second := now.Unix(); d == nil || d.second != second {
		d = &date{second, now.UTC().Format(http.TimeFormat)}
		f.today.Store(d)
	}
	return d.text
}

func failure(r *refusal) string { return `{"status":"FAIL","reason":"` + r.reason + `"}` }

func refusalOf(err error) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	return errStore
}
