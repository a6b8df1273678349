package cdr

import (
	"encoding/binary"
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

// parser turns one line into one row.
type parser struct {
	limits
	canon []byte // scratch for the slow path
}

// line parses one line without its line end. The canonical form (no quotes, no
// blanks, no signs) takes the fast path; whatever it refuses is looked at again
// slowly, so the fast path never has to explain itself.
func (p *parser) line(b []byte, r *Row) Reason {
	if fast(b, r) {
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
func fast(b []byte, r *Row) bool {
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
	start, ok1 := parseTime(b[:19])
	stop, ok2 := parseTime(b[20:39])
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

// text copies digits into dst up to the comma that ends them, eight at a time.
func text(b, dst []byte) (n int, ok bool) {
	for n+8 <= len(b) && n+8 <= len(dst) {
		eight := binary.LittleEndian.Uint64(b[n:])
		if !eightDigits(eight) {
			break
		}
		binary.LittleEndian.PutUint64(dst[n:], eight)
		n += 8
	}
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

// eightDigits reports whether each byte of v is '0' to '9': its high half is 3,
// and stays 3 when 6 is added.
func eightDigits(v uint64) bool {
	const high, three, six = 0xF0F0F0F0F0F0F0F0, 0x3030303030303030, 0x0606060606060606
	return v&high == three && (v+six)&high == three
}

// daysBefore is how many days of a common year precede each month, 1 to 12.
var daysBefore = [14]uint16{1: 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365}

// parseTime reads yyyy-MM-dd HH:mm:ss, 19 bytes, real dates of the years 2000 to
// 2100 only, which fit the table's type.
func parseTime(b []byte) (uint32, bool) {
	_ = b[18]
	if b[4] != '-' || b[7] != '-' || b[10] != ' ' || b[13] != ':' || b[16] != ':' {
		return 0, false
	}
	var bad uint32
	pair := func(i int) uint32 {
		t, u := uint32(b[i])-'0', uint32(b[i+1])-'0'
		if t > 9 || u > 9 {
			bad = 1
		}
		return t*10 + u
	}
	century, year, month, day := pair(0), pair(2), pair(5), pair(8)
	h, m, s := pair(11), pair(14), pair(17)
	if bad != 0 || century < 20 || century > 21 || century == 21 && year > 0 || month-1 > 11 || h > 23 || m > 59 || s > 59 {
		return 0, false
	}
	y := century*100 + year
	// 2000 is a leap year, 2100 is not.
	leap := y%4 == 0 && y != 2100
	days := uint32(daysBefore[month])
	length := uint32(daysBefore[month+1]) - days
	if leap && month == 2 {
		length++
	}
	if day-1 >= length {
		return 0, false
	}
	if leap && month > 2 {
		days++
	}
	const to2000 = 10957 // days from 1970 to 2000
	passed := y - 2000
	days += to2000 + 365*passed + (passed+3)/4 + day - 1
	return days*86400 + h*3600 + m*60 + s, true
}
