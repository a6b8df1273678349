package eiotclub

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"sort"
	"strconv"
	"strings"
	"time"
)

// params is a call's or a notification's JSON object with each value as the text that gets signed: a string without
// its quotes, a number as its literal digits, a nested value as it stands in the body, null as nothing.
type params map[string]string

func parseParams(body []byte) (params, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	var raw map[string]json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return nil, err
	}
	if raw == nil || dec.More() {
		return nil, errors.New("the body is not one JSON object")
	}
	p := make(params, len(raw))
	for k, v := range raw {
		switch {
		case len(v) > 0 && v[0] == '"':
			var s string
			if err := json.Unmarshal(v, &s); err != nil {
				return nil, err
			}
			p[k] = s
		case string(v) == "null":
			p[k] = ""
		default:
			p[k] = string(v)
		}
	}
	return p, nil
}

// Sign computes the signature of seed 002, section 签名(sign)算法 (D): every non-empty parameter but sign, sorted by
// name in ASCII order, joined as name=value with &, then &secret= and the secret; SHA-1 in upper-case hex.
//
// This is the simulator's own reading of the page; it shares no code with the client that it tests.
func Sign(p map[string]string, secret string) string {
	names := make([]string, 0, len(p))
	size := len("secret=") + len(secret)
	for k, v := range p {
		if k != "sign" && v != "" {
			names = append(names, k)
			size += len(k) + len(v) + 2
		}
	}
	sort.Strings(names)
	b := make([]byte, 0, size)
	for _, k := range names {
		b = append(append(append(append(b, k...), '='), p[k]...), '&')
	}
	b = append(append(b, "secret="...), secret...)
	sum := sha1.Sum(b)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// authenticate checks the four system parameters and returns the documented code of the first fault, or 0.
// The codes are D (错误代码); the order in which they are looked at, and 42204 for a timestamp that is no number and
// 43332 for a nonce that is no five-digit one, are I.
func (s *Sim) authenticate(p params, now time.Time) int {
	switch {
	case p["appkey"] == "":
		return 42101
	case p["appkey"] != s.cfg.AppKey:
		return 42102
	case p["timestamp"] == "":
		return 42201
	case p["nonce"] == "":
		return 42301
	case p["sign"] == "":
		return 42401
	}
	sec, err := strconv.ParseInt(p["timestamp"], 10, 64)
	if err != nil || len(p["timestamp"]) != 10 {
		return 42204
	}
	if d := now.Sub(time.Unix(sec, 0)); d > s.cfg.ClockTolerance || d < -s.cfg.ClockTolerance {
		return 42203
	}
	if n, err := strconv.Atoi(p["nonce"]); err != nil || n < 10000 || n > 99999 {
		return 43332
	}
	if p["sign"] != Sign(p, s.cfg.Secret) {
		return 42402
	}
	return 0
}

// text returns a trimmed parameter.
func (p params) text(name string) string { return strings.TrimSpace(p[name]) }

// number returns an integer parameter; ok is false when it is there and is not a number.
func (p params) number(name string, def int) (n int, ok bool) {
	if p[name] == "" {
		return def, true
	}
	n, err := strconv.Atoi(p[name])
	return n, err == nil
}

// list splits a comma separated parameter and drops empty parts.
func (p params) list(name string) []string {
	var out []string
	for _, v := range strings.Split(p[name], ",") {
		if v = strings.TrimSpace(v); v != "" {
			out = append(out, v)
		}
	}
	return out
}

// date reads a parameter written as 2006-01-02 15:04:05 in UTC+8; ok is false when it is there and unreadable.
func (p params) date(name string) (t time.Time, ok bool) {
	if p[name] == "" {
		return time.Time{}, true
	}
	t, err := time.ParseInLocation(time.DateTime, p[name], beijing)
	return t, err == nil
}

// beijing is the zone of every date in an answer. I: the document names none; its examples fit UTC+8 only (a
// notification of 2024-05-28 01:39 UTC speaks of an order made at 09:34:47).
var beijing = time.FixedZone("UTC+8", 8*3600)

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(beijing).Format(time.DateTime)
}
