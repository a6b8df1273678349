package orderer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

// keeps is a ledger whose index lets go of nothing.
type keeps struct{ Ledger }

func (keeps) Unguard(context.Context, string) error { return errors.New("our side failed") }

// aside is an order that left the queue and whose turn is far off.
func (w *world) aside(id string, state order.State, change func(*order.Record)) *ledger.Entry {
	w.t.Helper()
	cur := w.stood(id, order.Intent)
	r := cur.Record
	r.State = state
	if state == order.Waiting {
		until := time.Now().Add(time.Hour)
		r.Certainty, r.NotBefore = order.CertainNotPlaced, &until
	}
	if change != nil {
		change(&r)
	}
	next, err := w.ledger.Append(w.t.Context(), cur, r)
	if err == nil {
		err = w.ledger.GuardLast(w.t.Context(), openEntry(&next.Record, time.Now().Add(time.Hour)), next.Seq)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return next
}

// Who settles an order outside of its turn, and is then kept from telling the index of
// it, leaves an entry to which the sweep comes soon. Nothing else may: what was said
// comes again and is known.
func TestWhoMovesAnOrderOutOfTurnClaimsIt(t *testing.T) {
	w := newWorld(t)
	w.worker.ledger = keeps{w.ledger}
	a, _ := w.worker.account(order.EIOTCLUB, order.DefaultAccount)
	person := wire.Evidence{Supplier: order.EIOTCLUB, Account: order.DefaultAccount, Source: order.EvidencePerson, Certainty: order.CertainNotPlaced,
		ObservedAt: time.Now(), Actor: "ann", Reason: "asked their support"}
	for _, c := range []struct {
		name  string
		from  order.State
		alter func(*order.Record)
		move  func(id string) (again bool)
		want  order.State
	}{
		{"cancel", order.Waiting, nil, func(id string) bool {
			data := fmt.Appendf(nil, `{"order_id":%q,"account":"default","reason":"changed my mind"}`, id)
			_, again := w.worker.handle(t.Context(), labMsg{bus.SubjectCancel(order.EIOTCLUB), data, 1}).Delay()
			return again
		}, order.Cancelled},
		{"evidence", order.Held, nil, func(id string) bool {
			ev := person
			ev.OrderID = id
			_, again := w.worker.take(t.Context(), ev).Delay()
			return again
		}, order.Rejected},
		{"send-again", order.Held, func(r *order.Record) { r.Request.ExpiresAt = &r.At }, func(id string) bool {
			ev := person
			ev.OrderID, ev.SendAgain = id, true
			_, again := w.worker.take(t.Context(), ev).Delay()
			return again
		}, order.Expired},
		{"late", order.Held, nil, func(id string) bool {
			told := w.entry(id).Record
			told.State, told.Certainty, told.SupplierOrderID, told.Evidence = order.Fulfilled, order.CertainPlaced, "8", order.EvidenceReply
			next, err := w.worker.late(t.Context(), a, told)
			return err == nil && w.worker.afterMove(t.Context(), next) != nil
		}, order.Fulfilled},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.aside(c.name, c.from, c.alter)
			if again, now := c.move(c.name), w.entry(c.name); !again || now.State != c.want {
				t.Fatalf("comes again: %t, %s: %s", again, now.State, now.Reason)
			}
			if o := w.listed(c.name); o == nil || o.Due.After(time.Now().Add(w.timing.claim())) {
				t.Errorf("settled, and listed as %+v", o)
			}
		})
	}
}

// An order that was moved while its call was under way, entered into the index for a
// turn that is far off, and is settled by the call's late answer, is listed no more.
func TestALateAnswerTakesTheOrderOutOfTheIndex(t *testing.T) {
	w := newWorld(t)
	w.worker.ledger = &meanwhile{Ledger: w.ledger, state: order.Intent, act: func() {
		cur := w.entry("late")
		r := cur.Record
		r.State = order.Held
		next, err := w.ledger.Append(t.Context(), &cur, r)
		if err == nil {
			err = w.ledger.GuardLast(t.Context(), openEntry(&next.Record, time.Now().Add(heldInterval)), next.Seq)
		}
		if err != nil {
			t.Error(err)
		}
	}}
	r := flyOrder("late")
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	v := w.worker.handle(t.Context(), labMsg{bus.SubjectRequest(r.Supplier, r.Product), data, 1})
	if now := w.entry("late"); !v.IsDone() || now.State != order.Fulfilled || w.bought(r) != 1 {
		t.Fatalf("%+v: %s, bought %d times", v, now.State, w.bought(r))
	}
	if o := w.listed("late"); o != nil {
		t.Errorf("fulfilled, and listed as %s until %s", o.State, o.Due)
	}
}

// Who finds an order moved that they were about to enter for later leaves it guarded
// as it is now.
func TestOvertaken(t *testing.T) {
	w := newWorld(t)
	moved := w.aside("moved", order.Held, nil)
	settled := w.aside("settled", order.Held, nil)
	for _, cur := range []*ledger.Entry{moved, settled} {
		r := cur.Record
		r.CancelRequested = true
		if cur == settled {
			r.State, r.Certainty = order.Rejected, order.CertainNotPlaced
		}
		if _, err := w.ledger.Append(t.Context(), cur, r); err != nil {
			t.Fatal(err)
		}
		if err := w.worker.guard(t.Context(), stand{Entry: cur, due: time.Now().Add(heldInterval)}); err != nil {
			t.Fatal(err)
		}
	}
	if o := w.listed("moved"); o == nil || !w.worker.isDue(*o) {
		t.Errorf("moved, and listed as %+v", o)
	}
	if o := w.listed("settled"); o != nil {
		t.Errorf("settled, and listed as %+v", o)
	}
}
