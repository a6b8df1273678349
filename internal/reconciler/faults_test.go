package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	sim "github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/wire"
)

// life is a worker's: it ends at the n-th durable write, before it or right after,
// and nothing works from then on.
type life struct {
	mu     sync.Mutex
	left   int
	after  bool // the last write is still done
	writes int
	dead   bool
}

var errDead = errors.New("the worker is dead")

// write does one durable write, unless death comes first.
func (l *life) write(do func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return errDead
	}
	l.writes++
	if l.left--; l.left == 0 {
		l.dead = true
		if l.after {
			if err := do(); err != nil {
				return err
			}
		}
		return errDead
	}
	return do()
}

func (l *life) alive() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return errDead
	}
	return nil
}

// mortalKV is a bucket as a worker with such a life sees it.
type mortalKV struct {
	jetstream.KeyValue
	life *life
}

func (k mortalKV) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	if err := k.life.alive(); err != nil {
		return nil, err
	}
	return k.KeyValue.Get(ctx, key)
}

func (k mortalKV) Create(ctx context.Context, key string, v []byte, opts ...jetstream.KVCreateOpt) (rev uint64, err error) {
	err = k.life.write(func() error { rev, err = k.KeyValue.Create(ctx, key, v, opts...); return err })
	return rev, err
}

func (k mortalKV) Update(ctx context.Context, key string, v []byte, last uint64) (rev uint64, err error) {
	err = k.life.write(func() error { rev, err = k.KeyValue.Update(ctx, key, v, last); return err })
	return rev, err
}

