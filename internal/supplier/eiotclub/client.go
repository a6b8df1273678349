package eiotclub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// Config is one account at EIOTCLUB.
type Config struct {
	// BaseURL without the path /api/v3; default https://oapi.eiotclub.com (D).
	BaseURL string
	// AppKey names the account and Secret signs its calls. Both are required.
	AppKey, Secret string
	// HTTP makes the calls; nil makes one with the defaults. Accounts may share it.
	HTTP *supplier.HTTP
	// Location is the zone of dates in answers and filters; default UTC+8 (I).
	Location *time.Location
}

// Client makes the calls of one account. It is safe for concurrent use.
type Client struct {
	cfg         Config
	http        *supplier.HTTP
	clockOffset atomic.Int64 // nanoseconds added to our clock in timestamps
	currency    atomic.Pointer[currencySeen]
}

// New makes a client. It makes no call.
func New(cfg Config) *Client {
	if cfg.BaseURL == "" {
		cfg.BaseURL = "https://oapi.eiotclub.com"
	}
	cfg.BaseURL = strings.TrimRight(cfg.BaseURL, "/")
	if cfg.HTTP == nil {
		cfg.HTTP = supplier.NewHTTP(supplier.HTTPConfig{})
	}
	if cfg.Location == nil {
		cfg.Location = notificationZone
	}
	return &Client{cfg: cfg, http: cfg.HTTP}
}

// Supplier is the name under which subjects and messages know this supplier.
func (c *Client) Supplier() string { return order.EIOTCLUB }

// AdjustClock adds offset to the timestamps that calls carry, for a machine whose
// clock is known to be wrong; an error of kind Setup brings the measured offset.
func (c *Client) AdjustClock(offset time.Duration) { c.clockOffset.Store(int64(offset)) }

// header is that of every call; nobody changes it.
var header = http.Header{"Content-Type": {"application/json;charset=utf-8"}, "Accept": {"application/json"}}

// call signs and makes one call. The envelope is there whenever the answer was
// one, beside an error as well: a duplicate refusal may carry the order in its data.
func (c *Client) call(ctx context.Context, op string, p params, until time.Time) (envelope, supplier.Answer, error) {
	now := c.http.Now().Add(time.Duration(c.clockOffset.Load()))
	answer, err := c.http.Do(ctx, supplier.Call{
		Op: op, Method: http.MethodPost, URL: c.cfg.BaseURL + "/api/v3/" + op,
		Header: header, Body: p.signed(c.cfg.AppKey, c.cfg.Secret, now), Until: until,
	})
	var e envelope
	if err == nil {
		e, err = decodeAnswer(op, answer)
	}
	c.http.Observe(op, observed(op, e, err), answer)
	return e, answer, err
}

// observed is the code as a metric may carry it: undocumented ones are one.
func observed(op string, e envelope, err error) string {
	if err == nil {
		return string(e.Code)
	}
	code := supplier.AsError(op, err).Code
	if _, known := codes[code]; !known && !strings.HasPrefix(code, "(") {
		return "(other)"
	}
	return code
}

// read makes a call that spends nothing and decodes its data into v.
func (c *Client) read(ctx context.Context, op string, p params, v any) (envelope, error) {
	e, answer, err := c.call(ctx, op, p, time.Time{})
	if err != nil {
		return e, err
	}
	if v == nil {
		return e, nil
	}
	if err := json.Unmarshal(e.Data, v); err != nil {
		return e, answer.Error(op, supplier.Unknown, "(odd data)", "", fmt.Errorf("decode data: %w", err))
	}
	return e, nil
}

// hasCode says whether err is the supplier's answer with one of these codes.
func hasCode(err error, codes ...string) bool {
	var e *supplier.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if e.Code == code {
			return true
		}
	}
	return false
}

// Time reads a date of an answer, "2023-02-20 20:55:05" in the account's zone, as
// UTC. Zero if it is empty or no date: no order hangs on it.
func (c *Client) Time(s string) time.Time {
	t, err := time.ParseInLocation(time.DateTime, s, c.cfg.Location)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// date writes t as filters want it.
func (c *Client) date(t time.Time) string { return t.In(c.cfg.Location).Format(time.DateTime) }
