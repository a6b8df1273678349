package cdrpull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/trace"
	"github.com/simline/simline/internal/warehouse"
)

// job is one file to load.
type job struct {
	account account
	name    cdr.Name
	file    string
	state   fileState // what made us load it
	stamp   time.Time // the file's own, while it was read; zero if it was not
	// local, if set, is read instead of the account's directory.
	local     io.Reader
	localSize int64
}

func (j *job) forced() bool { return j.state.forced() }

// loadFile is the line, from the claim on:
//
//	claim → stream → decode → drop known rows → insert → mark loaded → rollup
//
// It may die anywhere and be run again, by anyone: a row's version is a function
// of the file, rows that are there are recognised, and a file is marked only
// when all of it is in.
func (w *Worker) loadFile(ctx context.Context, j *job) (warehouse.File, error) {
	claim, ctx, err := w.claim(ctx, "cdr-load-"+j.account.name)
	if err != nil {
		return warehouse.File{}, err
	}
	defer claim.release()

	s, err := w.stream(ctx, j) // decoded, sorted and judged whole, on disk
	if err != nil {
		return warehouse.File{}, err
	}
	defer s.close()
	rec, done, err := w.open(ctx, j, s)
	if err != nil || done {
		return rec, err
	}
	// If we die here: the file is marked as loading, and whoever gets its message
	// next reads it again under the same version.
	if err := w.setAside(ctx, rec, s); err != nil {
		return rec, err
	}
	if err := w.insert(ctx, &rec, s); err != nil {
		return rec, err
	}
	// If we die here: all rows are in; the next run finds each of them known.
	if err := w.mark(ctx, &rec); err != nil {
		return rec, err
	}
	// If we die here: it is loaded but nobody was told; the next run only tells.
	return rec, w.rollup(ctx, j.account)
}

// stream reads the file from its directory and judges whether it is whole: the
// same size and time before and after, as many bytes as SIZE says, 226 at the
// end, and a last line that has one.
func (w *Worker) stream(ctx context.Context, j *job) (*staged, error) {
	if j.local != nil {
		return w.streamLocal(j)
	}
	ctx, span := trace.Child(ctx, "cdr read", trace.Client)
	defer span.End()
	session, err := j.account.dir.Session(ctx)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	before, err := session.Stat(j.file)
	if err != nil {
		return nil, err
	}
	if before.Size != j.state.Size && !j.forced() {
		return nil, fmt.Errorf("%w: %d bytes, announced with %d", errChanged, before.Size, j.state.Size)
	}
	j.stamp = before.Modified
	body, err := session.Open(j.file)
	if err != nil {
		return nil, err
	}
	s, err := w.decode(j, body, before.Size)
	if err != nil {
		_ = body.Close() // says no more than err
		return nil, err
	}
	if err := w.whole(j, s, before.Size, body.Close(), func() error {
		after, err := session.Stat(j.file)
		if err == nil && after != before {
			err = fmt.Errorf("%w: %d bytes at %s while it was read, %d at %s before", errChanged, after.Size, after.Modified, before.Size, before.Modified)
		}
		return err
	}); err != nil {
		return nil, errors.Join(err, s.close())
	}
	w.metrics.bytes.WithLabelValues(j.account.name).Add(float64(s.size))
	return s, nil
}

func (w *Worker) decode(j *job, src io.Reader, size int64) (*staged, error) {
	rules := cdr.Rules{WindowStart: j.name.Start, WindowEnd: j.name.End, Now: w.now()}
	return stage(src, rules, w.cfg.SpoolDir, size, w.tuning.blockRows)
}

