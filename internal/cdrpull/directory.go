package cdrpull

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/ftpdir"
)

// maxQueued bounds how many files of a directory are announced and not yet
// loaded: a backlog of 100,000 files is worked off in its order without lying
// in the queue all at once.
const maxQueued = 500

// patience is how many settle intervals a file without a last line end must
// stay as it is before its last row counts.
const patience = 10

// requeueAfter is how long an announced file may lie while the queue is empty
// before it is announced again: its message was purged, or lost with its stream.
const requeueAfter = 30 * time.Second

// directory is one FTP directory and what this replica remembers of looking at
// it. Looks need not survive: a restart costs a settle interval.
type directory struct {
	url      string
	dir      *ftpdir.Dir
	accounts map[string]account // by number
	looks    map[string]look    // by file name
	unsure   map[string]bool    // files whose message may not have been stored
	claim    *claim             // held while we list it
	held     context.Context

	mu     sync.Mutex
	report Report
}

// look is how a file was seen.
type look struct {
	size     int64
	modified time.Time
	since    time.Time // seen like this since
}

// Report is what the last look at a directory found, for people.
type Report struct {
	Directory string    `json:"directory"`
	ListedAt  time.Time `json:"listed_at"`
	Files     int       `json:"files"`
	Other     int       `json:"other"`            // not CDR files by their names
	Foreign   []string  `json:"foreign"`          // files of accounts that are not configured, left alone; at most 1,000
	Waiting   []string  `json:"waiting"`          // not settled, or not whole: empty, cut, without a last line end; at most 1,000
	Unread    []string  `json:"unread,omitempty"` // named by the server, but not readable in its listing
	Foreigns  int       `json:"foreign_files"`    // how many foreign files there are
	Queued    int       `json:"announced_files"`  // announced and not done
	Error     string    `json:"error,omitempty"`  // of the last look, if it failed
}

func newDirectory(a account) *directory {
	return &directory{url: a.url, dir: a.dir, accounts: map[string]account{}, looks: map[string]look{}, unsure: map[string]bool{}}
}

// String is the directory without its password.
func (d *directory) String() string { return d.dir.String() }

// name is the first of its accounts: a directory's own name in claims and metrics.
func (d *directory) name() string {
	var names []string
	for _, a := range d.accounts {
		names = append(names, a.name)
	}
	return slices.Min(names)
}

// poll looks at the directory once, if no other replica does, and announces
// what has settled. It reports whether something has not settled yet.
func (w *Worker) poll(ctx context.Context, d *directory) (waiting bool, err error) {
	if d.claim == nil || d.held.Err() != nil {
		w.letGo(d)
		if d.claim, d.held, err = w.claim(ctx, "cdr-list-"+d.name()); err != nil {
			d.claim = nil
			return false, err
		}
		clear(d.looks) // whatever happened while another looked
	}
	ctx, cancel := context.WithTimeout(d.held, 10*time.Minute)
	defer cancel()
	list, err := d.dir.List(ctx)
	if err != nil {
		return false, err
	}
	now := time.Now() // looks go by the process's own clock, which does not jump
	rep := Report{Directory: d.String(), ListedAt: now.UTC(), Files: len(list.Files), Unread: list.Unread}
	if len(list.Unread) > 0 {
		w.log.Error("the server's listing cannot be read", "directory", d.String(), "names", len(list.Unread), "first", list.Unread[0])
	}
	looks := make(map[string]look, len(d.looks))
	var loaded []done
	rep.Queued = w.queued(d)
	idle := w.queueEmpty(ctx)
	for _, e := range list.Files {
		name, err := cdr.ParseName(e.Name)
		if err != nil {
			rep.Other++
			continue
		}
		a, ok := d.accounts[name.Account]
		if !ok {
			rep.Foreigns++
			rep.Foreign = note(rep.Foreign, e.Name)
			continue
		}
		st := w.states.seen(fileKey(a.name, e.Name))
		if same(st, e) && w.settled(st, now, idle) && !d.unsure[e.Name] {
			if st.State == stateUnended {
				rep.Waiting = note(rep.Waiting, e.Name) // until it changes
			}
			if f := (done{a, name, e, st}); w.due(f, now) {
				loaded = append(loaded, f)
			}
			continue
		}
		l := look{size: e.Size, modified: e.Modified, since: now}
		if before, ok := d.looks[e.Name]; ok && before.size == e.Size && sameTime(before.modified, e.Modified) {
			l.since = before.since
		}
		looks[e.Name] = l
		if !w.ripe(st, e, l, now) {
			waiting = true
			rep.Waiting = note(rep.Waiting, e.Name)
			continue
		}
		if rep.Queued >= maxQueued {
			waiting = true
			continue
		}
		d.unsure[e.Name] = true
		st.Checked = false // that was of what it was before
		if err := w.announce(ctx, a, name, e, st); err != nil {
			return false, err
		}
		delete(d.unsure, e.Name)
		delete(looks, e.Name)
		rep.Queued++
	}
	d.looks = looks
	w.book(d, rep)
	if err := w.tend(ctx, d, some(loaded, maxTended)); err != nil {
		return waiting, fmt.Errorf("look again at loaded files: %w", err)
	}
	for _, a := range d.accounts {
		if err := w.gaps(ctx, a); err != nil {
			return waiting, err
		}
		if err := w.roll(ctx, a); err != nil {
			return waiting, err
		}
	}
	return waiting, nil
}

