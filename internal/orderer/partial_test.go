package orderer

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	esimflysim "github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/sim/fault"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/wire"
)

// pending makes every order at eSIMfly one that comes without its eSIMs, and
// completes at its so many'th look, which shows the first of them. Once there is a
// status to show, the supplier shows it, and all of them.
func (w *world) pending(looks int) (show func(status string)) {
	w.t.Helper()
	w.esimfly = esimflysim.New(esimflysim.Config{Seed: 1, PendingEvery: 1, PendingLooks: looks})
	w.t.Cleanup(w.esimfly.Close)
	var status atomic.Value
	w.front(func(_ string, rw http.ResponseWriter, r *http.Request) bool {
		o, found := w.esimfly.Order(r.URL.Query().Get("orderReference"))
		said, shown := status.Load().(string)
		if !found || !shown {
			return false
		}
		type esim struct {
			ICCID string `json:"iccid"`
		}
		var list []esim
		for _, e := range o.ESims {
			list = append(list, esim{e.ICCID})
		}
		err := json.NewEncoder(rw).Encode(map[string]any{"success": true, "order": map[string]any{"orderReference": o.Reference, "status": said, "esims": list}})
		if err != nil {
			w.t.Error(err)
		}
		return true
	})
	return func(said string) { status.Store(said) }
}

// lookAgain takes an open order up as the sweep does at its turn.
func (w *world) lookAgain(id string) ledger.Entry {
	w.t.Helper()
	until(w.t, "order "+id+" is taken up", func() bool {
		for o, err := range w.ledger.All(w.t.Context()) {
			if err != nil {
				w.t.Fatal(err)
			}
			if o.OrderID != id {
				continue
			}
			err := w.worker.resumeOne(w.t.Context(), o)
			if err != nil && !errors.Is(err, ledger.ErrMoved) { // whoever held it writes its entry still
				w.t.Fatal(err)
			}
			return err == nil
		}
		return false
	})
	return w.entry(id)
}

func (w *world) entry(id string) ledger.Entry {
	w.t.Helper()
	e, found, err := w.ledger.Get(w.t.Context(), id)
	if err != nil || !found {
		w.t.Fatal(found, err)
	}
	return e
}

func iccids(list []order.ESIM) string {
	var out []string
	for _, e := range list {
		out = append(out, e.ICCID)
	}
	return strings.Join(out, " ")
}

func bothOf(o esimflysim.Order) string { return o.ESims[0].ICCID + " " + o.ESims[1].ICCID }

// seenThere is what the reconciler tells of an order that its look-up shows.
func seenThere(r order.Record, state order.State, esims ...order.ESIM) wire.Evidence {
	return wire.Evidence{OrderID: r.OrderID, Supplier: r.Supplier, Account: order.DefaultAccount, Source: order.EvidenceLookup, Certainty: order.CertainPlaced,
		SupplierOrderID: r.SupplierOrderID, StateThere: string(state), ESIMs: esims}
}

// saidFulfilled is a person's word that what was bought is there.
func saidFulfilled(r order.Record, esims ...order.ESIM) wire.Evidence {
	ev := seenThere(r, order.Fulfilled, esims...)
	ev.Source, ev.Actor, ev.Reason = order.EvidencePerson, "ann", "their dashboard shows both"
	return ev
}

const shownInPart = "completed at the supplier, which shows 1 of 2 eSIMs here: its dashboard has the rest"

