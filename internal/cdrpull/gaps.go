package cdrpull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

// slot is what the supplier pushes at a time.
const slot = 30 * time.Minute

// gaps finds half hours that no loaded file covers although they are late, and
// says so once for each.
func (w *Worker) gaps(ctx context.Context, a account) error {
	windows, err := w.db.LoadedWindows(ctx, a.name)
	if err != nil {
		return err
	}
	missing, complete := findGaps(windows, w.now(), w.cfg.LateAfter, w.cfg.GapHorizon)
	w.metrics.gaps.WithLabelValues(a.name).Set(float64(len(missing)))
	if !complete.IsZero() {
		w.metrics.complete.WithLabelValues(a.name).Set(float64(complete.Unix()))
	}
	open := map[string]bool{}
	for _, start := range missing {
		key := gapKey(a.name, start)
		open[key] = true
		if w.states.seen(key).revision > 0 {
			continue
		}
		gap := wire.CDRGap{Account: a.name, WindowStart: start, WindowEnd: start.Add(slot), Since: start.Add(slot + w.cfg.LateAfter)}
		id := fmt.Sprintf("cdr-gap:%s:%d", a.name, start.Unix())
		if _, err := publish(ctx, w.bus, wire.TypeCDRGap, bus.SubjectCDRGap(a.name), start.Format(time.RFC3339), id, w.now(), gap); err != nil {
			return err
		}
		// If we die here: it is said again, with the same message id.
		if _, err := w.states.put(ctx, key, fileState{State: stateGap, At: w.now()}); err != nil && !errors.Is(err, errMoved) {
			return err
		}
		w.log.Warn("gap: no file covers this half hour", "account", a.name, "window_start", start)
	}
	return w.closeGaps(ctx, a, open)
}

// closeGaps forgets gaps that have been filled.
func (w *Worker) closeGaps(ctx context.Context, a account, open map[string]bool) error {
	var filled []string
	w.states.each(func(key string, _ fileState) {
		if strings.HasPrefix(key, "gap."+a.name+".") && !open[key] {
			filled = append(filled, key)
		}
	})
	for _, key := range filled {
		if err := w.states.remove(ctx, key); err != nil {
			return err
		}
		w.log.Info("gap filled", "account", a.name, "gap", key)
	}
	return nil
}

// findGaps lists the starts of the late half hours that windows (by start) leave
// out, and up to when everything is covered. It looks from the first window on:
// all holes between windows, and the silence after the last as far as horizon
// reaches back from now. Nothing is expected of an account that never had a file.
func findGaps(windows []warehouse.Window, now time.Time, lateAfter, horizon time.Duration) (missing []time.Time, complete time.Time) {
	if len(windows) == 0 {
		return nil, time.Time{}
	}
	covered := map[int64]bool{}
	first, last := windows[0].Start, windows[0].End
	for _, v := range windows {
		first, last = minTime(first, v.Start), maxTime(last, v.End)
		// Only half hours that lie in the window as a whole.
		for t := ceil(v.Start); !t.Add(slot).After(v.End); t = t.Add(slot) {
			covered[t.Unix()] = true
		}
	}
	begin := first.Truncate(slot)
	complete = begin
	whole := true
	for t := begin; !t.Add(slot).After(now); t = t.Add(slot) {
		if covered[t.Unix()] {
			if whole {
				complete = t.Add(slot)
			}
			continue
		}
		whole = false
		late := !t.Add(slot + lateAfter).After(now)
		between := t.Before(last)
		if late && (between || !t.Before(now.Add(-horizon))) {
			missing = append(missing, t.UTC())
		}
	}
	slices.SortFunc(missing, time.Time.Compare)
	return missing, complete
}

func ceil(t time.Time) time.Time {
	if f := t.Truncate(slot); f.Equal(t) {
		return f
	}
	return t.Truncate(slot).Add(slot)
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func maxTime(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