// streamLocal is stream for a file at hand, which nobody writes to.
func (w *Worker) streamLocal(j *job) (*staged, error) {
	s, err := w.decode(j, j.local, j.localSize)
	if err != nil {
		return nil, err
	}
	if err := w.whole(j, s, s.size, nil, func() error { return nil }); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// Load loads a file at hand, outside of the queue and the directories: the same
// line with another source. size is a hint, in bytes. The file is judged as
// strictly as one that was announced.
func (w *Worker) Load(ctx context.Context, account string, name cdr.Name, src io.Reader, size int64) (warehouse.File, error) {
	limitMemory()
	a, ok := w.accounts[account]
	if !ok || a.number != name.Account {
		return warehouse.File{}, fmt.Errorf("account %q with number %s is not configured", account, name.Account)
	}
	return w.loadFile(ctx, &job{account: a, name: name, file: name.String(), local: src, localSize: size})
}

// whole judges a file that was read to its end.
func (w *Worker) whole(j *job, s *staged, size int64, closed error, again func() error) error {
	if closed != nil {
		return closed
	}
	if s.size != size {
		return fmt.Errorf("%w: %d bytes came, SIZE says %d", errChanged, s.size, size)
	}
	if err := again(); err != nil {
		return err
	}
	switch {
	case j.forced(), s.refused != nil: // the latter is for open to judge
	case s.stats.Header+s.stats.Rows+s.stats.Rejects == 0:
		// Not even a header: a file that is about to be written, or whose upload
		// failed. To take it for a window without use would be to call it complete.
		return &unendedError{empty: true}
	case s.stats.Tail == cdr.TailBroken:
		return &unendedError{cut: true}
	case s.stats.Tail == cdr.TailRow && j.state.State != stateWaited:
		return &unendedError{}
	}
	return nil
}

// Judgements about a file that is not to be loaded now.
var errChanged = errors.New("the file is not what was announced")

// unendedError: the file is not whole, by its last line.
type unendedError struct {
	cut   bool // within a row
	empty bool // there is no line
}

func (e *unendedError) Error() string {
	switch {
	case e.empty:
		return "the file is empty"
	case e.cut:
		return "the last line is cut"
	}
	return "the last line has no line end"
}

// open finds or makes the file's entry in the ledger of files. done says that
// nothing remains but to say so: this very content was loaded before, or a person
// must look at it.
func (w *Worker) open(ctx context.Context, j *job, s *staged) (rec warehouse.File, done bool, err error) {
	rec, err = w.record(ctx, j, s)
	if err != nil || rec.Loaded() && !j.state.ordered() {
		return rec, true, err
	}
	rec.State, rec.Reason, rec.UpdatedAt = warehouse.FileLoading, "", w.after(rec.UpdatedAt)
	if why := w.objection(j, s); why != "" && rec.FirstLoaded.IsZero() { // what a person had loaded stays so
		rec.State, rec.Reason, done = warehouse.FileHeld, why, true
	}
	return rec, done, w.db.PutFile(ctx, rec)
}

// objection is why a whole file should not be loaded, in a line; empty if it should.
func (w *Worker) objection(j *job, s *staged) string {
	switch {
	case s.refused != nil:
		return s.refused.Error() // no force makes rows of it
	case s.rejectShare() > w.cfg.MaxRejectShare && !j.forced():
		return s.complaint()
	}
	return ""
}

// record is the entry of this content, with its place among the contents that
// came under the same name.
func (w *Worker) record(ctx context.Context, j *job, s *staged) (warehouse.File, error) {
	before, err := w.db.FilesNamed(ctx, j.account.name, j.file)
	if err != nil {
		return warehouse.File{}, err
	}
	rec := warehouse.File{Account: j.account.name, File: j.file, SHA256: s.sha256, Size: s.size,
		WindowStart: j.name.Start, WindowEnd: j.name.End, GeneratedAt: j.name.Generated,
		Lines: s.stats.Lines, Rows: s.stats.Rows, Rejects: s.stats.Rejects, Outside: s.stats.Outside, Bytes: s.stats.Usage}
	if s.stats.Rows > 0 {
		rec.FirstHour = time.Unix(int64(s.stats.MinHour), 0).UTC()
		rec.LastHour = time.Unix(int64(s.stats.MaxHour), 0).UTC()
	}
	last := uint16(0)
	for _, b := range before {
		last = max(last, b.Content)
	}
	for _, b := range before {
		if b.SHA256 != s.sha256 {
			rec.Content = last + 1
			continue
		}
		if b.Content == last {
			if b.Loaded() && !j.state.ordered() {
				return b, nil
			}
			rec.Content, rec.State, rec.FirstLoaded, rec.LoadedAt, rec.UpdatedAt = b.Content, b.State, b.FirstLoaded, b.LoadedAt, b.UpdatedAt
			return rec, nil
		}
		// It was replaced, and is back: the latest again, and to be loaded again.
		w.log.Warn("former content under a known name", "account", j.account.name, "file", j.file, "content", b.Content)
		rec.Content, rec.FirstLoaded, rec.LoadedAt, rec.UpdatedAt = last+1, b.FirstLoaded, b.LoadedAt, b.UpdatedAt
		return rec, nil
	}
	if rec.Content > 0 {
		w.log.Warn("other content under a known name", "account", j.account.name, "file", j.file, "content", rec.Content)
	}
	return rec, nil
}

// after is now, or just after before if that is later: of a file's entries the
// latest counts, and who wrote the one before may have had a clock that is ahead.
func (w *Worker) after(before time.Time) time.Time {
	return maxTime(w.now(), before.Add(time.Microsecond))
}

// setAside writes the bad rows.
func (w *Worker) setAside(ctx context.Context, rec warehouse.File, s *staged) error {
	at := w.now()
	if !rec.LoadedAt.IsZero() {
		// Read before: what was bad then may be good now.
		before, err := w.db.DropRejects(ctx, rec)
		if err != nil {
			return err
		}
		at = maxTime(at, before.Add(time.Millisecond)) // whatever the clocks say
		// If we die here: its bad rows are in no table until it is read again, and
		// it counts as loading so long.
	}
	for i, p := range s.bad {
		rejects, err := s.loadRejects(p)
		if err != nil {
			return err
		}
		if err := w.db.InsertRejects(ctx, rec, i, rejects, at); err != nil {
			return err
		}
	}
	for reason, n := range s.reasons {
		w.metrics.rejects.WithLabelValues(rec.Account, string(reason)).Add(float64(n))
	}
	return nil
}

// mark writes that the file is loaded.
func (w *Worker) mark(ctx context.Context, rec *warehouse.File) error {
	rec.State = warehouse.FileLoaded
	if rec.Rejects > 0 {
		rec.State = warehouse.FileWithRejects
	}
	rec.LoadedAt = w.now()
	rec.UpdatedAt = w.after(rec.UpdatedAt)
	if rec.FirstLoaded.IsZero() {
		rec.FirstLoaded = rec.LoadedAt
	}
	if err := w.db.PutFile(ctx, *rec); err != nil {
		return err
	}
	for kind, n := range map[string]int64{"inserted": rec.Inserted, "known": rec.Known, "rejected": rec.Rejects, "conflict": rec.Conflicts, "outside": rec.Outside} {
		w.metrics.rows.WithLabelValues(rec.Account, kind).Add(float64(n))
	}
	w.log.Info("file loaded", "account", rec.Account, "file", rec.File, "state", rec.State, "rows", rec.Rows, "inserted", rec.Inserted,
		"known", rec.Known, "rejects", rec.Rejects, "conflicts", rec.Conflicts, slog.Int64("bytes", rec.Bytes))
	return nil
}

// rollup stores the sums of days that have been quiet for long enough. Marts are
// right without it: they read an open day's records.
func (w *Worker) rollup(ctx context.Context, a account) error {
	days, err := w.db.QuietDays(ctx, a.name, w.cfg.SealAfter)
	if err != nil {
		return err
	}
	for _, d := range days {
		if err := w.db.SealDay(ctx, a.name, d); err != nil {
			return err
		}
	}
	return nil
}