// What is completed and shown in part is not followed for ever: it is held, once, with
// what was shown, until a look, other evidence or a person ends it.
func TestShownInPartIsHeld(t *testing.T) {
	w := newWorld(t)
	show := w.pending(2)
	wait := w.events()
	w.run()
	held := func(id string) (order.Record, esimflysim.Order) {
		t.Helper()
		w.publish(flyOrder(id))
		r := wait(id, order.Held)
		o, ok := w.esimfly.Order(r.SupplierOrderID)
		if !ok || r.Certainty != order.CertainPlaced || r.Evidence != order.EvidenceLookup || r.Reason != shownInPart || r.Attempt != 1 {
			t.Fatalf("held as %+v; there as %q: %t", r, r.SupplierOrderID, ok)
		}
		if named(r.ESIMs) != 1 || r.ESIMs[0].ICCID != o.ESims[0].ICCID || r.ESIMs[0].QRCodeURL == "" {
			t.Fatalf("held with %+v", r.ESIMs)
		}
		return r, o
	}
	t.Run("no look and no evidence says that again", func(t *testing.T) {
		r, _ := held("again")
		was := w.entry("again")
		if now := w.lookAgain("again"); now.Seq != was.Seq {
			t.Errorf("written again: %s %s", now.State, now.Reason)
		}
		for _, ev := range []wire.Evidence{seenThere(r, order.Placed, r.ESIMs[0]), seenThere(r, ""), seenThere(r, order.Fulfilled), seenThere(r, order.Fulfilled, r.ESIMs[0])} {
			if v := w.worker.take(t.Context(), ev); !v.IsDone() {
				t.Errorf("%+v: %+v", ev, v)
			}
			if now := w.entry("again"); now.Seq != was.Seq {
				t.Errorf("moved by %q with %d eSIMs: %s %s", ev.StateThere, len(ev.ESIMs), now.State, now.Reason)
			}
		}
		buy := saidFulfilled(r)
		buy.Certainty, buy.StateThere, buy.SendAgain, buy.ObservedAt = order.CertainNotPlaced, "", true, time.Now()
		if reason, dead := w.worker.take(t.Context(), buy).IsDead(); !dead || reason != wire.ReasonConflict || w.entry("again").Seq != was.Seq {
			t.Errorf("what is there was sent again, %s: %s", reason, w.entry("again").State)
		}
		w.evidence(saidFulfilled(r))
		wait("again", order.Fulfilled)
	})
	t.Run("a person, who has the other", func(t *testing.T) {
		r, o := held("brought")
		w.evidence(saidFulfilled(r, order.ESIM{ICCID: o.ESims[1].ICCID, ActivationCode: "LPA:1$rsp$2"}))
		got := wait("brought", order.Fulfilled)
		if iccids(got.ESIMs) != bothOf(o) || got.ESIMs[0].QRCodeURL == "" || got.ESIMs[1].ActivationCode != "LPA:1$rsp$2" || got.ESIMs[1].Status != "" {
			t.Errorf("fulfilled with %+v", got.ESIMs)
		}
		if got.Evidence != order.EvidencePerson || got.Reason != "ann: their dashboard shows both" || got.Certainty != order.CertainPlaced {
			t.Errorf("fulfilled as %+v", got)
		}
		// The same word once more, as after a death before its acknowledgement.
		was := w.entry("brought")
		if v := w.worker.take(t.Context(), saidFulfilled(r)); !v.IsDone() || w.entry("brought").Seq != was.Seq {
			t.Errorf("said again: %+v", v)
		}
	})
	t.Run("a person, who has nothing more", func(t *testing.T) {
		r, o := held("bare")
		w.evidence(saidFulfilled(r))
		if got := wait("bare", order.Fulfilled); iccids(got.ESIMs) != o.ESims[0].ICCID {
			t.Errorf("fulfilled with %+v", got.ESIMs)
		}
	})
	t.Run("evidence of an end", func(t *testing.T) {
		r, _ := held("refunded")
		w.evidence(seenThere(r, order.Refunded))
		wait("refunded", order.Refunded)
	})
	t.Run("held by a person, and shown in part again", func(t *testing.T) {
		r, _ := held("stopped")
		ev := saidFulfilled(r)
		ev.Certainty, ev.StateThere, ev.Reason = order.CertainUnknown, "", "wait for their mail"
		w.evidence(ev)
		until(t, "a person's hold", func() bool { return w.entry("stopped").Reason == "ann: wait for their mail" })
		if now := w.lookAgain("stopped"); now.State != order.Held || now.Certainty != order.CertainPlaced || now.Reason != shownInPart {
			t.Errorf("%s as %s: %s", now.State, now.Certainty, now.Reason)
		}
		w.evidence(saidFulfilled(r))
		wait("stopped", order.Fulfilled)
	})
	t.Run("a look that shows all", func(t *testing.T) {
		_, o := held("late")
		was := w.entry("late")
		show("pending_details")
		if now := w.lookAgain("late"); now.Seq != was.Seq {
			t.Errorf("moved by a look that knows no end: %s %s", now.State, now.Reason)
		}
		show("completed")
		if now := w.lookAgain("late"); now.State != order.Fulfilled || now.Evidence != order.EvidenceLookup || iccids(now.ESIMs) != bothOf(o) || now.Reason != "" {
			t.Errorf("%s by %s with %+v: %s", now.State, now.Evidence, now.ESIMs, now.Reason)
		}
	})
	w.settled()
}

