package order

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Writer appends objects and arrays of them as encoding/json writes them, byte for
// byte, in a fraction of the time: for what is written for each order that is bought.
// After an error it goes on and means nothing any more. Each value leaves a comma
// behind it, which what follows it takes back.
type Writer struct {
	b   []byte
	err error
}

// NewWriter makes a writer that appends to b.
func NewWriter(b []byte) Writer { return Writer{b: b} }

// Done is what was written.
func (w *Writer) Done() ([]byte, error) { return w.b[:len(w.b)-1], w.err }

// Open begins an object.
func (w *Writer) Open() { w.b = append(w.b, '{') }

// Close ends an object.
func (w *Writer) Close() { w.end('}') }

// OpenList begins an array of objects.
func (w *Writer) OpenList() { w.b = append(w.b, '[') }

// CloseList ends an array.
func (w *Writer) CloseList() { w.end(']') }

func (w *Writer) end(bracket byte) {
	if last := len(w.b) - 1; w.b[last] == ',' {
		w.b = w.b[:last]
	}
	w.b = append(w.b, bracket, ',')
}

// Name writes a member's name, which is one of ours and needs no escaping.
func (w *Writer) Name(name string) {
	w.b = append(w.b, '"')
	w.b = append(w.b, name...)
	w.b = append(w.b, '"', ':')
}

// Text writes a member that is a string.
func (w *Writer) Text(name, s string) {
	w.Name(name)
	w.b = AppendText(w.b, s)
	w.b = append(w.b, ',')
}

// Some writes a string that is not empty.
func (w *Writer) Some(name, s string) {
	if s != "" {
		w.Text(name, s)
	}
}

// Number writes a whole number.
func (w *Writer) Number(name string, n int64) {
	w.Name(name)
	w.b = append(strconv.AppendInt(w.b, n, 10), ',')
}

// Count writes a whole number that is not 0.
func (w *Writer) Count(name string, n int) {
	if n != 0 {
		w.Number(name, int64(n))
	}
}

// Flag writes what is true.
func (w *Writer) Flag(name string, v bool) {
	if v {
		w.Name(name)
		w.b = append(w.b, "true,"...)
	}
}

// Time writes a moment. Years have four digits.
func (w *Writer) Time(name string, t time.Time) {
	if y := t.Year(); y < 0 || y >= 10000 {
		w.err = fmt.Errorf("%s: year %d has no four digits", name, y)
	}
	w.Name(name)
	w.b = append(w.b, '"')
	w.b = t.AppendFormat(w.b, time.RFC3339Nano)
	w.b = append(w.b, '"', ',')
}

// Moment writes a moment, if there is one.
func (w *Writer) Moment(name string, t *time.Time) {
	if t != nil {
		w.Time(name, *t)
	}
}

// Money writes an amount, if there is one.
func (w *Writer) Money(name string, m *Money) {
	if m == nil {
		return
	}
	w.Name(name)
	b, err := m.appendJSON(w.b)
	if err != nil {
		w.err = fmt.Errorf("%s: %w", name, err)
	}
	w.b = append(b, ',')
}

// Value writes what is rare enough to leave to encoding/json.
func (w *Writer) Value(name string, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		w.err = fmt.Errorf("%s: %w", name, err)
	}
	w.Name(name)
	w.b = append(append(w.b, raw...), ',')
}

// AppendText appends s quoted, as encoding/json does. What encoding/json would escape is left to it.
func AppendText(b []byte, s string) []byte {
	for i := range len(s) {
		if escaped[s[i]] {
			quoted, err := json.Marshal(s)
			if err != nil { // no string is beyond it
				quoted = []byte(`""`)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// escaped are the bytes that encoding/json may write otherwise than as they are.
var escaped = func() (t [256]bool) {
	for c := range t {
		t[c] = c < 0x20 || c >= 0x7f || strings.IndexByte(`"\<>&`, byte(c)) >= 0
	}
	return t
}()
