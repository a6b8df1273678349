package cdr

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// readBuffer is how much of the stream is held at once. It must hold at least
// one line of MaxLine bytes.
const readBuffer = 64 << 10

// ErrHeader says that the header names the documented columns in another
// order. Reading on would load one field as another, so nothing is read.
var ErrHeader = errors.New("header names the columns in another order")

// Tail says how a file's last line ends.
type Tail int

// A file carries no end mark; its last line is all there is to tell.
const (
	TailWhole  Tail = iota // the last line ends with a line feed (or the file is empty)
	TailRow                // no line feed, but a whole good row or header: whole, or cut in or behind it
	TailBroken             // no line feed and neither: cut, or not written yet
)

// Stats is what a decoder has seen so far. Header + Blank + Rows + Rejects = Lines.
type Stats struct {
	Lines   int64 // line ends seen, and an unended last line
	Rows    int64 // good rows
	Rejects int64 // bad rows, each reported
	Blank   int64 // empty lines, skipped
	Header  int64 // 1 if line 1 was a header
	Outside int64 // good rows that started or ended outside the file's window
	Usage   int64 // bytes used, summed over good rows

	MinID, MaxID     int64  // of good rows; valid if Rows > 0
	MinHour, MaxHour uint32 // of good rows; valid if Rows > 0
	Ascending        bool   // ids of good rows grew from row to row, so none came twice
	Tail             Tail   // valid after io.EOF
}

// Decoder reads a CDR file as a stream. It allocates nothing per row and holds
// no more than its buffer, whatever the file's size or content.
type Decoder struct {
	src    io.Reader
	parser parser
	reject func(Reject) error

	buf        []byte
	start, end int   // unread bytes are buf[start:end]
	scanned    int   // bytes of the unread known to hold no line feed
	eof        bool  // src has ended
	err        error // what src ended with, if not io.EOF
	skipping   bool  // inside a line that was too long
	stats      Stats
}

// NewDecoder decodes src under rules. Each bad row is handed to reject, in
// order; an error of reject stops the decoding.
func NewDecoder(src io.Reader, rules Rules, reject func(Reject) error) *Decoder {
	return &Decoder{
		src:    src,
		parser: parser{limits: newLimits(rules)},
		reject: reject,
		buf:    make([]byte, readBuffer+slack),
		stats:  Stats{Ascending: true},
	}
}

// Stats is what has been read so far.
func (d *Decoder) Stats() Stats { return d.stats }

// Read fills rows with the next good rows, in the file's order, and returns how
// many. It returns io.EOF with no rows at the end, ErrHeader for a file that
// must not be read, and the error of src or reject, wrapped.
func (d *Decoder) Read(rows []Row) (int, error) {
	n := 0
	for n < len(rows) {
		line, whole, err := d.line()
		if err != nil {
			if n > 0 && errors.Is(err, io.EOF) {
				return n, nil // the next call says EOF
			}
			return n, err
		}
		row := &rows[n]
		good, err := d.take(line, whole, row)
		if err != nil {
			return n, err
		}
		if good {
			n++
		}
	}
	return n, nil
}

// take books one line and reports whether row now holds a good row.
func (d *Decoder) take(line []byte, whole bool, row *Row) (bool, error) {
	d.stats.Lines++
	if d.stats.Lines == 1 {
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		header, err := isHeader(line)
		if err != nil {
			return false, err
		}
		if header {
			d.stats.Header = 1
			// Of a window without use it is the last line. One in another language may be cut.
			d.tail(whole, bytes.EqualFold(bytes.TrimSpace(line), []byte(Header)))
			return false, nil
		}
	}
	if d.skipping {
		d.tail(whole, false)
		return false, d.bad(line, ReasonTooLong)
	}
	if blank(line) {
		d.stats.Blank++
		return false, nil // leaves the tail as the line before has set it
	}
	reason := d.parser.line(line, row)
	d.tail(whole, reason == "")
	if reason != "" {
		return false, d.bad(line, reason)
	}
	d.good(row)
	return true, nil
}

