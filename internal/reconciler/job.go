package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/trace"
)

// Job is one comparison, done period by period.
type Job struct {
	Name     string
	Schedule Schedule
	// Settle is how long after its end a period is compared; a difference that
	// is younger than that is not one yet.
	Settle time.Duration
	// Most is the longest span that one run covers when periods were missed; 0
	// is all of them, for jobs that look at the present.
	Most time.Duration
	// Lookback is how far before now the very first run begins.
	Lookback time.Duration
	// Cost counts what its passes ask; may be nil.
	Cost *Cost
	// Look does the comparing: ask, compare, tell sitting what was looked at.
	// It may be called again for the same span, from run.Cursor on.
	Look func(ctx context.Context, run *Run, sitting *Sitting) error
}

// Run is one span of one job being done.
type Run struct {
	Span
	Now    time.Time // when the run began; one clock for all of it
	Number int64     // runs of this job before this one
	Cursor string    // where an earlier, unfinished run of this span stopped
	Dry    bool      // nothing is published or kept
	// Notes is the job's memory of its last run; what it holds at a mark, and at the
	// end of a run, is kept for the next.
	Notes json.RawMessage

	mark func(ctx context.Context, cursor string) error
}

// Mark keeps how far the run is: a run that dies goes on from there.
func (r *Run) Mark(ctx context.Context, cursor string) error {
	if r.mark == nil {
		return nil
	}
	return r.mark(ctx, cursor)
}

// Settled says whether a difference that arose at since is old enough to count.
func (r *Run) Settled(since time.Time, settle time.Duration) bool {
	return !since.After(r.Now.Add(-settle))
}

// Sitter opens a job's findings for one pass; *Book does.
type Sitter interface {
	Sit(ctx context.Context, job string, dry bool, see SeeFunc) (*Sitting, error)
}

// Runner runs jobs.
type Runner struct {
	Periods Periods
	Locks   Locks
	Book    Sitter
	Log     *slog.Logger
	Metrics *Metrics
	Trace   *trace.Tracer // nil: tracing is off
	Now     func() time.Time
	// Sees is told of each change of a finding; may be nil.
	Sees func(job string) SeeFunc
	// RetryMin and RetryMax bound the wait between tries of a run that failed.
	RetryMin, RetryMax time.Duration
}

// Pass does one due span of a job; did is false if none was due. It is the whole
// line of this worker: period → sitting → look → period done. The caller holds
// the job's lock.
func (r *Runner) Pass(ctx context.Context, job *Job, due DueFunc) (did bool, err error) {
	progress, revision, err := r.Periods.Load(ctx, job.Name)
	if err != nil {
		return false, err
	}
	now := r.Now().UTC()
	span, ok := due(progress, now)
	if !ok {
		return false, nil
	}
	if progress.Running == nil {
		progress.Running, progress.Cursor = &span, ""
		if revision, err = r.Periods.Save(ctx, job.Name, progress, revision); err != nil {
			return false, err
		}
		// If we die here: the span is taken up as it is, from its beginning.
	}
	ctx, traced := r.Trace.Begin(ctx, "", "pass", trace.Internal)
	defer traced.End()
	traced.Set("simline.job", job.Name)
	began := time.Now()
	run := &Run{Span: *progress.Running, Now: now, Number: progress.Runs, Cursor: progress.Cursor, Notes: progress.Notes}
	run.mark = func(ctx context.Context, cursor string) error {
		progress.Cursor, progress.Notes = cursor, run.Notes
		var err error
		revision, err = r.Periods.Save(ctx, job.Name, progress, revision)
		// If we die here: the span is taken up from this cursor.
		return err
	}
	sitting, err := r.Book.Sit(ctx, job.Name, false, r.sees(job.Name))
	if err != nil {
		return false, err
	}
	if err := look(ctx, job, run, sitting); err != nil {
		return false, err
	}
	// If we die here: the span is looked at once more; findings and evidence are
	// the same ones under the same ids.
	progress = Progress{Done: run.To, Runs: progress.Runs + 1, Notes: run.Notes}
	if _, err := r.Periods.Save(ctx, job.Name, progress, revision); err != nil {
		return false, err
	}
	took := time.Since(began)
	r.Metrics.done(job.Name, run, sitting.Counts(), r.Now(), took)
	calls, least := job.Cost.Take()
	r.Log.Log(ctx, levelOf(calls), "compared", "job", job.Name, "span", run.Span, "calls", calls, "optimum", least, "open", len(sitting.known), "took", took.Round(time.Millisecond))
	return true, nil
}

