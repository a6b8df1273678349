package cdrpull

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/simline/simline/internal/cdr"
)

// rejectBlock and rejectBytes are how many bad rows, and how much of their text,
// are held or written at once.
const (
	rejectBlock = 10_000
	rejectBytes = 4 << 20
)

// staged is a file that has been read to its end, decoded, and laid on disk in
// sorted blocks, with all there is to know about it. Nothing of it is in the
// warehouse yet.
type staged struct {
	*spool
	stats   cdr.Stats
	sha256  string // hex
	size    int64  // bytes read
	reasons map[cdr.Reason]int64
	first   cdr.Reject // the first bad row, for a person
	refused error      // the header fits no file of ours: none of it was decoded
}

// rejectShare is the share of bad rows among all rows.
func (s *staged) rejectShare() float64 {
	if s.stats.Rejects == 0 {
		return 0
	}
	return float64(s.stats.Rejects) / float64(s.stats.Rejects+s.stats.Rows)
}

// complaint says in a line what is wrong with the bad rows.
func (s *staged) complaint() string {
	var parts []string
	for _, r := range slices.Sorted(maps.Keys(s.reasons)) {
		parts = append(parts, fmt.Sprintf("%s %d", r, s.reasons[r]))
	}
	return fmt.Sprintf("%d of %d rows are bad: %s; the first is line %d", s.stats.Rejects, s.stats.Rejects+s.stats.Rows, strings.Join(parts, ", "), s.first.Line)
}

// stage reads src to its end. Decoding and sorting run side by side; memory is
// three blocks and a few MB of bad rows, whatever the file's size. sizeHint, in bytes, keeps small files
// from taking large blocks. The caller closes the result.
func stage(src io.Reader, rules cdr.Rules, dir string, sizeHint int64, blockRows int) (_ *staged, err error) {
	sp, err := newSpool(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, sp.close())
		}
	}()
	s := &staged{spool: sp, reasons: map[cdr.Reason]int64{}}
	in := &hashing{src: src, sum: sha256.New()}
	var rejects []cdr.Reject
	held := 0 // bytes of their text
	decoder := cdr.NewDecoder(in, rules, func(r cdr.Reject) error {
		if len(s.reasons) == 0 {
			s.first = r
		}
		s.reasons[r.Reason]++
		rejects = append(rejects, r)
		// Here, not between blocks: a file may hold millions of bad rows and not
		// one block of good ones.
		if held += len(r.Raw); len(rejects) < rejectBlock && held < rejectBytes {
			return nil
		}
		err := s.addRejects(rejects)
		rejects, held = rejects[:0], 0
		return err
	})

	// A row takes 70 bytes at least: a small file gets a block of its own size.
	rowsPerBlock := int(min(max(sizeHint/70+1, 64), int64(blockRows)))
	free, full := make(chan []cdr.Row, 2), make(chan []cdr.Row, 2)
	free <- make([]cdr.Row, rowsPerBlock)
	free <- make([]cdr.Row, rowsPerBlock)
	sorted := make(chan error, 1)
	go func() { sorted <- s.sortAndSpool(free, full) }()
	err = func() error {
		defer close(full)
		for block := range free {
			n, err := decoder.Read(block[:rowsPerBlock])
			if n > 0 {
				full <- block[:n]
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
		return nil // the other side failed; its error is what counts
	}()
	if errors.Is(err, cdr.ErrHeader) {
		s.refused = err
		_, err = io.Copy(io.Discard, in) // what it was must be known all the same
	}
	if err := errors.Join(<-sorted, err); err != nil {
		return nil, err
	}
	if len(rejects) > 0 {
		if err := s.addRejects(rejects); err != nil {
			return nil, err
		}
	}
	s.stats, s.size, s.sha256 = decoder.Stats(), in.n, hex.EncodeToString(in.sum.Sum(nil))
	return s, nil
}

// sortAndSpool is the other half of stage: it takes full blocks and gives the
// free ones back. It closes free when it cannot go on.
func (s *staged) sortAndSpool(free chan<- []cdr.Row, full <-chan []cdr.Row) error {
	var sorter cdr.Sorter
	var failed error
	for block := range full {
		if failed != nil {
			continue
		}
		if failed = s.addRows(sorter.Sort(block)); failed != nil {
			close(free)
			continue
		}
		free <- block
	}
	return failed
}

// hashing counts and hashes what is read through it.
type hashing struct {
	src io.Reader
	sum hash.Hash
	n   int64
}

func (h *hashing) Read(p []byte) (int, error) {
	n, err := h.src.Read(p)
	h.n += int64(n)
	_, _ = h.sum.Write(p[:n]) // a hash never fails
	return n, err
}
