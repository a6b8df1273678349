package reconciler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/wire"
)

// Tasks follows the batch tasks that upstream announced until they end, says how
// they ended, and reports those that failed or do not end.
type Tasks struct {
	Accounts   []Account
	KV         jetstream.KeyValue // the bucket tasks
	Bus        Publisher
	Metrics    *Metrics
	Cost       *Cost
	StuckAfter time.Duration
	Now        func() time.Time
}

// tracked is a task in the bucket tasks, under <supplier>.<account>.<hash of id>.
type tracked struct {
	Task  wire.Task `json:"task"`
	Since time.Time `json:"since"` // when it was announced
	// Ended is set before the end is announced, so that whoever finds it later
	// announces the same.
	Ended *wire.TaskEnded `json:"ended,omitempty"`
}

// maxTaskID is the longest task id accepted, in bytes.
const maxTaskID = 128

// Track takes one announcement; the handler of the consumer reconciler-tasks.
func (j *Tasks) Track(ctx context.Context, msg jetstream.Msg) bus.Verdict {
	t, err := decodeTask(msg.Subject(), msg.Data())
	if err != nil {
		return bus.Dead(wire.ReasonOf(err), err)
	}
	if !slices.ContainsFunc(j.Accounts, func(a Account) bool { return a.Supplier == t.Supplier && a.Name == t.Account && a.Tasks != nil }) {
		return bus.Dead(wire.ReasonUnknownAccount, fmt.Errorf("no account %q of %s is configured that has tasks", t.Account, t.Supplier))
	}
	_, err = j.KV.Create(ctx, taskKey(t), raw(tracked{Task: t, Since: j.Now().UTC()}))
	if bus.IsConflict(err) {
		err = j.complete(ctx, t)
	}
	if err != nil {
		return bus.Again(5 * time.Second)
	}
	// If we die here: the announcement comes again and finds its task tracked.
	return bus.Done()
}

// complete adds what a task is about to one that was announced without it:
// announcements are taken side by side, so that the poorer may come first.
func (j *Tasks) complete(ctx context.Context, t wire.Task) error {
	e, err := j.KV.Get(ctx, taskKey(t))
	if err != nil {
		return fmt.Errorf("tracked task: %w", err)
	}
	var old tracked
	if err := json.Unmarshal(e.Value(), &old); err != nil {
		return fmt.Errorf("tracked task %s: %w", e.Key(), err)
	}
	if old.Task.What != "" || t.What == "" {
		return nil
	}
	old.Task.What = t.What
	_, err = j.KV.Update(ctx, e.Key(), raw(old), e.Revision())
	return err
}

func decodeTask(subject string, data []byte) (wire.Task, error) {
	var t wire.Task
	if _, err := wire.DecodeData(data, &t); err != nil {
		return t, err
	}
	if t.Account == "" {
		t.Account = order.DefaultAccount
	}
	there := subject[strings.LastIndexByte(subject, '.')+1:]
	if t.Supplier == "" {
		t.Supplier = there
	}
	switch {
	case t.Supplier != there:
		return t, &wire.Error{Reason: wire.ReasonMismatch, Text: fmt.Sprintf("task of %.32q on the subject of %s", t.Supplier, there)}
	case t.TaskID == "" || len(t.TaskID) > maxTaskID || strings.ContainsFunc(t.TaskID, func(r rune) bool { return r <= ' ' || r == ',' || r > '~' }):
		return t, &wire.Error{Reason: wire.ReasonSchema, Text: fmt.Sprintf("task_id %.40q is not 1 to %d visible characters without commas", t.TaskID, maxTaskID)}
	case !order.ValidAccount(t.Account):
		return t, &wire.Error{Reason: wire.ReasonSchema, Text: fmt.Sprintf("account %.40q is not a name", t.Account)}
	case len(t.What) > 1000:
		return t, &wire.Error{Reason: wire.ReasonSchema, Text: "what is over 1000 bytes"}
	}
	return t, nil
}

func taskKey(t wire.Task) string {
	sum := sha256.Sum256([]byte(t.TaskID))
	return t.Supplier + "." + t.Account + "." + hex.EncodeToString(sum[:16])
}

func taskAbout(t wire.Task) string { return t.Supplier + "/" + t.Account + "/" + t.TaskID }

// Look asks for every task that is tracked now.
func (j *Tasks) Look(ctx context.Context, run *Run, sitting *Sitting) error {
	p := &tasksPass{Tasks: j, run: run, sitting: sitting, seen: map[string]bool{}}
	for _, a := range j.Accounts {
		if a.Tasks == nil {
			continue
		}
		if err := p.account(ctx, a); err != nil {
			return fmt.Errorf("account %s: %w", a.Name, err)
		}
	}
	return p.close(ctx)
}

type tasksPass struct {
	*Tasks
	run     *Run
	sitting *Sitting
	seen    map[string]bool
}

// entry is a tracked task as it stands in the bucket.
type entry struct {
	tracked
	key      string
	revision uint64
}

func (p *tasksPass) account(ctx context.Context, a Account) error {
	var batch []entry
	err := each(ctx, p.KV, a.Supplier+"."+a.Name+".*", func(v jetstream.KeyValueEntry) error {
		e := entry{key: v.Key(), revision: v.Revision()}
		if err := json.Unmarshal(v.Value(), &e.tracked); err != nil {
			return fmt.Errorf("tracked task %s: %w", e.key, err)
		}
		batch = append(batch, e)
		if len(batch) < eiotclub.MaxTaskIDs {
			return nil
		}
		full := batch
		batch = nil
		return p.ask(ctx, a, full)
	})
	if err != nil {
		return err
	}
	return p.ask(ctx, a, batch)
}

