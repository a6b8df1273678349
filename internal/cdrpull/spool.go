package cdrpull

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"github.com/simline/simline/internal/cdr"
)

// spool keeps blocks of rows, and of rejects, on disk between decoding and
// inserting: nothing may be inserted before the whole file has been judged, and
// a file may be larger than memory. It is scratch of this process: the file has
// no name once it is open, so a crash leaves nothing behind.
type spool struct {
	file *os.File

	mu  sync.Mutex
	end int64 // under mu: while a file is staged, rows and rejects are spooled side by side

	rows []piece // blocks of rows
	bad  []piece // blocks of rejects
	lost []piece // rows that another row of the same file with the same id stands before
}

// piece is where one block lies.
type piece struct {
	off   int64
	bytes int
	count int
}

const rowSize = int(unsafe.Sizeof(cdr.Row{}))

func newSpool(dir string) (*spool, error) {
	f, err := os.CreateTemp(dir, "simline-cdr-*")
	if err != nil {
		return nil, fmt.Errorf("make a spool file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("unlink the spool file: %w", err)
	}
	return &spool{file: f}, nil
}

func (s *spool) close() error { return s.file.Close() }

func (s *spool) write(b []byte, count int) (piece, error) {
	s.mu.Lock()
	p := piece{off: s.end, bytes: len(b), count: count}
	s.end += int64(len(b))
	s.mu.Unlock()
	if _, err := s.file.WriteAt(b, p.off); err != nil {
		return piece{}, fmt.Errorf("spool %d bytes: %w", len(b), err)
	}
	return p, nil
}

func (s *spool) read(p piece, b []byte) error {
	if _, err := s.file.ReadAt(b, p.off); err != nil {
		return fmt.Errorf("read %d bytes back from the spool: %w", len(b), err)
	}
	return nil
}

// addRows keeps a block of rows.
func (s *spool) addRows(rows []cdr.Row) error {
	p, err := s.write(memory(rows), len(rows))
	if err == nil {
		s.rows = append(s.rows, p)
	}
	return err
}

// addLost keeps rows to be noted as conflicts at the end.
func (s *spool) addLost(rows []cdr.Row) error {
	p, err := s.write(memory(rows), len(rows))
	if err == nil {
		s.lost = append(s.lost, p)
	}
	return err
}

// load reads a block of rows into buf, which it returns cut or grown to size.
func (s *spool) load(p piece, buf []cdr.Row) ([]cdr.Row, error) {
	if cap(buf) < p.count {
		buf = make([]cdr.Row, p.count)
	}
	buf = buf[:p.count]
	return buf, s.read(p, memory(buf))
}

// memory is the rows' own bytes. Rows hold no pointers, and the spool is read by
// nobody but the process that wrote it.
func memory(rows []cdr.Row) []byte {
	if len(rows) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&rows[0])), len(rows)*rowSize)
}

// addRejects keeps a block of bad rows.
func (s *spool) addRejects(rejects []cdr.Reject) error {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(rejects); err != nil {
		return fmt.Errorf("spool %d bad rows: %w", len(rejects), err)
	}
	p, err := s.write(b.Bytes(), len(rejects))
	if err == nil {
		s.bad = append(s.bad, p)
	}
	return err
}

func (s *spool) loadRejects(p piece) ([]cdr.Reject, error) {
	b := make([]byte, p.bytes)
	if err := s.read(p, b); err != nil {
		return nil, err
	}
	var out []cdr.Reject
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&out); err != nil {
		return nil, fmt.Errorf("read bad rows back from the spool: %w", err)
	}
	return out, nil
}