// same: the file looks as its state knows it.
func same(st fileState, e ftpdir.Entry) bool {
	return st.revision > 0 && st.Size == e.Size && sameTime(st.Modified, e.Modified)
}

// sameTime compares a time of a listing with one of a later listing: the same
// moment is told to the minute or, once the file is some months old, to the day.
func sameTime(before, later time.Time) bool {
	if before.Truncate(time.Minute).Equal(later.Truncate(time.Minute)) {
		return true
	}
	day := later.Truncate(24 * time.Hour)
	return later.Equal(day) && before.Truncate(24*time.Hour).Equal(day) && time.Since(later) > 100*24*time.Hour
}

// settled: nothing need be done about a file that looks as its state knows it.
func (w *Worker) settled(st fileState, now time.Time, idle bool) bool {
	switch {
	case st.done():
		return true
	case st.queued():
		return !idle || now.Sub(st.At) < requeueAfter
	case st.State == stateUnended:
		return st.Cut // nothing will come of it unless it changes
	}
	return false
}

// ripe: the file has looked like this for long enough to be read.
func (w *Worker) ripe(st fileState, e ftpdir.Entry, l look, now time.Time) bool {
	need := w.cfg.SettleInterval
	if st.State == stateUnended && same(st, e) {
		need *= patience
		l.since = st.At
	}
	return now.Sub(l.since) >= need
}

// note keeps the first thousand names.
func note(names []string, name string) []string {
	if len(names) < 1000 {
		names = append(names, name)
	}
	return names
}

func (w *Worker) queued(d *directory) int {
	names := map[string]bool{}
	for _, a := range d.accounts {
		names[a.name] = true
	}
	n := 0
	w.states.each(func(key string, st fileState) {
		if st.queued() && names[accountOf(key)] {
			n++
		}
	})
	return n
}

func (w *Worker) book(d *directory, rep Report) {
	d.mu.Lock()
	d.report = rep
	d.mu.Unlock()
	w.metrics.foreign.WithLabelValues(d.name()).Set(float64(rep.Foreigns))
	w.metrics.unread.WithLabelValues(d.name()).Set(float64(len(rep.Unread)))
	w.metrics.waiting.WithLabelValues(d.name()).Set(float64(len(rep.Waiting)))
	w.metrics.listed.WithLabelValues(d.name()).Set(float64(rep.ListedAt.Unix()))
	for _, a := range d.accounts {
		held := 0
		w.states.each(func(key string, st fileState) {
			if st.State == stateHeld && accountOf(key) == a.name {
				held++
			}
		})
		w.metrics.held.WithLabelValues(a.name).Set(float64(held))
	}
}

// Reports are the last look at each directory, by this replica.
func (w *Worker) Reports() []Report {
	out := []Report{}
	for _, d := range w.dirs {
		d.mu.Lock()
		rep := d.report
		d.mu.Unlock()
		if rep.Directory == "" {
			rep.Directory = fmt.Sprintf("%s (another replica looks at it)", d)
		}
		out = append(out, rep)
	}
	return out
}

func (w *Worker) letGo(d *directory) {
	if d.claim != nil {
		d.claim.release()
		d.claim = nil
	}
}
