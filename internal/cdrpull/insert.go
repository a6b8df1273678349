package cdrpull

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/trace"
	"github.com/simline/simline/internal/warehouse"
)

// insert drops what is known and writes the rest, counting into rec.
func (w *Worker) insert(ctx context.Context, rec *warehouse.File, s *staged) error {
	ctx, span := trace.Child(ctx, "cdr insert", trace.Client)
	defer span.End()
	b := warehouse.Batch{Account: rec.Account, File: rec.File, Version: warehouse.Version(rec.GeneratedAt, rec.Content)}
	f, err := newSifter(ctx, w.db, w.tuning, b, s)
	if err != nil {
		return err
	}
	f.first = rec.FirstLoaded.IsZero()
	revived := int64(0)
	opened := map[time.Time]bool{}
	buffers := make(chan []cdr.Row, w.tuning.inserters+1)
	for range cap(buffers) {
		buffers <- nil
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(w.tuning.inserters)
	err = func() error {
		for class := range f.of {
			if err := f.begin(gctx, class); err != nil {
				return err
			}
			for i, p := range s.rows {
				rows, err := s.load(p, <-buffers)
				if err != nil {
					return err
				}
				out, err := f.sift(gctx, rows)
				if err != nil {
					return err
				}
				rec.Inserted, rec.Known, rec.Conflicts = rec.Inserted+out.added, rec.Known+out.known, rec.Conflicts+out.disagreed
				revived += out.revived
				if err := w.openDays(gctx, rec.Account, out, opened); err != nil {
					return err
				}
				group.Go(func() error {
					defer func() { buffers <- rows }()
					return w.write(gctx, b, s.sha256, class*len(s.rows)+i, out)
				})
			}
		}
		return nil
	}()
	if gerr := group.Wait(); gerr != nil {
		return gerr // the first cause; err is at most its echo
	}
	if err != nil {
		return err
	}
	// Again, now that the rows are in: should somebody have sealed a day meanwhile,
	// which the claim is there to prevent, its sums lack them.
	if err := w.db.OpenDays(ctx, rec.Account, slices.Collect(maps.Keys(opened))); err != nil {
		return err
	}
	if err := w.noteLost(ctx, b, s); err != nil || revived == 0 {
		return err
	}
	// An attempt that died has decided conflicts, which do not show in the records
	// any more; each was noted first.
	noted, err := w.db.ConflictsNoted(ctx, b)
	rec.Conflicts = max(rec.Conflicts, noted)
	return err
}

// openDays makes the daily marts read the records of the days about to change.
func (w *Worker) openDays(ctx context.Context, account string, out sifted, opened map[time.Time]bool) error {
	var days []time.Time
	note := func(d time.Time) {
		if !opened[d] {
			opened[d] = true
			days = append(days, d)
		}
	}
	for i := range out.fresh {
		// Sorted by hour: the day changes a few times per block.
		if i == 0 || out.fresh[i].Start/86400 != out.fresh[i-1].Start/86400 {
			note(dayOf(&out.fresh[i]))
		}
	}
	for _, d := range out.moved {
		note(d)
	}
	return w.db.OpenDays(ctx, account, days)
}

// write writes one sifted block. Its token is made of what it holds, so the
// repeat of a block is recognised and another block never is.
func (w *Worker) write(ctx context.Context, b warehouse.Batch, sha string, part int, out sifted) error {
	token := func(what string, n int, sum uint64) string {
		return fmt.Sprintf("%s-%s-%s-%.32s-%d-%d-%d-%x", what, b.Account, b.File, sha, b.Version, part, n, sum)
	}
	var sum uint64
	for i := range out.fresh {
		sum = sum*31 + out.fresh[i].Hash
		if out.fresh[i].Deleted {
			sum++
		}
	}
	// First, while the version that loses can still be read.
	if err := w.db.InsertConflicts(ctx, b.Account, token("conflicts", len(out.conflicts), sum), out.conflicts, w.now()); err != nil {
		return err
	}
	// If we die here: the conflict is noted and not yet decided in the records;
	// the next run notes the same and decides.
	b.Token = token("rows", len(out.fresh), sum)
	if err := w.db.InsertCDR(ctx, b, out.fresh); err != nil {
		return err
	}
	for i, r := range out.repairs {
		repair := warehouse.Batch{Account: b.Account, File: r.File, Version: r.Version, Token: token(fmt.Sprintf("repair-%d-%d", i, r.Row.ID), 1, sum)}
		if err := w.db.InsertCDR(ctx, repair, []cdr.Row{r.Row}); err != nil {
			return err
		}
	}
	sum = 0
	for _, id := range out.confirmed {
		sum = sum*31 + uint64(id)
	}
	b.Token = token("confirmed", len(out.confirmed), sum)
	return w.db.InsertConfirmed(ctx, b, part, out.confirmed)
}

// noteLost notes rows that stood behind another row of the same file: which one
// counts is known only now that all are in.
func (w *Worker) noteLost(ctx context.Context, b warehouse.Batch, s *staged) error {
	var rows []cdr.Row
	for i, p := range s.lost {
		var err error
		if rows, err = s.load(p, rows); err != nil {
			return err
		}
		ids := make([]int64, len(rows))
		for j := range rows {
			ids[j] = rows[j].ID
		}
		live, err := w.db.LiveRecords(ctx, b.Account, ids)
		if err != nil {
			return err
		}
		var conflicts []warehouse.Conflict
		for j := range rows {
			if alive := live[rows[j].ID]; len(alive) > 0 && alive[0].Row.Hash != rows[j].Hash {
				conflicts = append(conflicts, warehouse.Conflict{Kept: alive[0], Lost: warehouse.Versioned{Row: rows[j], File: b.File, Version: b.Version}})
			}
		}
		token := fmt.Sprintf("lost-%s-%s-%.32s-%d-%d", b.Account, b.File, s.sha256, b.Version, i)
		if err := w.db.InsertConflicts(ctx, b.Account, token, conflicts, w.now()); err != nil {
			return err
		}
	}
	return nil
}
