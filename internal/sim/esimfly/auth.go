package esimfly

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/simline/simline/internal/sim/fault"
)

// Sign is the signature of seed 003 (D): upper-case hex of HMAC-SHA256 over timestamp + request id + access code +
// body, over the very bytes that are sent. A GET has no body (I).
func Sign(timestamp, requestID, accessCode, body, secretKey string) string {
	m := hmac.New(sha256.New, []byte(secretKey))
	m.Write([]byte(timestamp + requestID + accessCode + body))
	return strings.ToUpper(hex.EncodeToString(m.Sum(nil)))
}

var uuid4 = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$`)

// authenticate checks the four headers. D: missing ones (401 without a code), a wrong signature (401), no business
// account (403). I: an unknown access code is an invalid user; the clock must be within five minutes; the id a UUID v4.
func (s *Sim) authenticate(c *call) (reply, bool) {
	h := c.r.Header
	access, ts, sign := h.Get("RT-AccessCode"), h.Get("RT-Timestamp"), h.Get("RT-Signature")
	if access == "" || ts == "" || sign == "" || c.id == "" {
		return reply{http.StatusUnauthorized, object{"success": false, "error": "Authentication required",
			"message": "Please provide either Bearer token or complete HMAC signature authentication"}}, true
	}
	if access != s.cfg.AccessCode || s.cfg.NotBusiness {
		return refusal("INVALID_USER"), true
	}
	ms, err := strconv.ParseInt(ts, 10, 64)
	if err != nil {
		return refusal("INVALID_TIMESTAMP"), true
	}
	if d := c.now.Sub(time.UnixMilli(ms)); d > s.cfg.ClockTolerance || d < -s.cfg.ClockTolerance {
		return refusal("INVALID_TIMESTAMP"), true
	}
	if sign != Sign(ts, c.id, access, string(c.body), s.cfg.SecretKey) {
		return refusal("INVALID_SIGNATURE"), true
	}
	if !s.cfg.AnyRequestID && !uuid4.MatchString(c.id) {
		return refusal("INVALID_REQUEST_ID"), true
	}
	return reply{}, false
}

// limit counts a call against 1000 an hour and key (D). I: the hour is a fixed window from its first call, the
// headers are the usual X-RateLimit ones with the window's end in Unix seconds, and a call refused here does not use
// up its RequestID.
func (s *Sim) limit(c *call, h http.Header) (reply, bool) {
	if s.cfg.RateLimit < 0 {
		return reply{}, false
	}
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.now.Sub(b.windowStart) >= time.Hour {
		b.windowStart, b.windowCalls = c.now, 0
	}
	b.windowCalls++
	reset := b.windowStart.Add(time.Hour)
	h.Set("X-RateLimit-Limit", strconv.Itoa(s.cfg.RateLimit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(max(s.cfg.RateLimit-b.windowCalls, 0)))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(reset.Unix(), 10))
	if b.windowCalls > s.cfg.RateLimit {
		h.Set("Retry-After", strconv.Itoa(int(reset.Sub(c.now)/time.Second)+1))
		return tooMany(), true
	}
	return reply{}, false
}

// used remembers one RequestID.
type used struct {
	at    time.Time
	first *reply // of the first request, once it is there
	order *Order
}

// once refuses a RequestID that was used within 24 hours (D: rejected, not replayed; its status and code are I) and
// otherwise runs the call under it. Of many equal calls at once exactly one runs.
func (s *Sim) once(c *call, do func(*call) reply) reply {
	b := s.book
	b.mu.Lock()
	for len(b.usedQueue) > 0 && c.now.Sub(b.used[b.usedQueue[0]].at) >= s.cfg.RequestIDsFor {
		delete(b.used, b.usedQueue[0])
		b.usedQueue = b.usedQueue[1:]
	}
	if u := b.used[c.id]; u != nil {
		defer b.mu.Unlock()
		if u.order != nil {
			u.order.Calls++
		}
		return s.duplicate(c, u)
	}
	u := &used{at: c.now}
	b.used[c.id] = u
	b.usedQueue = append(b.usedQueue, c.id)
	b.mu.Unlock()

	r := do(c)

	b.mu.Lock()
	defer b.mu.Unlock()
	u.first = &r
	if s.cfg.Burns == BurnPlaced && u.order == nil {
		u.at = time.Time{} // forgotten at the next call; taken again at once
		delete(b.used, c.id)
		for i := len(b.usedQueue) - 1; i >= 0; i-- {
			if b.usedQueue[i] == c.id {
				b.usedQueue = append(b.usedQueue[:i], b.usedQueue[i+1:]...)
				break
			}
		}
	}
	return r
}

// duplicate refuses, as faults of the point Duplicate say: their Code and Status replace the configured ones.
func (s *Sim) duplicate(c *call, u *used) reply {
	ids := []string{c.id}
	if u.order != nil {
		ids = append(ids, u.order.Reference)
	}
	rules := s.faults.Take(fault.Duplicate, c.r.Method+" "+c.r.URL.Path, ids...)
	if _, replay := fault.Has(rules, fault.DuplicateReplay); replay && u.first != nil {
		return *u.first
	}
	code, status := s.cfg.DuplicateCode, s.cfg.DuplicateStatus
	for _, r := range rules {
		if r.Code != "" {
			code, status = r.Code, errorForms[r.Code].status
		}
		if r.Status != 0 {
			status = r.Status
		}
	}
	if status == 0 {
		status = http.StatusConflict
	}
	text := errorForms[code].text
	if text == "" {
		text = "Duplicate request"
	}
	r := refuseAuth(status, code, text)
	if _, with := fault.Has(rules, fault.DuplicateWithData); with && u.order != nil {
		b := r.body.(object)
		b["orderReference"], b["status"] = u.order.Reference, u.order.status()
	}
	return r
}
