package cdrpull

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/ftpdir"
	"github.com/simline/simline/internal/trace"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

// handle loads the file of one message and decides what becomes of the message.
func (w *Worker) handle(ctx context.Context, msg jetstream.Msg) bus.Verdict {
	var f wire.CDRToRead
	if _, err := wire.DecodeData(msg.Data(), &f); err != nil {
		return bus.Dead(wire.ReasonOf(err), err)
	}
	name, err := cdr.ParseName(f.File)
	if err != nil {
		return bus.Dead(wire.ReasonSchema, err)
	}
	if msg.Subject() != bus.SubjectCDRFile(f.Account) {
		return bus.Dead(wire.ReasonMismatch, fmt.Errorf("account %q on subject %s", f.Account, msg.Subject()))
	}
	a, ok := w.accounts[f.Account]
	if !ok || a.number != name.Account {
		return bus.Dead(wire.ReasonUnknownAccount, fmt.Errorf("account %q with number %s is not configured here", f.Account, name.Account))
	}
	meta, err := msg.Metadata()
	if err != nil {
		return bus.Dead(wire.ReasonMalformed, err) // not from the stream at all
	}
	attempt := meta.NumDelivered
	st, err := w.states.get(ctx, fileKey(a.name, f.File))
	if err != nil {
		w.log.Error("state of file not read, will try again", "account", a.name, "file", f.File, "error", err)
		return bus.Again(w.pause(attempt))
	}
	if f.Reread != "" && st.news(meta.Sequence.Stream, meta.Timestamp) {
		if st, err = w.order(ctx, a, f, st, meta.Sequence.Stream); err != nil {
			w.log.Warn("wish for a reading not noted, will try again", "account", a.name, "file", f.File, "error", err)
			return bus.Again(w.pause(attempt))
		}
		// If we die here: the message comes again and finds its own wish noted.
	}
	if st.revision > 0 && !st.queued() {
		w.metrics.duplicate.Inc() // told twice; it is done, or looked at again
		return bus.Done()
	}
	if st.revision == 0 {
		st = fileState{State: stateAnnounced, Size: f.Size, Try: 1}
	}
	ctx, span := w.trace.Begin(ctx, msg.Headers().Get(bus.HeaderTraceParent), "cdr load", trace.Consumer)
	defer span.End()
	span.Set("simline.file", f.File)
	begin := time.Now()
	j := &job{account: a, name: name, file: f.File, state: st}
	rec, err := w.loadFile(ctx, j)
	if err == nil {
		w.metrics.seconds.WithLabelValues(a.name).Observe(time.Since(begin).Seconds())
	}
	return w.conclude(ctx, j, rec, attempt, err)
}

// order notes the wish that a file be read again, whatever became of it before.
func (w *Worker) order(ctx context.Context, a account, f wire.CDRToRead, st fileState, wish uint64) (fileState, error) {
	next := st
	next.State, next.Reason, next.Cut, next.Checked = stateReread, "", false, false
	if f.Force {
		next.State = stateForced
	}
	next.Size, next.At, next.Asked = f.Size, time.Now().UTC(), wish
	var err error
	if next.revision, err = w.states.put(ctx, fileKey(a.name, f.File), next); err != nil {
		return st, err
	}
	w.log.Info("file is read again", "account", a.name, "file", f.File, "why", f.Reread, "force", f.Force)
	return next, nil
}

// conclude tells the others what came of a load. The message is acknowledged
// only when the outcome stands in the bucket.
func (w *Worker) conclude(ctx context.Context, j *job, rec warehouse.File, attempt uint64, err error) bus.Verdict {
	a, file, st := j.account, j.file, j.state
	next := fileState{Size: st.Size, Modified: st.Modified, Stamp: j.stamp, Checked: st.Checked, Try: st.Try, At: time.Now().UTC(), SHA256: st.SHA256, Asked: st.Asked, revision: st.revision}
	var unended *unendedError
	outcome := ""
	switch {
	case err == nil && rec.State == warehouse.FileHeld:
		// If we die here: it is judged again, and alike.
		next.State, next.SHA256, next.Reason, outcome = stateHeld, rec.SHA256, rec.Reason, "held"
		w.log.Error("file held: a person must look (simctl cdr show, simctl cdr backfill --force)", "account", a.name, "file", file, "why", rec.Reason)
	case err == nil:
		again := st.SHA256 == rec.SHA256 && !st.ordered()
		if !again {
			if err := w.publishLoaded(ctx, rec); err != nil {
				w.log.Error("loaded file not announced, will try again", "account", a.name, "file", file, "error", err)
				return bus.Again(w.pause(attempt))
			}
		}
		// If we die here: it is announced again with the same message id.
		next.State, next.SHA256, outcome = rec.State, rec.SHA256, rec.State
		if again {
			outcome = "again"
		}
	case errors.As(err, &unended):
		next.State, next.Cut, next.Reason, outcome = stateUnended, unended.cut || unended.empty, err.Error(), "unended"
		w.log.Warn("file is not whole yet", "account", a.name, "file", file, "why", err)
	case errors.Is(err, ftpdir.ErrGone):
		next.State, next.Reason, outcome = stateChanged, "gone", "gone"
		w.log.Warn("file is gone", "account", a.name, "file", file)
	case errors.Is(err, errChanged):
		next.State, next.Reason, outcome = stateChanged, err.Error(), "changed"
		w.log.Info("file changes still", "account", a.name, "file", file, "how", err)
	case errors.Is(err, bus.ErrLeaseHeld):
		return bus.Again(claimTTL / 10) // another file of the account is being loaded
	default:
		if ctx.Err() == nil {
			w.metrics.failures.WithLabelValues(a.name, "load").Inc()
			w.log.Error("file not loaded, will try again", "account", a.name, "file", file, "attempt", attempt, "error", err)
		}
		return bus.Again(w.pause(attempt))
	}
	if _, err := w.states.put(ctx, fileKey(a.name, file), next); err != nil && !errors.Is(err, errMoved) {
		w.log.Error("state of file not written, will try again", "account", a.name, "file", file, "error", err)
		return bus.Again(w.pause(attempt))
	}
	w.metrics.files.WithLabelValues(a.name, outcome).Inc()
	return bus.Done()
}
