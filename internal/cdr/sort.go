package cdr

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"
)

// Sorter puts blocks of rows into the warehouse's order (hour, iccid, id). The
// engine spends most of an insert on sorting; a block that comes sorted loads
// about three times as fast (shared/performance.md). It keeps its scratch
// memory from block to block and is not for concurrent use.
type Sorter struct {
	keys, tmp []sortKey
	out       []Row
}

// sortKey stands for one row: a prefix of its order squeezed into 64 bits.
type sortKey struct {
	key uint64
	row uint32
}

// Sort returns the rows in order, in the sorter's own memory: they are valid
// until the next call. The argument is left as it was.
//
// A radix sort over the squeezed key does the bulk; rows with equal keys are
// then ordered by comparing. The order does not depend on how much fits.
func (s *Sorter) Sort(rows []Row) []Row {
	if len(rows) == 0 {
		return rows
	}
	s.squeeze(rows)
	s.radix()
	s.ties(rows)

	s.out = slices.Grow(s.out[:0], len(rows))[:len(rows)]
	for i, k := range s.keys {
		s.out[i] = rows[k.row]
	}
	return s.out
}

// squeeze fills keys: the hour counted from the block's first, then as many of
// the ICCID's digits after the block's common prefix as fit, in base 11 so that
// a shorter number comes before a longer one, as in the engine.
func (s *Sorter) squeeze(rows []Row) {
	first := &rows[0]
	minHour, maxHour := first.Hour(), first.Hour()
	prefix, width := len(first.ICCID()), len(first.ICCID())
	for i := range rows {
		r := &rows[i]
		minHour, maxHour = min(minHour, r.Hour()), max(maxHour, r.Hour())
		for prefix > 0 && (int(r.nICCID) < prefix || !bytes.Equal(r.iccid[:prefix], first.iccid[:prefix])) {
			prefix--
		}
		width = max(width, int(r.nICCID))
	}
	room := 64 - bits.Len32((maxHour-minHour)/3600)
	digits := min(width-prefix, room*100/346) // log2(11) = 3.459…
	scale := uint64(1)
	for range digits {
		scale *= 11
	}
	s.keys = slices.Grow(s.keys[:0], len(rows))[:len(rows)]
	for i := range rows {
		r := &rows[i]
		var v uint64
		for j := prefix; j < prefix+digits; j++ {
			v *= 11
			if j < int(r.nICCID) {
				v += uint64(r.iccid[j]-'0') + 1
			}
		}
		s.keys[i] = sortKey{key: uint64((r.Hour()-minHour)/3600)*scale + v, row: uint32(i)}
	}
}

// radix sorts keys by key, 11 bits at a time, stable, skipping what all share.
func (s *Sorter) radix() {
	var all, any uint64 = ^uint64(0), 0
	for _, k := range s.keys {
		all &= k.key
		any |= k.key
	}
	differs := all ^ any
	s.tmp = slices.Grow(s.tmp[:0], len(s.keys))[:len(s.keys)]
	const width, mask = 11, 1<<11 - 1
	for shift := 0; shift < 64; shift += width {
		if differs>>shift&mask == 0 {
			continue
		}
		var count [mask + 1]uint32
		for _, k := range s.keys {
			count[k.key>>shift&mask]++
		}
		sum := uint32(0)
		for i, c := range count {
			count[i] = sum
			sum += c
		}
		for _, k := range s.keys {
			d := k.key >> shift & mask
			s.tmp[count[d]] = k
			count[d]++
		}
		s.keys, s.tmp = s.tmp, s.keys
	}
}

// ties orders runs of equal keys by what the key does not hold.
func (s *Sorter) ties(rows []Row) {
	for i := 0; i < len(s.keys); {
		j := i + 1
		for j < len(s.keys) && s.keys[j].key == s.keys[i].key {
			j++
		}
		if j-i > 1 {
			slices.SortFunc(s.keys[i:j], func(a, b sortKey) int {
				return Compare(&rows[a.row], &rows[b.row])
			})
		}
		i = j
	}
}

// Compare orders rows by (hour, iccid, id), and rows of the same id by hash, so
// that the order of a block is a function of its content.
func Compare(a, b *Row) int {
	return cmp.Or(
		cmp.Compare(a.Hour(), b.Hour()),
		bytes.Compare(a.ICCID(), b.ICCID()),
		cmp.Compare(a.ID, b.ID),
		cmp.Compare(a.Hash, b.Hash),
	)
}
