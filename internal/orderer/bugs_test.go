package orderer

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/wire"
)

// bug is a mistake planted in the engine or in what it stands on.
type bug struct {
	name     string
	plant    func(r *run, w *Worker)
	rules    func(*supplier.Rules)
	purchase func(r *run, p *supplier.Purchase)
	append   func(r *run, ctx context.Context, prev *ledger.Entry, next order.Record) (*ledger.Entry, error)
	ackFirst bool
	noGuard  bool
	noClaim  bool // of what is moved outside of its turn
}

// inVerdict plants a bug in what an answer leads to.
func inVerdict(change func(j judge, intent order.Record, e *supplier.Error, r order.Record) order.Record) func(*run, *Worker) {
	return func(_ *run, w *Worker) {
		w.decide.verdict = func(j judge, intent *order.Record, p supplier.Placement, err error) order.Record {
			r := j.verdict(intent, p, err)
			e := &supplier.Error{}
			if err != nil {
				e = supplier.AsError("", err)
			}
			return change(j, *intent, e, r)
		}
	}
}

// inGates plants a bug in what is asked before money moves.
func inGates(change func(w *Worker, r *order.Record)) func(*run, *Worker) {
	return func(_ *run, w *Worker) {
		w.decide.gates = func(w *Worker, ctx context.Context, a *account, cur *order.Record) (reserved, *shut, error) {
			c := *cur
			change(w, &c)
			return w.gates(ctx, a, &c)
		}
	}
}

// inStep plants a bug in what is done with an order in some state.
func inStep(state order.State) func(*run, *Worker) {
	return func(_ *run, w *Worker) {
		w.decide.step = func(w *Worker, ctx context.Context, a *account, cur *ledger.Entry) (stand, error) {
			if cur.State == state {
				return w.place(ctx, a, cur, supplier.PermitNew(forged))
			}
			return w.step(ctx, a, cur)
		}
	}
}

// forged is what a bug takes for proof: only by saying a falsehood aloud can one be
// had.
var forged, _ = order.RuledOut("a bug")

func notPlaced(j judge, r order.Record) order.Record {
	return forged.Reject(j.next(&r), &order.Error{Kind: string(supplier.Refused), Code: "(bug)"})
}

