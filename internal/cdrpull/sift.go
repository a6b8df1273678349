package cdrpull

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/warehouse"
)

// sifter tells new rows from known ones, block by block.
type sifter struct {
	db     *warehouse.DB
	tuning tuning
	batch  warehouse.Batch
	staged *staged
	known  *knownRows
	// own: rows of this file may repeat each other's ids, so they are booked as
	// they come; the first one stands for the file.
	own bool
	// first: this content never was loaded as a whole. Rows of it that are there
	// were brought by an attempt that died, and count as inserted.
	first       bool
	class, of   int
	stored, ids int64 // how many versions lie in the file's id range; rows of the file
	wide        bool
	lostOwn     []cdr.Row
}

// sifted is one block after sifting.
type sifted struct {
	fresh     []cdr.Row // to insert, sorted; tombstones among them
	confirmed []int64   // ids that are there unchanged from an earlier generation
	conflicts []warehouse.Conflict
	repairs   []warehouse.Versioned // tombstones of other versions than this file's
	moved     []time.Time           // days that lose a record
	known     int64
	added     int64 // fresh without its tombstones
	disagreed int64
	revived   int64 // of added: brought by an attempt that died
}

func newSifter(ctx context.Context, db *warehouse.DB, t tuning, b warehouse.Batch, s *staged) (*sifter, error) {
	f := &sifter{db: db, tuning: t, batch: b, staged: s, own: !s.stats.Ascending, of: 1, ids: s.stats.Rows}
	if s.stats.Rows == 0 {
		return f, nil
	}
	stored, err := db.CountStored(ctx, f.asked())
	if err != nil {
		return nil, err
	}
	f.stored = stored
	f.wide = stored > t.wide*f.ids+t.wideBase
	expect := stored
	if f.wide {
		expect = f.ids
	}
	if f.own {
		expect += f.ids
	}
	f.of = int((expect + t.knownPerPass - 1) / t.knownPerPass)
	f.of = max(f.of, 1)
	return f, nil
}

func (f *sifter) asked() warehouse.StoredRange {
	return warehouse.StoredRange{Account: f.batch.Account, MinID: f.staged.stats.MinID, MaxID: f.staged.stats.MaxID, Class: f.class, Of: f.of}
}

// begin reads what the warehouse holds of one share of the ids.
func (f *sifter) begin(ctx context.Context, class int) error {
	f.class = class
	expect := f.stored / int64(f.of)
	if f.wide {
		expect = f.ids / int64(f.of)
	}
	if f.own {
		expect += f.ids / int64(f.of)
	}
	f.known = newKnownRows(expect, f.known)
	switch {
	case f.stored == 0:
		return nil
	case f.wide:
		load := fmt.Sprintf("%s-%.16s-%d-%d", f.batch.Account, f.staged.sha256, f.batch.Version, class)
		return f.db.ReadNamed(ctx, load, f.asked(), f.idBlocks(), f.known.put)
	default:
		return f.db.ReadStored(ctx, f.asked(), f.known.put)
	}
}

// idBlocks yields the ids of this share, a block at a time.
func (f *sifter) idBlocks() func() ([]int64, error) {
	var rows []cdr.Row
	next := 0
	return func() ([]int64, error) {
		for next < len(f.staged.rows) {
			var err error
			if rows, err = f.staged.load(f.staged.rows[next], rows); err != nil {
				return nil, err
			}
			next++
			var ids []int64
			for i := range rows {
				if warehouse.Class(rows[i].ID, f.of) == f.class {
					ids = append(ids, rows[i].ID)
				}
			}
			if len(ids) > 0 {
				return ids, nil
			}
		}
		return nil, nil
	}
}

