package cdrpull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/ftpdir"
)

// A listing tells a file's time to the minute: what replaces a file within its
// minute, with as many bytes, looks the same. So a file is asked for once more,
// to the second, when its minute is surely over.
const (
	// minuteOver is how long after its reading a file's minute has ended.
	minuteOver = 61 * time.Second
	// anyZone is how far a listing's times may be from ours, since some servers
	// tell their local time: a file that was older than this when it was read was
	// not written in that minute.
	anyZone = 26 * time.Hour
	// maxTended bounds what one look at a directory does for files that are done.
	maxTended = 200
)

// done is a file that is loaded and lies in its directory still.
type done struct {
	account account
	name    cdr.Name
	entry   ftpdir.Entry // as listed
	state   fileState
}

// fresh: the file may have been replaced, within its minute, after it was read.
func (w *Worker) fresh(d done) bool {
	return !d.state.Checked && d.state.At.Sub(d.entry.Modified).Abs() < anyZone
}

// due: there is something to do for the file, and it is time.
func (w *Worker) due(d done, now time.Time) bool {
	if d.state.State != stateLoaded && d.state.State != stateRejects || now.Sub(d.state.At) < w.tuning.minuteOver {
		return false
	}
	return w.fresh(d) || w.cfg.AfterLoad != afterKeep
}

// tend looks once more at files that are loaded, and puts away those that are to
// be. A file that is not what was read is announced anew.
func (w *Worker) tend(ctx context.Context, d *directory, files []done) error {
	if len(files) == 0 {
		return nil
	}
	s, err := d.dir.Session(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, f := range files {
		if w.fresh(f) {
			whole, err := w.checkAgain(ctx, s, &f)
			if err != nil {
				return err
			}
			if !whole {
				continue
			}
		}
		if w.cfg.AfterLoad == afterKeep {
			continue
		}
		if err := w.putAway(s, f); err != nil {
			// It stays where it is, which does no harm, until the next look.
			w.metrics.failures.WithLabelValues(f.account.name, "put_away").Inc()
			w.log.Warn("loaded file not put away", "account", f.account.name, "file", f.entry.Name, "error", err)
		}
	}
	return nil
}

// checkAgain asks for the file and reports whether it is the one that was read.
// A server that does not tell times to the second has it read again instead:
// its content's hash then says whether it is another.
func (w *Worker) checkAgain(ctx context.Context, s *ftpdir.Session, f *done) (bool, error) {
	now, err := s.Stat(f.entry.Name)
	if errors.Is(err, ftpdir.ErrGone) {
		return false, nil // the next listing says so
	}
	if err != nil {
		return false, err
	}
	next := f.state
	next.Checked = true
	if !now.Modified.IsZero() && now.Modified.Equal(f.state.Stamp) && now.Size == f.state.Size {
		rev, err := w.states.put(ctx, fileKey(f.account.name, f.entry.Name), next)
		if errors.Is(err, errMoved) {
			return false, nil
		}
		next.revision = rev
		f.state = next
		return err == nil, err
	}
	if !now.Modified.IsZero() {
		next.Checked = false // another file, with a minute of its own
		w.log.Warn("file was replaced within its minute", "account", f.account.name, "file", f.entry.Name)
	}
	f.entry.Size = now.Size
	return false, w.announce(ctx, f.account, f.name, f.entry, next)
}

// putAway moves or deletes a loaded file. It is taken out of the way first and
// looked at then, so that what replaced it in this very moment is not lost.
func (w *Worker) putAway(s *ftpdir.Session, f done) error {
	name, away := f.entry.Name, w.cfg.MoveTo+"/"+f.entry.Name
	if w.cfg.AfterLoad == afterDelete {
		away = "." + name + ".loaded"
	}
	if err := s.Move(name, away); err != nil {
		return err
	}
	// If we die here: a file to be moved is where it belongs; one to be deleted
	// stays under a name that is no CDR file's.
	now, err := s.Stat(away)
	if err != nil {
		return err
	}
	if now.Size != f.state.Size || !now.Modified.Equal(f.state.Stamp) {
		return errors.Join(fmt.Errorf("it was replaced meanwhile: %d bytes, %d were read", now.Size, f.state.Size), s.Move(away, name))
	}
	if w.cfg.AfterLoad == afterDelete {
		return s.Delete(away)
	}
	return nil
}

// some keeps the first of files, in the order of their windows' ends.
func some(files []done, n int) []done {
	slices.SortFunc(files, func(a, b done) int { return a.name.End.Compare(b.name.End) })
	return files[:min(n, len(files))]
}
