package cdr

import (
	"encoding/binary"
	"math"
	"math/bits"
	"time"

	"github.com/zeebo/xxh3"
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
	day   daySeen
	lens  struct{ iccid, imsi uint8 } // of the row before
	canon []byte                      // scratch for what is not canonical
}

// daySeen is the day that the last time read was of.
type daySeen struct {
	first    uint64 // "yyyy-MM-" as it stood
	rest     uint32 // "-dd "
	midnight uint32
}

// line parses one line without its line end. The canonical form (no quotes, no
// blanks, no signs) takes the fast path; whatever it refuses is looked at again
// slowly, so the fast path never has to explain itself.
func (p *parser) line(b []byte, r *Row) Reason {
	if p.fast(b, r) {
		r.Hash = xxh3.Hash(b)
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

// fast parses the canonical form in one walk over the bytes, eight at a time,
// and reports false for everything else. It looks up to slack bytes past the
// line's end, which must be readable, and never takes them for the line's.
func (p *parser) fast(b []byte, r *Row) bool {
	// 1 id + 19 + 19 times + 18 iccid + 1 usage + 5 mccmnc + 7 commas.
	end := len(b)
	if end < 70 || end > 160 || cap(b) < end+slack {
		return false
	}
	b = b[:end+slack]
	var n int
	var ok bool
	if r.ID, n, ok = number(b); !ok {
		return false
	}
	at := n + 1
	times := b[at : at+40]
	if times[19] != ',' || times[39] != ',' {
		return false
	}
	if r.Start, ok = p.time((*[19]byte)(times)); !ok {
		return false
	}
	if r.Stop, ok = p.time((*[19]byte)(times[20:])); !ok {
		return false
	}
	at += 40

	if n = alike((*[slack]byte)(b[at:]), r.iccid[:], p.lens.iccid); n < 18 || at+n >= end {
		return false
	}
	r.nICCID, p.lens.iccid = uint8(n), uint8(n)
	at += n + 1

	if n = alike((*[slack]byte)(b[at:]), r.imsi[:], p.lens.imsi); n != 0 && n < 6 || at+n >= end {
		return false
	}
	r.nIMSI, p.lens.imsi = uint8(n), uint8(n)
	at += n + 1

	if r.Usage, n, ok = number(b[at:]); !ok || at+n >= end {
		return false
	}
	at += n + 1

	if n = alike((*[slack]byte)(b[at:]), r.imei[:], 15); n != 0 && n < 14 || at+n >= end {
		return false
	}
	r.nIMEI = uint8(n)
	at += n + 1

	// Five or six digits, and they are the last.
	n = end - at
	net := binary.LittleEndian.Uint64(b[at:])
	if n != 5 && n != 6 || countDigits(net) < n {
		return false
	}
	binary.LittleEndian.PutUint32(r.mccmnc[:], uint32(net))
	r.mccmnc[4], r.mccmnc[5] = byte(net>>32), 0
	if n == 6 {
		r.mccmnc[5] = byte(net >> 40)
	}
	r.nMCCMNC = uint8(n)
	return true
}

// slack is how far past a line's end the fast path may look.
const slack = 32

const (
	zeros  = 0x3030303030303030 // eight times '0'
	over9  = 0x7676767676767676 // added to a byte above 9, sets its high bit
	signal = 0x8080808080808080
)

// others marks those of v's eight bytes that are not digits by their high bit,
// the lowest of them exactly: one may disturb those above it, never those below.
func others(v uint64) uint64 {
	v ^= zeros
	return (v | (v + over9)) & signal
}

// countDigits is how many of v's bytes, from the lowest on, are digits.
func countDigits(v uint64) int { return bits.TrailingZeros64(others(v)) / 8 }

// number reads a canonical non-negative decimal that a comma ends. Leading zeros
// and what no int64 holds are left to the slow path.
func number(b []byte) (v int64, n int, ok bool) {
	word := binary.LittleEndian.Uint64(b)
	n = countDigits(word)
	v = value(word, n)
	if n == 8 {
		word = binary.LittleEndian.Uint64(b[8:])
		more := countDigits(word)
		v = v*tens[more] + value(word, more)
		n += more
	}
	for n >= 16 && n < 19 && b[n]-'0' <= 9 {
		d := int64(b[n] - '0')
		if v > (math.MaxInt64-d)/10 {
			return 0, n, false
		}
		v = v*10 + d
		n++
	}
	ok = n > 0 && b[n] == ',' && (b[0] != '0' || n == 1)
	return v, n, ok
}

var tens = [9]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8}

// value is the number that the first n digits in v make, n up to 8.
func value(v uint64, n int) int64 {
	if n == 0 {
		return 0
	}
	v = (v ^ zeros) << (64 - 8*n) // zeros in front
	v = v*10 + v>>8               // pairs, in every other byte
	v = (v&0x000000FF000000FF*0x000F424000000064 + v>>16&0x000000FF000000FF*0x0000271000000001) >> 32
	return int64(uint32(v))
}

// alike is digitsOf for a field that is mostly as long as in the row before. To
// guess n, and be right, lets the processor begin with the next field before it
// is through with this one.
func alike(b *[slack]byte, dst []byte, n uint8) int {
	if n >= 8 && b[n%slack] == ',' {
		first, last := binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[n-8:])
		second := last
		if n > 16 {
			second = binary.LittleEndian.Uint64(b[8:])
		}
		if others(first)|others(second)|others(last) == 0 {
			binary.LittleEndian.PutUint64(dst, first)
			if n > 16 {
				binary.LittleEndian.PutUint64(dst[8:], second)
			}
			binary.LittleEndian.PutUint64(dst[n-8:], last)
			return int(n)
		}
	}
	return digitsOf(b, dst)
}