func (k mortalKV) Purge(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error {
	return k.life.write(func() error { return k.KeyValue.Purge(ctx, key, opts...) })
}

type mortalPublisher struct {
	*bus.Bus
	life *life
}

func (p mortalPublisher) Publish(ctx context.Context, msg *nats.Msg) (ack bus.Ack, err error) {
	err = p.life.write(func() error { ack, err = p.Bus.Publish(ctx, msg); return err })
	return ack, err
}

// mortal gives a worker a life.
func mortal(w *Worker, l *life) *Worker {
	w.book.kv = mortalKV{w.book.kv, l}
	w.book.bus = mortalPublisher{w.bus, l}
	w.witness.bus = mortalPublisher{w.bus, l}
	w.runner.Periods = kvPeriods{mortalKV{w.runner.Periods.(kvPeriods).kv, l}}
	w.tasks.KV = mortalKV{w.tasks.KV, l}
	w.tasks.Bus = mortalPublisher{w.bus, l}
	if w.usage != nil {
		w.usage.Bus = mortalPublisher{w.bus, l}
	}
	return w
}

// reset forgets all that reconcilers ever wrote.
func (r *rig) reset() {
	r.t.Helper()
	for _, name := range []string{bus.StreamFindings, bus.StreamEvidence, bus.StreamTasks} {
		if err := r.bus.JS.DeleteStream(r.ctx, name); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, name := range []string{bus.BucketFindings, bus.BucketReconPeriods, bus.BucketTasks} {
		if err := r.bus.JS.DeleteKeyValue(r.ctx, name); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := r.bus.Provision(r.ctx, bus.DefaultSettings()); err != nil {
		r.t.Fatal(err)
	}
}

// announced checks that every message about a finding is one of its life: opened
// once, then closed at most once, repeats byte for byte the same.
func (r *rig) announced() map[string][]string {
	r.t.Helper()
	out := map[string][]string{}
	for _, f := range messages[wire.Finding](r, bus.StreamFindings, bus.SubjectFinding("*")) {
		key := f.Kind + " " + f.OrderID + f.TaskID
		s := f.Status + " since " + f.FirstSeen.Format(time.RFC3339Nano)
		if !slices.Contains(out[key], s) {
			out[key] = append(out[key], s)
		}
	}
	return out
}

// TestDeathAtEachWrite kills the worker before and after each of its durable
// writes, while findings open and while they close, and lets another go on.
func TestDeathAtEachWrite(t *testing.T) {
	r := newRig(t, nil)
	r.buy(r.packageRequest("good", r.iccid(0)))
	price := r.buy(r.packageRequest("price", r.iccid(1)))
	lost := r.intent(r.packageRequest("lost", r.iccid(2)))
	r.place(lost.Request)
	if _, err := r.sim.Plant(sim.Order{OutTradeNo: "not-ours", ICCID: r.iccid(0)}, true, false); err != nil {
		t.Fatal(err)
	}
	task := r.sim.AddTask(r.iccid(0))
	if err := r.sim.SetTask(task, -2, "no"); err != nil {
		t.Fatal(err)
	}
	r.sleep(testSettle + time.Second)
	r.rejected("letter")
	r.deadEvidence(wire.Evidence{OrderID: "letter", Certainty: order.CertainPlaced, StateThere: "fulfilled"})
	want := []string{"evidence_conflict letter", "order_missing_here not-ours 0.50 USD", "order_price price 0.25 USD", "task_failed " + task}
	slices.Sort(want)

	die := func(n int, after bool) (writes int) {
		r.reset()
		if err := r.sim.SetPrice("price", money2(75), false); err != nil {
			t.Fatal(err)
		}
		r.sleep(testSettle + time.Minute)
		if _, err := r.worker.tasks.KV.Create(r.ctx, taskKey(wire.Task{TaskID: task, Supplier: order.EIOTCLUB, Account: "default"}),
			raw(tracked{Task: wire.Task{TaskID: task, Supplier: order.EIOTCLUB, Account: "default"}, Since: r.clock()})); err != nil {
			t.Fatal(err)
		}
		l := &life{left: n, after: after}
		w := mortal(r.newWorker(r.bus, nil), l)
		run := func(w *Worker) {
			for _, job := range []string{JobRecords, JobTasks, JobConflicts} {
				if err := w.RunOnce(r.ctx, job); err != nil && l.alive() == nil {
					t.Fatalf("%s: %v", job, err)
				}
			}
		}
		run(w)
		r.sleep(time.Second)
		if l.alive() != nil {
			run(r.newWorker(r.bus, nil))
		}
		check := func(phase string, want []string) {
			t.Helper()
			if diff := cmp.Diff(want, r.standing()); diff != "" {
				t.Fatalf("died at write %d (after %t): %s (-want +got):\n%s", n, after, phase, diff)
			}
		}
		check("opened", want)
		// Mend one difference; the finding closes.
		if err := r.sim.SetPrice("price", sim.Money{Minor: 50, Currency: price.Total.Currency}, false); err != nil {
			t.Fatal(err)
		}
		r.sleep(testSettle + time.Minute)
		if l.alive() != nil {
			w = r.newWorker(r.bus, nil)
		}
		run(w)
		r.sleep(time.Second)
		if l.alive() != nil {
			run(r.newWorker(r.bus, nil))
		}
		check("closed", slices.DeleteFunc(slices.Clone(want), func(s string) bool { return s == "order_price price 0.25 USD" }))
		for about, life := range r.announced() {
			switch {
			case about == "order_price price" && len(life) == 2 && life[0][:4] == "open" && life[1][:6] == "closed" && life[0][4:] == life[1][6:]:
			case about != "order_price price" && len(life) == 1 && life[0][:4] == "open":
			default:
				t.Fatalf("died at write %d (after %t): %s went %v", n, after, about, life)
			}
		}
		if ended := messages[wire.TaskEnded](r, bus.StreamTasks, bus.SubjectTaskEnded("*")); len(ended) == 0 || slices.ContainsFunc(ended, func(e wire.TaskEnded) bool { return e != ended[0] }) {
			t.Fatalf("died at write %d (after %t): task ended as %v", n, after, ended)
		}
		if ev := r.evidence(); len(ev) != 1 || ev["lost"].StateThere != "fulfilled" {
			t.Fatalf("died at write %d (after %t): evidence %v", n, after, ev)
		}
		return l.writes
	}
	writes := die(1<<30, false)
	if writes < 15 {
		t.Fatalf("only %d durable writes: the test does not reach what it should", writes)
	}
	for n := 1; n <= writes; n++ {
		for _, after := range []bool{false, true} {
			die(n, after)
		}
	}
	t.Log(fmt.Sprint(writes, " durable writes"))
}