func (d *Decoder) good(r *Row) {
	s := &d.stats
	hour := r.Hour()
	if s.Rows == 0 {
		s.MinID, s.MaxID, s.MinHour, s.MaxHour = r.ID, r.ID, hour, hour
	} else {
		s.Ascending = s.Ascending && r.ID > s.MaxID
		s.MinID, s.MaxID = min(s.MinID, r.ID), max(s.MaxID, r.ID)
		s.MinHour, s.MaxHour = min(s.MinHour, hour), max(s.MaxHour, hour)
	}
	s.Rows++
	s.Usage += r.Usage
	if d.parser.outside(r) {
		s.Outside++
	}
}

func (d *Decoder) bad(line []byte, reason Reason) error {
	d.stats.Rejects++
	if err := d.reject(newReject(d.stats.Lines, line, reason)); err != nil {
		return fmt.Errorf("set aside line %d: %w", d.stats.Lines, err)
	}
	return nil
}

func (d *Decoder) tail(whole, good bool) {
	switch {
	case whole:
		d.stats.Tail = TailWhole
	case good:
		d.stats.Tail = TailRow
	default:
		d.stats.Tail = TailBroken
	}
}

// line returns the next line without its line end; whole is false for a last
// line that has none. Of a line longer than MaxLine it returns the beginning,
// with skipping set, and forgets the rest.
func (d *Decoder) line() (line []byte, whole bool, err error) {
	d.skipping = false
	for {
		if i := bytes.IndexByte(d.buf[d.start+d.scanned:d.end], '\n'); i >= 0 {
			line = d.buf[d.start : d.start+d.scanned+i]
			d.start += d.scanned + i + 1
			d.scanned = 0
			whole = true
			break
		}
		d.scanned = d.end - d.start
		if d.eof {
			if d.scanned == 0 {
				return nil, false, d.ended()
			}
			line = d.buf[d.start:d.end]
			d.start, d.scanned = d.end, 0
			break
		}
		if d.scanned > MaxLine {
			return d.skip()
		}
		d.fill()
	}
	if len(line) > MaxLine {
		d.skipping = true
		return line[:MaxLine], whole, nil
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, whole, nil
}

// skip drops the rest of a line that does not fit, keeping its beginning.
func (d *Decoder) skip() (line []byte, whole bool, err error) {
	d.skipping = true
	line = bytes.Clone(d.buf[d.start : d.start+MaxLine])
	for {
		if i := bytes.IndexByte(d.buf[d.start:d.end], '\n'); i >= 0 {
			d.start += i + 1
			d.scanned = 0
			return line, true, nil
		}
		d.start, d.end, d.scanned = 0, 0, 0
		if d.eof {
			return line, false, nil
		}
		d.fill()
	}
}

// fill moves the unread bytes to the front and reads more.
func (d *Decoder) fill() {
	if d.start > 0 {
		copy(d.buf, d.buf[d.start:d.end])
		d.end -= d.start
		d.start = 0
	}
	n, err := d.src.Read(d.buf[d.end:readBuffer])
	d.end += n
	if err != nil {
		d.eof = true
		if !errors.Is(err, io.EOF) {
			d.err = err
		}
	}
}

func (d *Decoder) ended() error {
	if d.err != nil {
		return fmt.Errorf("read CDR stream after line %d: %w", d.stats.Lines, d.err)
	}
	return io.EOF
}

func blank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// isHeader recognises a header: eight columns of which neither the first nor
// the second begins like a number. A bad first row has a date in its second
// column and is reported as a bad row instead.
func isHeader(line []byte) (bool, error) {
	var f [columns][]byte
	if split(line, &f) != "" || numberLike(f[0]) || numberLike(f[1]) {
		return false, nil
	}
	// Names we know must stand where we expect them; names we do not know
	// (another language) are taken on trust, since every row is validated.
	want := bytes.Split([]byte(Header), []byte{','})
	known, inPlace := 0, 0
	for i := range f {
		name := bytes.ToLower(f[i])
		for j := range want {
			if bytes.Equal(name, want[j]) {
				known++
				if i == j {
					inPlace++
				}
			}
		}
	}
	if known != inPlace {
		return false, fmt.Errorf("%w: %q", ErrHeader, line)
	}
	return true, nil
}

func numberLike(b []byte) bool {
	return len(b) > 0 && (b[0]-'0' <= 9 || b[0] == '-' || b[0] == '+')
}