// digitsOf copies digits into dst up to the comma that ends them and returns how
// many there are; -1 if something else ends them, or they are too many.
func digitsOf(b *[slack]byte, dst []byte) int {
	first := binary.LittleEndian.Uint64(b[:])
	n, m := 0, others(first)
	if m == 0 {
		binary.LittleEndian.PutUint64(dst, first)
		if n, m = 8, others(binary.LittleEndian.Uint64(b[8:])); m == 0 {
			n, m = 16, others(binary.LittleEndian.Uint64(b[16:]))
		}
	}
	n = (n + bits.TrailingZeros64(m)/8) % slack // 24 at the most
	switch {
	case b[n] != ',' || n > len(dst):
		return -1
	case n < 8:
		copy(dst, b[:n])
		return n
	case n > 16:
		binary.LittleEndian.PutUint64(dst[8:], binary.LittleEndian.Uint64(b[8:]))
	}
	// The last eight, over some that are there already.
	binary.LittleEndian.PutUint64(dst[n-8:], binary.LittleEndian.Uint64(b[n-8:]))
	return n
}

// time is parseTime for rows that follow one another: their day is mostly the
// same, and only the time of day is read.
func (p *parser) time(b *[19]byte) (uint32, bool) {
	first, rest := binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint32(b[7:])
	if first != p.day.first || rest != p.day.rest {
		var midnight [19]byte
		copy(midnight[copy(midnight[:], b[:11]):], "00:00:00")
		t, ok := parseTime(midnight[:])
		if !ok {
			return 0, false
		}
		p.day = daySeen{first, rest, t}
	}
	// "HH:mm:ss": digits become 0 to 9, colons 0.
	v := binary.LittleEndian.Uint64(b[11:]) ^ 0x30303A30303A3030
	if (v|(v+0x76767F76767F7676))&signal != 0 {
		return 0, false
	}
	h, m, s := uint32(v&0xFF*10+v>>8&0xFF), uint32(v>>24&0xFF*10+v>>32&0xFF), uint32(v>>48&0xFF*10+v>>56)
	if h > 23 || m > 59 || s > 59 {
		return 0, false
	}
	return p.day.midnight + h*3600 + m*60 + s, true
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
