package esimfly

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// Config is one account at eSIMfly.
type Config struct {
	// BaseURL without the path /api/v1/business; default https://esimfly.net (D).
	BaseURL string
	// AccessCode names the account and SecretKey signs its calls. Both are required.
	AccessCode, SecretKey string
	// HTTP makes the calls; nil makes one with the defaults. Accounts may share it.
	HTTP *supplier.HTTP
	// Budget hears what an answer's limit headers say is left of this hour's calls,
	// and when the count starts anew (zero if not told). Nil is none.
	Budget func(remaining int, reset time.Time)
}

// Client makes the calls of one account. It is safe for concurrent use.
type Client struct {
	cfg         Config
	http        *supplier.HTTP
	clockOffset atomic.Int64 // nanoseconds added to our clock in timestamps
}

// New makes a client. It makes no call.
func New(cfg Config) *Client {
	cfg.BaseURL = strings.TrimRight(cmp.Or(cfg.BaseURL, "https://esimfly.net"), "/")
	if cfg.HTTP == nil {
		cfg.HTTP = supplier.NewHTTP(supplier.HTTPConfig{})
	}
	if cfg.Budget == nil {
		cfg.Budget = func(int, time.Time) {}
	}
	return &Client{cfg: cfg, http: cfg.HTTP}
}

// Supplier is the name under which subjects and messages know this supplier.
func (c *Client) Supplier() string { return order.ESIMFly }

// AdjustClock adds offset to the timestamps that calls carry. eSIMfly refuses a
// timestamp more than five minutes off (P); such a refusal is an error of kind
// Setup that brings the offset measured by the answer's Date header.
func (c *Client) AdjustClock(offset time.Duration) { c.clockOffset.Store(int64(offset)) }

// RequestID is the RT-RequestID of an order's purchase: shaped like a UUID v4 as
// the supplier wants it, but a hash, so that every repeat of the same call by any
// worker carries the same one. The round makes it anew after a certain refusal.
func RequestID(orderID string, round int) string {
	sum := sha256.Sum256([]byte("simline esimfly order\x00" + orderID + "\x00" + strconv.Itoa(round)))
	var u uuid.UUID
	copy(u[:], sum[:])
	u[6] = u[6]&0x0f | 0x40 // version 4
	u[8] = u[8]&0x3f | 0x80 // RFC 9562 variant
	return u.String()
}

// RequestID is the function of that name, for those who hold a client.
func (c *Client) RequestID(orderID string, round int) string { return RequestID(orderID, round) }

// call signs and makes one call under /api/v1/business. The query is not signed
// (D: the body is, which a GET has not).
func (c *Client) call(ctx context.Context, op, method, pathAndQuery, requestID string, body []byte, until time.Time) (supplier.Answer, error) {
	now := c.http.Now().Add(time.Duration(c.clockOffset.Load()))
	timestamp := strconv.FormatInt(now.UnixMilli(), 10)
	header := http.Header{
		// Written as documented: the canonical Rt-Accesscode is the same by HTTP's
		// rules and not by every server's.
		"RT-AccessCode": {c.cfg.AccessCode},
		"RT-RequestID":  {requestID},
		"RT-Timestamp":  {timestamp},
		"RT-Signature":  {signature(c.cfg.SecretKey, timestamp, requestID, c.cfg.AccessCode, body)},
		"Accept":        {"application/json"},
	}
	if body != nil {
		header["Content-Type"] = []string{"application/json"}
	}
	answer, err := c.http.Do(ctx, supplier.Call{Op: op, Method: method, URL: c.cfg.BaseURL + "/api/v1/business" + pathAndQuery, Header: header, Body: body, Until: until})
	if err == nil {
		c.budget(answer)
	}
	return answer, err
}

// observe reports a call to the metrics once it is known what it was.
func (c *Client) observe(op string, a supplier.Answer, err error) {
	code := "ok"
	if err != nil {
		code = supplier.AsError(op, err).Code
		if _, known := codes[code]; !known && !strings.HasPrefix(code, "(") {
			code = "(other)"
		}
	}
	c.http.Observe(op, code, a)
}

// signature is upper-case hex HMAC-SHA256 over timestamp, request id, access code
// and the exact bytes of the body (D).
func signature(secret, timestamp, requestID, accessCode string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(timestamp + requestID + accessCode))
	mac.Write(body)
	return strings.ToUpper(hex.EncodeToString(mac.Sum(nil)))
}

// budget reads X-RateLimit-Remaining and -Reset (P), or the names without the X-.
func (c *Client) budget(a supplier.Answer) {
	remaining, err := strconv.Atoi(cmp.Or(a.Header.Get("X-RateLimit-Remaining"), a.Header.Get("RateLimit-Remaining")))
	if err != nil || remaining < 0 {
		return
	}
	c.cfg.Budget(remaining, limitReset(a.Header, c.http.Now()))
}

// limitReset is when the hour's count starts anew. The pages do not say in what
// form: seconds or milliseconds since 1970, seconds from now, or a date.
func limitReset(h http.Header, now time.Time) time.Time {
	v := cmp.Or(h.Get("X-RateLimit-Reset"), h.Get("RateLimit-Reset"))
	if n, err := strconv.ParseInt(v, 10, 64); err == nil && n >= 0 {
		switch {
		case n > 1e11:
			return time.UnixMilli(n).UTC()
		case n > 1e9:
			return time.Unix(n, 0).UTC()
		case n <= 86400:
			return now.Add(time.Duration(n) * time.Second).UTC()
		}
		return time.Time{}
	}
	if t, err := time.Parse(time.RFC3339, v); err == nil {
		return t.UTC()
	}
	if t, err := http.ParseTime(v); err == nil {
		return t.UTC()
	}
	return time.Time{}
}

// get makes a call that spends nothing, under a request id of its own, and
// decodes its answer into v.
func (c *Client) get(ctx context.Context, op, pathAndQuery string, v any) error {
	answer, err := c.call(ctx, op, http.MethodGet, pathAndQuery, uuid.NewString(), nil, time.Time{})
	if err == nil {
		err = decode(op, answer, c.http.Now(), v)
	}
	c.observe(op, answer, err)
	return err
}

// decode reads an answer into v, or says why it is none.
func decode(op string, a supplier.Answer, now time.Time, v any) error {
	var e refusal
	parse := json.Unmarshal(a.Body, &e)
	switch {
	case a.Status/100 == 2 && !json.Valid(a.Body):
		return a.Error(op, supplier.Unknown, "(not json)", "", parse)
	case a.Status/100 == 2 && parse != nil:
		return a.Error(op, supplier.Unknown, "(odd data)", "", parse)
	case a.Status/100 != 2 || !e.Success:
		return e.error(op, a, parse == nil, now)
	}
	if err := json.Unmarshal(a.Body, v); err != nil {
		return a.Error(op, supplier.Unknown, "(odd data)", "", err)
	}
	return nil
}