// Whoever has to bring what no look shows is told of each eSIM that one does show.
func TestEachESIMMoreIsTold(t *testing.T) {
	w := newWorld(t)
	a, _ := w.worker.account(order.ESIMFly, order.DefaultAccount)
	r := flyOrder("three")
	r.Quantity = 3
	at := time.Now().UTC()
	rec := order.Record{OrderID: r.OrderID, Supplier: r.Supplier, Product: r.Product, Account: r.Account, Request: r, AcceptedAt: at, At: at,
		FirstSentAt: &at, LastSentAt: &at, State: order.Intent, Certainty: order.CertainUnknown, Attempt: 1}
	cur, err := w.ledger.Append(t.Context(), &ledger.Entry{}, rec)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []int{1, 1, 2, 1} {
		s := supplier.Sighting{Found: true, Partial: true, Where: "status", Placement: supplier.Placement{SupplierOrderID: "7", State: order.Placed,
			ESIMs: []order.ESIM{{ICCID: "1"}, {ICCID: "2"}}[:shown]}}
		next, err := w.worker.follow(t.Context(), a, w.worker.judge(a, &cur.Record), cur, s, nil)
		if err != nil {
			t.Fatal(err)
		}
		if more := shown > named(cur.ESIMs); (next.Seq != cur.Seq) != more || named(next.ESIMs) != max(shown, named(cur.ESIMs)) || !heldAsPlaced(&next.Record) {
			t.Errorf("%d shown, %d known: told anew: %t, with %+v", shown, named(cur.ESIMs), next.Seq != cur.Seq, next.ESIMs)
		}
		cur = next.Entry
	}
	if want := "completed at the supplier, which shows 2 of 3 eSIMs here: its dashboard has the rest"; cur.Reason != want {
		t.Errorf("held: %s", cur.Reason)
	}
}

// An answer was lost, a person told under what id the order is there: its looks show a
// part, and it is held again, for who has the rest.
func TestToldPlacedAndShownInPart(t *testing.T) {
	w := newWorld(t)
	wait := w.events()
	w.run()
	w.esimfly.Faults().MustAdd(fault.Rule{Kind: fault.LostReply, Path: "esims/order", Times: 1})
	w.publish(flyOrder("lost"))
	first := wait("lost", order.Held)
	if first.Certainty != order.CertainUnknown || first.SupplierOrderID != "" {
		t.Fatalf("held as %+v", first)
	}
	o, ok := w.esimfly.Order(first.SupplierRequestID)
	if !ok {
		t.Fatal("not bought")
	}
	placed := saidFulfilled(first)
	placed.StateThere, placed.SupplierOrderID = "", o.Reference
	w.evidence(placed)
	if r := wait("lost", order.Placed); r.Evidence != order.EvidencePerson {
		t.Errorf("placed by %s", r.Evidence)
	}
	r := wait("lost", order.Held)
	if r.Reason != shownInPart || r.Certainty != order.CertainPlaced || r.SupplierOrderID != o.Reference || iccids(r.ESIMs) != o.ESims[0].ICCID {
		t.Errorf("held as %+v", r)
	}
	was := w.entry("lost")
	if v := w.worker.take(t.Context(), placed); !v.IsDone() || w.entry("lost").Seq != was.Seq {
		t.Errorf("told once more that it is placed: %+v, %s", v, w.entry("lost").State)
	}
	w.evidence(saidFulfilled(r, order.ESIM{ICCID: o.ESims[1].ICCID}))
	got := wait("lost", order.Fulfilled)
	if iccids(got.ESIMs) != bothOf(o) || got.ESIMs[0].QRCodeURL == "" || w.bought(got.Request) != 1 {
		t.Errorf("fulfilled with %+v, bought %d times", got.ESIMs, w.bought(got.Request))
	}
	w.settled()
}

// An order that is only placed can be ended by who has its eSIMs; by who has none it
// is not, and is followed as before.
func TestAPersonEndsAPlacedOrder(t *testing.T) {
	w := newWorld(t)
	w.pending(1 << 30)
	wait := w.events()
	w.run()
	w.publish(flyOrder("placed"))
	r := wait("placed", order.Placed)
	o, ok := w.esimfly.Order(r.SupplierOrderID)
	if !ok || len(r.ESIMs) != 2 || named(r.ESIMs) != 0 {
		t.Fatalf("placed with %+v", r.ESIMs)
	}
	if v := w.worker.take(t.Context(), saidFulfilled(r)); !v.IsDone() {
		t.Errorf("%+v", v)
	}
	if now := w.entry("placed"); now.State != order.Placed {
		t.Errorf("%s with %+v", now.State, now.ESIMs)
	}
	// Of the two it brings one: the other is not listed as pending for ever.
	w.evidence(saidFulfilled(r, order.ESIM{ICCID: o.ESims[1].ICCID}))
	if got := wait("placed", order.Fulfilled); iccids(got.ESIMs) != o.ESims[1].ICCID || got.Evidence != order.EvidencePerson {
		t.Errorf("fulfilled by %s with %+v", got.Evidence, got.ESIMs)
	}
	w.settled()
}
