package reconciler

import (
	"context"
	"fmt"
	"time"

	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

// Coverage reports the half hours that no loaded CDR file covers although they
// should be by now, and the files that came late.
type Coverage struct {
	Accounts  []Account
	Books     CoverageBooks
	LateAfter time.Duration
}

// CoverageBooks are the files that were loaded.
type CoverageBooks interface {
	LoadedWindows(ctx context.Context, account string) ([]warehouse.Window, error)
	FilesLoadedSince(ctx context.Context, account string, since time.Time) ([]warehouse.File, error)
	FirstLoad(ctx context.Context, account string) (time.Time, error)
}

// halfHour is how often the supplier sends a file.
const halfHour = 30 * time.Minute

// lateFor is how long a late file stays reported.
const lateFor = 24 * time.Hour

// Look looks at all that was ever loaded: a hole counts however old it is.
func (j *Coverage) Look(ctx context.Context, run *Run, sitting *Sitting) error {
	seen := map[string]bool{}
	for _, a := range j.Accounts {
		if err := j.account(ctx, run, sitting, a, seen); err != nil {
			return fmt.Errorf("account %s: %w", a.Name, err)
		}
	}
	for _, about := range sitting.Abouts() {
		if !seen[about] {
			if err := sitting.Looked(ctx, about); err != nil {
				return err
			}
		}
	}
	return nil
}

func (j *Coverage) account(ctx context.Context, run *Run, sitting *Sitting, a Account, seen map[string]bool) error {
	windows, err := j.Books.LoadedWindows(ctx, a.Name)
	if err != nil || len(windows) == 0 {
		return err // nothing ever came: there is no such feed
	}
	say := func(about string, f wire.Finding) error {
		about = a.Supplier + "/" + a.Name + "/" + about
		seen[about] = true
		f.Supplier, f.Account = a.Supplier, a.Name
		return sitting.Looked(ctx, about, f)
	}
	for _, hole := range Holes(windows, run.Now.Add(-j.LateAfter)) {
		err := say("hole/"+hole.From.Format(time.RFC3339), wire.Finding{Kind: KindWindowMissing, Window: hole.String(),
			Evidence: fmt.Sprintf("simline.cdr_files: %d half hours", hole.To.Sub(hole.From)/halfHour)})
		if err != nil {
			return err
		}
	}
	began, err := j.Books.FirstLoad(ctx, a.Name)
	if err != nil {
		return err
	}
	files, err := j.Books.FilesLoadedSince(ctx, a.Name, run.Now.Add(-lateFor))
	if err != nil {
		return err
	}
	for _, f := range files {
		// What lay there when we began to load came late by no fault of theirs.
		if f.FirstLoaded.Sub(f.WindowEnd) <= j.LateAfter || f.WindowEnd.Before(began) || run.Now.Sub(f.FirstLoaded) > lateFor || coveredBefore(files, f) {
			continue
		}
		err := say("late/"+f.File, wire.Finding{Kind: KindWindowLate, Window: Span{f.WindowStart, f.WindowEnd}.String(),
			Evidence: fmt.Sprintf("%s was loaded %s after its window", f.File, f.FirstLoaded.Sub(f.WindowEnd).Round(time.Second))})
		if err != nil {
			return err
		}
	}
	return nil
}

// coveredBefore says whether other files had brought f's window when it came.
func coveredBefore(files []warehouse.File, f warehouse.File) bool {
	var before []warehouse.Window
	for _, o := range files {
		if o.FirstLoaded.Before(f.FirstLoaded) && !o.FirstLoaded.IsZero() && o.WindowEnd.After(f.WindowStart) && o.WindowStart.Before(f.WindowEnd) {
			before = append(before, warehouse.Window{Start: later(o.WindowStart, f.WindowStart), End: o.WindowEnd})
		}
	}
	at := f.WindowStart
	for moved := true; moved; {
		moved = false
		for _, w := range before {
			if !w.Start.After(at) && w.End.After(at) {
				at, moved = w.End, true
			}
		}
	}
	return !at.Before(f.WindowEnd)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Holes lists what windows, sorted by start, leave open between their beginning
// and until, in whole half hours: a half hour counts once it has ended.
func Holes(windows []warehouse.Window, until time.Time) []Span {
	var out []Span
	if len(windows) == 0 {
		return nil
	}
	covered := windows[0].Start
	hole := func(to time.Time) {
		from := covered.Truncate(halfHour)
		if from.Before(covered) {
			from = from.Add(halfHour)
		}
		to = to.Truncate(halfHour)
		if from.Before(to) {
			out = append(out, Span{from.UTC(), to.UTC()})
		}
	}
	for _, w := range windows {
		if !w.Start.Before(until) {
			break
		}
		if w.Start.After(covered) {
			hole(w.Start)
		}
		covered = later(covered, w.End)
	}
	if covered.Before(until) {
		hole(until)
	}
	return out
}