// ask asks for one batch of tasks, without those whose end only was not announced.
func (p *tasksPass) ask(ctx context.Context, a Account, batch []entry) error {
	var ids []string
	for _, e := range batch {
		if e.Ended == nil {
			ids = append(ids, e.Task.TaskID)
		}
	}
	if len(ids) > 0 {
		p.Cost.could("task/query", 1)
	}
	status := map[string]eiotclub.Task{}
	if err := p.query(ctx, a, ids, status); err != nil {
		return err
	}
	for _, e := range batch {
		t, known := status[e.Task.TaskID]
		if err := p.judge(ctx, e, t, known); err != nil {
			return fmt.Errorf("task %s: %w", e.Task.TaskID, err)
		}
	}
	return nil
}

// query asks for the status of ids. An id that the supplier refuses makes it refuse
// the whole batch, so the batch is halved until that one is alone: it then counts
// as not known there.
func (p *tasksPass) query(ctx context.Context, a Account, ids []string, status map[string]eiotclub.Task) error {
	if len(ids) == 0 {
		return nil
	}
	tasks, err := a.Tasks.Tasks(ctx, ids)
	var e *supplier.Error
	if errors.As(err, &e) && e.Kind == supplier.Refused {
		if len(ids) == 1 {
			return nil
		}
		half := len(ids) / 2
		if err := p.query(ctx, a, ids[:half], status); err != nil {
			return err
		}
		return p.query(ctx, a, ids[half:], status)
	}
	for _, t := range tasks {
		status[t.ID] = t
	}
	return err
}

func (p *tasksPass) judge(ctx context.Context, e entry, t eiotclub.Task, known bool) error {
	about := taskAbout(e.Task)
	p.seen[about] = true
	switch {
	case e.Ended != nil:
		return p.end(ctx, e)
	case known && t.Ended():
		e.Ended = &wire.TaskEnded{Task: e.Task, Status: endedStatus(t.Status), Result: t.Result, EndedAt: p.run.Now}
		if p.run.Dry {
			return p.found(ctx, e)
		}
		revision, err := p.KV.Update(ctx, e.key, raw(e.tracked), e.revision)
		if err != nil {
			return fmt.Errorf("keep its end: %w", err)
		}
		e.revision = revision
		// If we die here: the next run finds the end in the bucket and announces it.
		return p.end(ctx, e)
	case !p.run.Settled(e.Since, p.StuckAfter):
		return p.sitting.Looked(ctx, about)
	}
	f := taskFinding(KindTaskStuck, e.Task)
	f.Theirs = raw(map[string]any{"status": t.Status})
	f.Evidence = "task/query"
	if !known {
		f.Theirs = nil
		f.Evidence = "task/query does not know the task"
	}
	f.Ours = raw(map[string]any{"what": e.Task.What, "since": e.Since})
	return p.sitting.Looked(ctx, about, f)
}

// end announces how a task ended, reports it if it failed, and forgets it.
func (p *tasksPass) end(ctx context.Context, e entry) error {
	if p.run.Dry {
		return p.found(ctx, e)
	}
	id := "task:" + e.Task.Supplier + ":" + e.Task.Account + ":" + e.Task.TaskID + ":" + e.Since.Format(time.RFC3339Nano)
	env, err := wire.NewEnvelope(wire.TypeTaskEnded, wire.Source("reconciler"), e.Task.TaskID, id, e.Ended.EndedAt, e.Ended)
	if err != nil {
		return err
	}
	data, err := env.Marshal()
	if err != nil {
		return err
	}
	if _, err := p.Bus.Publish(ctx, bus.NewMsg(bus.SubjectTaskEnded(e.Task.Supplier), id, data)); err != nil {
		return err
	}
	// If we die here: it is announced once more, under the same id.
	if err := p.found(ctx, e); err != nil {
		return err
	}
	if err := p.KV.Purge(ctx, e.key, jetstream.LastRevision(e.revision), jetstream.PurgeTTL(time.Hour)); err != nil {
		return fmt.Errorf("forget it: %w", err)
	}
	p.Metrics.ended.WithLabelValues(e.Task.Supplier, e.Ended.Status).Inc()
	return nil
}

// found closes what was said of the task and reports a failure.
func (p *tasksPass) found(ctx context.Context, e entry) error {
	if e.Ended.Status == "success" {
		return p.sitting.Looked(ctx, taskAbout(e.Task))
	}
	f := taskFinding(KindTaskFailed, e.Task)
	f.Ours = raw(map[string]any{"what": e.Task.What})
	f.Theirs = raw(map[string]any{"status": e.Ended.Status, "result": e.Ended.Result})
	f.Evidence = "task/query"
	return p.sitting.Looked(ctx, taskAbout(e.Task), f)
}

// close closes what was said of tasks that are tracked no more. A failure is a
// fact and stays until a person accepts it.
func (p *tasksPass) close(ctx context.Context) error {
	for _, about := range p.sitting.Abouts() {
		if p.seen[about] || p.sitting.Has(FindingID(KindTaskFailed, about)) {
			continue
		}
		if err := p.sitting.Looked(ctx, about); err != nil {
			return err
		}
	}
	return nil
}

func taskFinding(kind string, t wire.Task) wire.Finding {
	return wire.Finding{Kind: kind, TaskID: t.TaskID, Supplier: t.Supplier, Account: t.Account}
}

func endedStatus(status int) string {
	switch status {
	case eiotclub.TaskSucceeded:
		return "success"
	case eiotclub.TaskEnded:
		return "ended"
	}
	return "failed"
}