// levelOf keeps passes that asked nobody out of the log: there is one a minute.
func levelOf(calls int) slog.Level {
	if calls == 0 {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// DueFunc says which span is due, given how far a job is.
type DueFunc func(p Progress, now time.Time) (Span, bool)

// due takes up a span that was begun, or the next one that has ended and settled.
func (j *Job) due(p Progress, now time.Time) (Span, bool) {
	if p.Running != nil {
		return *p.Running, true
	}
	if p.Done.IsZero() {
		// Nothing is kept of a job that never ran, so its beginning must lie a whole
		// settled period back: one that moved along with now would never be due.
		settled := Start(j.Schedule, now.Add(-j.Settle), j.Lookback)
		p.Done = Start(j.Schedule, settled.Add(-time.Nanosecond), 0)
	}
	return Due(j.Schedule, p.Done, now, j.Settle, j.Most)
}

// dueNow is due for a run whose clock stands outside, such as a Kubernetes
// CronJob: everything since the last run that has settled.
func (j *Job) dueNow(p Progress, now time.Time) (Span, bool) {
	if p.Running != nil {
		return *p.Running, true
	}
	to := now.Add(-j.Settle).Truncate(time.Second)
	if p.Done.IsZero() {
		p.Done = to.Add(-max(j.Lookback, time.Second))
	}
	if j.Most > 0 && to.Sub(p.Done) > j.Most {
		to = p.Done.Add(j.Most)
	}
	return Span{From: p.Done, To: to}, to.After(p.Done)
}

// errPanic is a pass that panicked: its job runs again, the others never notice.
var errPanic = errors.New("panic")

func look(ctx context.Context, job *Job, run *Run, sitting *Sitting) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: %w: %v\n%s", job.Name, errPanic, p, debug.Stack())
		}
	}()
	if err := job.Look(ctx, run, sitting); err != nil {
		return fmt.Errorf("%s %s: %w", job.Name, run.Span, err)
	}
	return nil
}

// Catch does every span that is due, under the job's lock, and begins no other
// once ctx has ended; work is the context of a pass in hand. It does nothing, and
// that is no error, while another replica has the lock.
func (r *Runner) Catch(ctx, work context.Context, job *Job, due DueFunc) error {
	held, unlock, err := r.Locks.Lock(work, job.Name)
	if errors.Is(err, bus.ErrLeaseHeld) {
		r.Log.Debug("another replica has the lease", "job", job.Name)
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	for ctx.Err() == nil {
		did, err := r.Pass(held, job, due)
		switch {
		case errors.Is(err, ErrMoved):
			r.Log.Warn("left to another replica", "job", job.Name, "error", err)
			return nil
		case err != nil && held.Err() != nil && work.Err() == nil:
			return fmt.Errorf("%w (%w)", context.Cause(held), err)
		case err != nil || !did:
			return err
		}
	}
	return nil
}

// Keep is Catch, repeated with growing pauses until it succeeds or ctx ends: a
// daily job must not wait a day because a supplier was busy for a minute.
func (r *Runner) Keep(ctx, work context.Context, job *Job) {
	for wait := r.RetryMin; ctx.Err() == nil; wait = min(2*wait, r.RetryMax) {
		err := r.Catch(ctx, work, job, job.due)
		if err == nil || ctx.Err() != nil {
			return
		}
		r.Metrics.failed(job.Name, errors.Is(err, errPanic))
		r.Log.Error("pass failed, will be tried again", "job", job.Name, "in", wait, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// Rehearse looks at what is due now without keeping or publishing anything, and
// tells see each finding that would open, change or close.
func (r *Runner) Rehearse(ctx context.Context, job *Job, see SeeFunc) error {
	progress, _, err := r.Periods.Load(ctx, job.Name)
	if err != nil {
		return err
	}
	now := r.Now().UTC()
	span, ok := job.dueNow(progress, now)
	if !ok {
		return nil
	}
	sitting, err := r.Book.Sit(ctx, job.Name, true, see)
	if err != nil {
		return err
	}
	return look(ctx, job, &Run{Span: span, Now: now, Number: progress.Runs, Notes: progress.Notes, Dry: true}, sitting)
}

func (r *Runner) sees(job string) SeeFunc {
	if r.Sees == nil {
		return nil
	}
	return r.Sees(job)
}
