package cdrpull

import (
	"bytes"
	"io"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/simline/simline/internal/cdr"
)

// lines is a file that is made as it is read.
type lines struct {
	next  func(i int) []byte // nil: the end
	i     int
	rest  []byte
	every func() // after some MB
	since int
}

func (l *lines) Read(p []byte) (int, error) {
	for len(l.rest) < len(p) {
		b := l.next(l.i)
		if b == nil {
			break
		}
		l.i++
		l.rest = append(l.rest, b...)
	}
	if len(l.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, l.rest)
	l.rest = append(l.rest[:0], l.rest[n:]...)
	if l.since += n; l.since > 4<<20 && l.every != nil {
		l.since = 0
		l.every()
	}
	return n, nil
}

// Bad rows are spooled while a block of good ones is being spooled: neither may
// come to lie where the other does.
func TestManyBadRowsAmongGoodOnes(t *testing.T) {
	const blocks, blockRows = 40, 8192
	day := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	good, bad := 0, 0
	src := &lines{next: func(int) []byte {
		if good == blocks*blockRows {
			return nil
		}
		r := cdr.Record{ID: int64(good), Start: day, Stop: day, ICCID: "8988308650100524999", Usage: int64(good) * 3, MCCMNC: "46001"}
		var b []byte
		// A burst after each few good rows: more than a block of bad rows for each
		// block of good ones.
		for range 2 {
			b = append(strconv.AppendInt(b, int64(bad), 10), ",bad\n"...)
			bad++
		}
		good++
		return r.AppendCSV(b)
	}}
	s, err := stage(src, cdr.Rules{}, t.TempDir(), 1<<40, blockRows)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	seen := make([]bool, blocks*blockRows)
	var rows []cdr.Row
	for _, p := range s.rows {
		if rows, err = s.load(p, rows); err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			id := rows[i].ID
			if id < 0 || id >= int64(len(seen)) || seen[id] || rows[i].Usage != 3*id {
				t.Fatalf("row %d with %d bytes: not one that was read, or once more", id, rows[i].Usage)
			}
			seen[id] = true
		}
	}
	for id, ok := range seen {
		if !ok {
			t.Fatalf("row %d is not in the spool", id)
		}
	}
	n := 0
	for _, p := range s.bad {
		rejects, err := s.loadRejects(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rejects {
			if want := strconv.Itoa(n) + ",bad"; r.Raw != want {
				t.Fatalf("bad row %q, want %q", r.Raw, want)
			}
			n++
		}
	}
	if n != bad || int(s.stats.Rejects) != bad {
		t.Errorf("%d bad rows in the spool, %d counted, want %d", n, s.stats.Rejects, bad)
	}
}

// A file of nothing but bad rows (another date format, another file altogether)
// takes no more memory than another.
func TestBadRowsAloneDoNotFillMemory(t *testing.T) {
	line := append(bytes.Repeat([]byte("0123456789"), 15), '\n')
	const n = 1_500_000 // 226 MB
	var most uint64
	src := &lines{
		next: func(i int) []byte {
			if i == n {
				return nil
			}
			return line
		},
		every: func() {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		},
	}
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s, err := stage(src, cdr.Rules{}, t.TempDir(), 1<<20, defaultTuning.blockRows)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if s.stats.Rejects != n {
		t.Fatalf("%d bad rows, want %d", s.stats.Rejects, n)
	}
	if grown := int64(most) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("the heap grew by %d MiB over bad rows", grown>>20)
	}
	total := 0
	for _, p := range s.bad {
		if p.count > rejectBlock {
			t.Errorf("%d bad rows at once, at most %d are written", p.count, rejectBlock)
		}
		total += p.count
	}
	if total != n {
		t.Errorf("%d bad rows in the spool, want %d", total, n)
	}
}
