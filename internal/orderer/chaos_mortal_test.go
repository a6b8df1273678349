package orderer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// mortal is what a process reaches the world through.
type mortal struct {
	run  *run
	life *life
}

// op does one operation, unless something goes wrong with it.
func (m *mortal) op(name string, do func() error) error {
	r := m.run
	if m.life.dead {
		return errDead
	}
	how := ""
	switch {
	case r.mishap >= 4:
	case r.plan.op == name && r.mishap == 0:
		how = r.plan.how
	case r.plan.op == "" && r.rng.Float64() < r.plan.chance:
		how = mishaps[r.rng.IntN(len(mishaps))]
	}
	if how == "stalls" && (r.nested || name == "place") {
		how = "" // a process that is stopped inside the call itself is beyond anyone's help
	}
	if how != "" {
		r.mishap++
	}
	r.note("%s %s", name, how)
	switch how {
	case "dies before":
		m.life.dead = true
		r.forget()
		return errDead
	case "dies after":
		_ = do()
		m.life.dead = true
		r.forget()
		return errDead
	case "fails before":
		if strings.HasPrefix(name, "append") {
			r.forget()
		}
		return errors.New("our side failed, nothing done")
	case "fails after":
		if err := do(); err != nil {
			return err
		}
		return fmt.Errorf("our side failed, done: %w", bus.ErrOutcomeUnknown)
	case "stalls":
		if r.rng.IntN(2) == 0 {
			err := do()
			r.stall(m.life)
			return err
		}
		r.stall(m.life)
	}
	return do()
}

// forget: what the last call's answer was is known to nobody, unless it is stored.
func (r *run) forget() {
	if n := len(r.sends); n > 0 && !r.sends[n-1].stored {
		r.sends[n-1].outcome = order.CertainUnknown
	}
}

// stall stops a process for longer than its claim on the order, while another one
// works on it.
func (r *run) stall(stopped *life) {
	r.nested = true
	known := slices.Clone(r.sends)
	r.forget()
	r.clock = r.clock.Add(labTiming.AckWait + labTiming.claim())
	r.life = r.newLife()
	for range 1 + r.rng.IntN(4) {
		if !r.step() {
			break
		}
	}
	r.note("stopped process goes on")
	r.life, r.nested = stopped, false
	if len(known) == len(r.sends) {
		r.sends = known // it still knows
	}
}

func (m *mortal) Get(ctx context.Context, id string) (e ledger.Entry, found bool, err error) {
	err = m.op("get", func() error { e, found, err = m.run.ledger.Get(ctx, id); return err })
	return e, found, err
}

func (m *mortal) Raw(ctx context.Context, id string) ([]byte, bool, error) {
	return m.run.ledger.Raw(ctx, id)
}

func (m *mortal) Append(ctx context.Context, prev *ledger.Entry, next order.Record) (e *ledger.Entry, err error) {
	r := m.run
	err = m.op("append "+string(next.State), func() error {
		if b := r.bug; b != nil && b.append != nil {
			e, err = b.append(r, ctx, prev, next)
		} else {
			e, err = r.ledger.Append(ctx, prev, next)
		}
		if err == nil {
			r.appended(e.Record)
		} else {
			r.note("  %v", err)
		}
		return err
	})
	return e, err
}

func (r *run) appended(rec order.Record) {
	from := order.Begin
	if n := len(r.history); n > 0 {
		from = r.history[n-1].State
	}
	if err := order.CheckMove(from, &rec); err != nil {
		r.wrong("%v", err)
	}
	if rec.RequestHash != r.req.Hash() {
		r.wrong("an event of another request stands in the order's history")
	}
	r.history = append(r.history, rec)
	if n := len(r.sends); n > 0 && rec.State != order.Intent {
		r.sends[n-1].stored = true
	}
}

func (m *mortal) Guard(ctx context.Context, o ledger.Open) error {
	return m.op("guard", func() error {
		if b := m.run.bug; b != nil && (b.noGuard || b.noClaim && o.Due.Equal(m.run.clock.Add(labTiming.claim()))) {
			return nil
		}
		return m.run.ledger.Guard(ctx, o)
	})
}

func (m *mortal) GuardLast(ctx context.Context, o ledger.Open, seq uint64) error {
	return m.op("guard", func() error {
		if m.run.bug != nil && m.run.bug.noGuard {
			return nil
		}
		return m.run.ledger.GuardLast(ctx, o, seq)
	})
}

// Enter is Guard on a page. What lies on a page is remembered here, since the lab
// finds its order's entry without a walk through the index.
func (m *mortal) Enter(ctx context.Context, o ledger.Open) func() error {
	var err error
	return m.sometime(func() {
		err = m.op("guard", func() error {
			if m.run.bug != nil && m.run.bug.noGuard {
				return nil
			}
			err := m.run.ledger.Enter(ctx, o)()
			if err == nil {
				m.run.paged = &o
			}
			return err
		})
	}, &err)
}