// sift takes a sorted block and leaves what must be written. Rows are reused.
func (f *sifter) sift(ctx context.Context, rows []cdr.Row) (sifted, error) {
	var out sifted
	fresh := rows[:0]
	var doubtful []cdr.Row
	for i := range rows {
		r := &rows[i]
		if f.of > 1 && warehouse.Class(r.ID, f.of) != f.class {
			continue
		}
		hash, version, ok, sure := f.known.get(r.ID)
		switch {
		case !sure:
			f.book(r)
			doubtful = append(doubtful, *r)
		case !ok:
			f.book(r)
			fresh = append(fresh, *r)
		case hash == r.Hash:
			if f.first && version == f.batch.Version && !f.known.isOwn(r.ID) {
				out.added++
				out.revived++
				f.book(r)
				continue
			}
			out.known++
			if version < f.batch.Version {
				out.confirmed = append(out.confirmed, r.ID)
				f.book(r)
			}
		case version == f.batch.Version:
			// A row of this very content stands there: the first in the file's
			// order, which is the same order every time it is read.
			out.disagreed++
			f.lostOwn = append(f.lostOwn, *r)
		default:
			f.book(r)
			doubtful = append(doubtful, *r)
		}
	}
	out.added += int64(len(fresh))
	var err error
	if len(doubtful) > 0 {
		fresh, err = f.settle(ctx, fresh, doubtful, &out)
	}
	out.fresh = fresh
	if len(f.lostOwn) > 0 {
		err = firstOf(err, f.staged.addLost(f.lostOwn))
		f.lostOwn = f.lostOwn[:0]
	}
	return out, err
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (f *sifter) book(r *cdr.Row) {
	if f.own {
		f.known.own(r.ID, r.Hash, f.batch.Version)
	}
}

// settle decides about rows whose id is there with other content, or in more
// than one version: the later generation wins, counting generations that
// repeated a record unchanged. Whatever lives under another key than the winner
// gets a tombstone: the version that lost, and what a crash left half done (new
// row and tombstone may lie in two partitions, and an insert is atomic in each).
func (f *sifter) settle(ctx context.Context, fresh, doubtful []cdr.Row, out *sifted) ([]cdr.Row, error) {
	ids := make([]int64, len(doubtful))
	for i := range doubtful {
		ids[i] = doubtful[i].ID
	}
	live, err := f.db.LiveRecords(ctx, f.batch.Account, ids)
	if err != nil {
		return nil, err
	}
	confirmed, err := f.db.ConfirmedSince(ctx, f.batch.Account, f.batch.Version, ids)
	if err != nil {
		return nil, err
	}
	for i := range doubtful {
		r := &doubtful[i]
		ours := warehouse.Versioned{Row: *r, File: f.batch.File, Version: f.batch.Version}
		alive := live[r.ID]
		if len(alive) == 0 {
			fresh = append(fresh, *r)
			out.added++
			continue
		}
		winner := alive[0] // the highest version
		switch {
		case winner.Row.Hash == r.Hash && winner.Version == f.batch.Version && f.first:
			out.added++
			out.revived++
		case winner.Row.Hash == r.Hash:
			out.known++
			if winner.Version < f.batch.Version {
				out.confirmed = append(out.confirmed, r.ID)
			}
		case max(winner.Version, confirmed[r.ID]) >= f.batch.Version:
			out.disagreed++
			out.conflicts = append(out.conflicts, warehouse.Conflict{Kept: winner, Lost: ours})
		default:
			out.disagreed++
			out.conflicts = append(out.conflicts, warehouse.Conflict{Kept: ours, Lost: winner})
			fresh = append(fresh, *r)
			out.added++
			winner = ours
		}
		for _, old := range alive {
			if sameKey(&winner.Row, &old.Row) {
				continue
			}
			gone := old.Row
			gone.Deleted = true
			out.moved = append(out.moved, dayOf(&gone))
			if winner.Version == f.batch.Version {
				fresh = append(fresh, gone)
			} else {
				out.repairs = append(out.repairs, warehouse.Versioned{Row: gone, File: winner.File, Version: winner.Version})
			}
		}
	}
	slices.SortFunc(fresh, func(a, b cdr.Row) int { return cdr.Compare(&a, &b) })
	return fresh, nil
}

func sameKey(a, b *cdr.Row) bool {
	return a.Hour() == b.Hour() && string(a.ICCID()) == string(b.ICCID())
}

func dayOf(r *cdr.Row) time.Time {
	return time.Unix(int64(r.Start-r.Start%86400), 0).UTC()
}