var bugs = []bug{
	{name: "skips the intent", append: func(r *run, ctx context.Context, prev *ledger.Entry, next order.Record) (*ledger.Entry, error) {
		if next.State == order.Intent {
			return &ledger.Entry{Record: next, Seq: prev.Seq}, nil
		}
		return r.ledger.Append(ctx, prev, next)
	}},
	{name: "acknowledges first", ackFirst: true},
	{name: "takes a new request id for each call", purchase: func(r *run, p *supplier.Purchase) {
		if n := len(r.sends); n > 0 && p.Supplier == order.EIOTCLUB {
			p.OrderID = fmt.Sprintf("%s-%d", p.OrderID, n)
		} else {
			p.Round = n
		}
	}},
	{name: "believes the first not-found", rules: func(r *supplier.Rules) { r.Looks, r.Settle = 1, 0 }},
	{name: "does not wait for the supplier to settle", rules: func(r *supplier.Rules) { r.Settle = 0 }},
	{name: "believes one look", plant: func(_ *run, w *Worker) {
		w.decide.notSeen = func(j judge, cur order.Record, where string) (order.Record, supplier.Permit) {
			r, permit := j.notSeen(cur, where)
			if cur.State != order.Intent {
				permit = supplier.PermitNew(forged)
			}
			return r, permit
		}
	}},
	{name: "counts looks before the supplier has settled", plant: func(_ *run, w *Worker) {
		w.decide.notSeen = func(j judge, cur order.Record, where string) (order.Record, supplier.Permit) {
			long := j.now.Add(-time.Hour)
			sent := cur.LastSentAt
			cur.LastSentAt = &long
			r, permit := j.notSeen(cur, where)
			r.LastSentAt = sent
			return r, permit
		}
	}},
	{name: "calls a time-out a failure", plant: inVerdict(func(j judge, _ order.Record, _ *supplier.Error, r order.Record) order.Record {
		if r.State == order.Unknown {
			return notPlaced(j, r)
		}
		return r
	})},
	{name: "sends blindly again", plant: inVerdict(func(j judge, _ order.Record, _ *supplier.Error, r order.Record) order.Record {
		if r.State == order.Unknown {
			return forged.Wait(r, "busy", j.now.Add(time.Second))
		}
		return r
	})},
	{name: "takes the refusal of a repeat for one of the first call", plant: func(_ *run, w *Worker) {
		w.decide.verdict = func(j judge, intent *order.Record, p supplier.Placement, err error) order.Record {
			sure := *intent
			sure.InDoubt = false
			return j.verdict(&sure, p, err)
		}
	}},
	{name: "forgets its doubt when it sends again", plant: func(_ *run, w *Worker) {
		w.decide.intend = func(j judge, cur *order.Record, permit supplier.Permit, id string, balance *order.Money) order.Record {
			r := j.intend(cur, permit, id, balance)
			r.InDoubt = false
			return r
		}
	}},
	{name: "takes a new round in doubt", plant: inVerdict(func(_ judge, _ order.Record, _ *supplier.Error, r order.Record) order.Record {
		if r.State == order.Unknown {
			r.Round++
		}
		return r
	})},
	{name: "takes 'exists' for a refusal", plant: inVerdict(func(j judge, _ order.Record, e *supplier.Error, r order.Record) order.Record {
		if e.Kind == supplier.Exists {
			return notPlaced(j, r)
		}
		return r
	})},
	{name: "takes 'exists' for bought, under our own id", plant: inVerdict(func(j judge, _ order.Record, e *supplier.Error, r order.Record) order.Record {
		if e.Kind == supplier.Exists {
			return j.there(&r, supplier.Placement{SupplierOrderID: r.OrderID, State: order.Fulfilled}, order.EvidenceDuplicate)
		}
		return r
	})},
	{name: "reports another id than the supplier's", plant: inVerdict(func(_ judge, _ order.Record, _ *supplier.Error, r order.Record) order.Record {
		if r.SupplierOrderID != "" {
			r.SupplierOrderID = "N" + r.SupplierOrderID
		}
		return r
	})},
	{name: "does not guard what leaves the queue", noGuard: true},
	{name: "moves an order outside of its turn without a claim", noClaim: true},
	{name: "writes without compare-and-set", append: func(r *run, ctx context.Context, prev *ledger.Entry, next order.Record) (*ledger.Entry, error) {
		if last, found, err := r.bus.Last(ctx, bus.StreamOrderEvents, bus.SubjectOrderHistory(next.OrderID)); err == nil && found {
			blind := *prev
			blind.Seq = last.Sequence
			prev = &blind
		}
		return r.ledger.Append(ctx, prev, next)
	}},
	{name: "rejects what only a person can settle", append: func(r *run, ctx context.Context, prev *ledger.Entry, next order.Record) (*ledger.Entry, error) {
		if next.State == order.Held {
			next.State, next.Certainty = order.Rejected, order.CertainNotPlaced
		}
		return r.ledger.Append(ctx, prev, next)
	}},
	{name: "reports what is unknown as placed", append: func(r *run, ctx context.Context, prev *ledger.Entry, next order.Record) (*ledger.Entry, error) {
		if next.State == order.Unknown && prev.State == order.Intent {
			next.State, next.Certainty, next.SupplierOrderID = order.Fulfilled, order.CertainPlaced, next.OrderID
		}
		return r.ledger.Append(ctx, prev, next)
	}},
	{name: "lets the repeat window slide", append: func(r *run, ctx context.Context, prev *ledger.Entry, next order.Record) (*ledger.Entry, error) {
		next.FirstSentAt = next.LastSentAt
		if next.State == order.Unknown {
			at := next.At
			next.FirstSentAt = &at
		}
		return r.ledger.Append(ctx, prev, next)
	}},
	{name: "repeats after the supplier has forgotten", rules: func(r *supplier.Rules) { r.RepeatWindow = 0 }},
	{name: "repeats without end", rules: func(r *supplier.Rules) { r.Looks = 50 }},
	{name: "sends an expired order", plant: inGates(func(_ *Worker, r *order.Record) { r.Request.ExpiresAt = nil })},
	{name: "sends a cancelled order", plant: inGates(func(_ *Worker, r *order.Record) { r.CancelRequested = false })},
	{name: "ignores max_total", plant: inGates(func(_ *Worker, r *order.Record) { r.Request.MaxTotal = nil })},
	{name: "spends while spending is stopped", plant: inGates(func(w *Worker, _ *order.Record) { clear(w.switches.on) })},
	{name: "sends an intent that it found", plant: inStep(order.Intent)},
	{name: "sends a held order", plant: inStep(order.Held)},
	{name: "takes another's not-found for proof", plant: func(_ *run, w *Worker) {
		w.decide.weigh = func(j judge, cur order.Record, ev wire.Evidence) (order.Record, effect) {
			if ev.Certainty == order.CertainNotPlaced && cur.State == order.Unknown {
				return notPlaced(j, cur), effectMoves
			}
			return j.weigh(cur, ev)
		}
	}},
	{name: "takes another body under the same id", plant: func(_ *run, w *Worker) {
		w.decide.find = func(w *Worker, ctx context.Context, req order.Request, trace string, again bool) (*ledger.Entry, error) {
			cur, found, err := w.ledger.Get(ctx, req.OrderID)
			if err != nil || found {
				return &cur, err
			}
			return w.find(ctx, req, trace, again)
		}
	}},
	{name: "takes each request for a new one", plant: func(_ *run, w *Worker) {
		w.decide.find = func(w *Worker, ctx context.Context, req order.Request, trace string, _ bool) (*ledger.Entry, error) {
			return w.find(ctx, req, trace, false)
		}
	}},
}

// Each bug must be found by runs like those of TestChaos.
func TestPlantedBugsAreFound(t *testing.T) {
	const most = 4000
	l := newLab(t)
	for _, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			var found, runs atomic.Int64
			var how atomic.Pointer[string]
			quiet := &lab{t: t, bus: l.bus, ledger: l.ledger, open: l.open, budgets: l.budgets, eiotclub: l.eiotclub, esimfly: l.esimfly, clients: l.clients, metrics: l.metrics}
			quiet.until(most, func(i int) bool {
				seed := uint64(i) + 1
				r := quiet.newRun(fmt.Sprintf("bug%d", bugIndex(b.name)), seed, chaosPlan(seed), &b, -1)
				disarm := r.arm()
				r.run()
				disarm()
				runs.Add(1)
				if len(r.faults) > 0 {
					found.Add(1)
					how.CompareAndSwap(nil, &r.faults[0])
				}
				return found.Load() > 0
			})
			if found.Load() == 0 {
				t.Fatalf("not found in %d runs", runs.Load())
			}
			t.Logf("found after %d runs: %s", runs.Load(), *how.Load())
		})
	}
}

func bugIndex(name string) int {
	for i, b := range bugs {
		if b.name == name {
			return i
		}
	}
	return -1
}