// sometime does what is begun now and waited for later: at the one moment or the
// other.
func (m *mortal) sometime(do func(), err *error) func() error {
	if m.run.rng.IntN(2) == 0 {
		do()
		return func() error { return *err }
	}
	return func() error { do(); return *err }
}

// Claim of what lies on a page expects that the order has no entry of its own, as
// one of an entry without a revision does.
func (m *mortal) Claim(ctx context.Context, o ledger.Open, due time.Time) error {
	return m.op("claim", func() error {
		err := m.run.ledger.Claim(ctx, o, due)
		if o.Revision == 0 && (err == nil || errors.Is(err, ledger.ErrMoved)) {
			m.run.paged = nil
		}
		return err
	})
}

func (m *mortal) Unguard(ctx context.Context, id string) error {
	return m.op("unguard", func() error {
		if cur, _, err := m.run.ledger.Get(ctx, id); err == nil && !cur.State.Settled() {
			m.run.wrong("the entry of an order that is %s was removed", cur.State)
		}
		return m.run.ledger.Unguard(ctx, id)
	})
}

func (m *mortal) All(ctx context.Context) iter.Seq2[ledger.Open, error] { return m.run.ledger.All(ctx) }

func (m *mortal) hold(string) bool { return true }
func (m *mortal) let(string)       {}
func (m *mortal) lock(_ context.Context, object string, _ *ledger.Entry, _ time.Duration) func() (bool, error) {
	if isNew(object) {
		return func() (bool, error) { return true, nil }
	}
	var mine bool
	var err error
	wait := m.sometime(func() {
		err = m.op("card lock", func() error {
			mine = m.run.rng.IntN(20) > 0 // now and then another replica has the card
			return nil
		})
	}, &err)
	return func() (bool, error) { err := wait(); return mine, err }
}

func (m *mortal) Rules(product string) (supplier.Rules, bool) {
	rules, ok := m.run.clients[m.run.req.Supplier].Rules(product)
	if m.run.bug != nil && m.run.bug.rules != nil {
		m.run.bug.rules(&rules)
	}
	return rules, ok
}
func (m *mortal) RequestID(id string, round int) string {
	return m.run.clients[m.run.req.Supplier].RequestID(id, round)
}
func (m *mortal) AdjustClock(time.Duration) {}
func (m *mortal) Price(ctx context.Context, q order.Request) (p order.Money, err error) {
	err = m.op("price", func() error { p, err = m.run.clients[q.Supplier].Price(ctx, q); return err })
	return p, err
}
func (m *mortal) Balance(ctx context.Context) (order.Money, error) {
	return m.run.clients[m.run.req.Supplier].Balance(ctx)
}

func (m *mortal) Place(ctx context.Context, p supplier.Purchase) (out supplier.Placement, err error) {
	r := m.run
	before := len(r.sends)
	err = m.op("place", func() error {
		r.mayPlace(ctx, p)
		if r.bug != nil && r.bug.purchase != nil {
			r.bug.purchase(r, &p)
		}
		r.sends = append(r.sends, send{at: r.clock, round: p.Round, outcome: order.CertainUnknown})
		out, err = r.clients[p.Supplier].Place(ctx, p)
		r.note("  answer %+v %v", out, err)
		r.misses = 0
		return err
	})
	if n := len(r.sends); n > before && !m.life.dead { // what the engine was told
		if err == nil {
			r.sends[n-1].outcome = order.CertainPlaced
		} else if e := supplier.AsError("", err); !e.Sent || e.Kind.Certainty() == order.CertainNotPlaced {
			r.sends[n-1].outcome = order.CertainNotPlaced
		}
	}
	if m.life.dead && len(r.sends) == before {
		// Nothing was sent, and whoever comes next cannot know that.
		r.sends = append(r.sends, send{at: r.clock, round: p.Round, outcome: order.CertainUnknown})
		r.misses = 0
	}
	if err != nil {
		return supplier.Placement{}, err
	}
	return out, nil
}

func (m *mortal) Lookup(ctx context.Context, q supplier.Query) (s supplier.Sighting, err error) {
	r := m.run
	err = m.op("look", func() error {
		s, err = r.clients[q.Supplier].Lookup(ctx, q)
		r.note("  says %+v %v", s, err)
		if n := len(r.sends); err == nil && !s.Found && n > 0 && !r.clock.Before(r.sends[n-1].at.Add(r.rules.Settle)) {
			r.misses++
		}
		return err
	})
	return s, err
}
