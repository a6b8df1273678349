package cdr

import (
	"bytes"
	"time"

	"github.com/cespare/xxhash/v2"
)

const (
	columns = 8
	// MaxLine is the longest line looked at, in bytes; a good row has about 120.
	MaxLine = 4096
	// MaxUsage is the most one record can hold: 100 TB is a day at 10 Gbit/s.
	MaxUsage = int64(100e12)
	// MaxAge is how long before its file's window a record may have started.
	MaxAge = 31 * 24 * time.Hour
)

// Rules are what a row is checked against beyond its own form.
type Rules struct {
	// WindowStart and WindowEnd are the file's window. Rows that started more
	// than MaxAge before it are bad; rows merely outside it are good and counted.
	WindowStart, WindowEnd time.Time
	// Now is the time of reading; a record that starts later is bad. Zero
	// switches the check off (re-reading old files needs no clock).
	Now time.Time
}

// limits is Rules in the unit of the rows.
type limits struct {
	winStart, winEnd int64
	oldest, newest   int64
}

func newLimits(r Rules) limits {
	l := limits{oldest: -1 << 62, newest: 1 << 62, winStart: -1 << 62, winEnd: 1 << 62}
	if !r.WindowStart.IsZero() {
		l.winStart, l.winEnd = r.WindowStart.Unix(), r.WindowEnd.Unix()
		l.oldest = r.WindowStart.Add(-MaxAge).Unix()
	}
	if !r.Now.IsZero() {
		l.newest = r.Now.Unix()
	}
	return l
}

// parser turns one line into one row. It holds nothing but a cache and scratch.
type parser struct {
	limits
	dayText [10]byte // the last date seen: nearly every row of a file has the same
	dayUnix int64
	canon   []byte // scratch for the slow path
}

// line parses one line without its line end. The canonical form (no quotes, no
// blanks, no signs) takes the fast path; whatever it refuses is looked at again
// slowly, so the fast path never has to explain itself.
func (p *parser) line(b []byte, r *Row) Reason {
	if p.fast(b, r) {
		r.Hash = xxhash.Sum64(b)
		return p.check(r)
	}
	reason := p.slow(b, r)
	if reason != "" {
		return reason
	}
	return p.check(r)
}

// check applies what concerns the row as a whole.
func (p *parser) check(r *Row) Reason {
	switch {
	case r.Usage > MaxUsage:
		return ReasonUsageAbsurd
	case r.Stop < r.Start:
		return ReasonStopBeforeStart
	case int64(r.Start) > p.newest:
		return ReasonFuture
	case int64(r.Start) < p.oldest:
		return ReasonTooOld
	}
	return ""
}

// outside reports whether a good row started or ended outside the file's window.
func (p *parser) outside(r *Row) bool {
	return int64(r.Start) < p.winStart || int64(r.Stop) < p.winStart || int64(r.Stop) >= p.winEnd
}

// fast parses the canonical form in one walk over the bytes and reports false
// for everything else.
func (p *parser) fast(b []byte, r *Row) bool {
	// 1 id + 19 + 19 times + 18 iccid + 1 usage + 5 mccmnc + 7 commas.
	if len(b) < 70 || len(b) > 160 {
		return false
	}
	var n int
	var ok bool
	if r.ID, n, ok = number(b); !ok || n+41 > len(b) {
		return false
	}
	b = b[n+1:]
	if b[19] != ',' || b[39] != ',' {
		return false
	}
	start, ok1 := p.time(b[:19])
	stop, ok2 := p.time(b[20:39])
	if !ok1 || !ok2 {
		return false
	}
	r.Start, r.Stop = start, stop
	b = b[40:]

	n, ok = text(b, r.iccid[:])
	if !ok || n < 18 {
		return false
	}
	r.nICCID = uint8(n)
	b = b[n+1:]

	n, ok = text(b, r.imsi[:])
	if !ok || n != 0 && n < 6 {
		return false
	}
	r.nIMSI = uint8(n)
	b = b[n+1:]

	if r.Usage, n, ok = number(b); !ok {
		return false
	}
	b = b[n+1:]

	n, ok = text(b, r.imei[:])
	if !ok || n != 0 && n < 14 {
		return false
	}
	r.nIMEI = uint8(n)
	b = b[n+1:]

	if len(b) != 5 && len(b) != 6 {
		return false
	}
	for i, c := range b {
		if c-'0' > 9 {
			return false
		}
		r.mccmnc[i] = c
	}
	r.nMCCMNC = uint8(len(b))
	return true
}

// number reads a canonical non-negative decimal of up to 18 digits that a comma
// ends. Longer ones and leading zeros are left to the slow path.
func number(b []byte) (v int64, n int, ok bool) {
	for n < len(b) {
		c := b[n] - '0'
		if c > 9 {
			break
		}
		v = v*10 + int64(c)
		n++
	}
	ok = n > 0 && n <= 18 && n < len(b) && b[n] == ',' && (b[0] != '0' || n == 1)
	return v, n, ok
}

// text copies digits into dst up to the comma that ends them.
func text(b, dst []byte) (n int, ok bool) {
	for n < len(b) {
		c := b[n]
		if c-'0' > 9 {
			return n, c == ','
		}
		if n == len(dst) {
			return n, false
		}
		dst[n] = c
		n++
	}
	return n, false
}

// time reads yyyy-MM-dd HH:mm:ss, 19 bytes, real dates only.
func (p *parser) time(b []byte) (uint32, bool) {
	_ = b[18]
	if !bytes.Equal(b[:10], p.dayText[:]) && !p.day(b[:10]) {
		return 0, false
	}
	h0, h1, m0, m1, s0, s1 := b[11]-'0', b[12]-'0', b[14]-'0', b[15]-'0', b[17]-'0', b[18]-'0'
	if b[10] != ' ' || b[13] != ':' || b[16] != ':' ||
		h0 > 2 || h1 > 9 || m0 > 5 || m1 > 9 || s0 > 5 || s1 > 9 || h0 == 2 && h1 > 3 {
		return 0, false
	}
	sec := int64(h0)*36000 + int64(h1)*3600 + int64(m0)*600 + int64(m1)*60 + int64(s0)*10 + int64(s1)
	return uint32(p.dayUnix + sec), true
}

// day reads a date and remembers it. Years 2000 to 2100 fit the table's type.
func (p *parser) day(b []byte) bool {
	t, err := time.Parse(time.DateOnly, string(b))
	if err != nil || t.Year() < 2000 || t.Year() > 2100 {
		return false
	}
	copy(p.dayText[:], b)
	p.dayUnix = t.Unix()
	return true
}
