package reconciler

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	sim "github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/wire"
)

// dead puts a letter into DEAD as orderer does, and returns its sequence.
func (r *rig) dead(stream, origin, reason string, data []byte) uint64 {
	r.t.Helper()
	err := r.bus.DeadBytes(r.ctx, bus.DeadLetter{Stream: stream, Subject: origin, Data: data, Reason: reason, Cause: errors.New("said otherwise"), Attempts: "1"})
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := r.bus.JS.Stream(r.ctx, bus.StreamDead)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

// deadEvidence is a letter of evidence.
func (r *rig) deadEvidence(ev wire.Evidence) uint64 {
	r.t.Helper()
	ev.Supplier, ev.Account, ev.Source, ev.ObservedAt = order.EIOTCLUB, "default", order.EvidenceLookup, r.clock()
	env, err := wire.NewEnvelope(wire.TypeEvidence, wire.Source("reconciler"), ev.OrderID, "e-"+ev.OrderID+ev.StateThere, ev.ObservedAt, ev)
	if err != nil {
		r.t.Fatal(err)
	}
	data, err := env.Marshal()
	if err != nil {
		r.t.Fatal(err)
	}
	return r.dead(bus.StreamEvidence, bus.SubjectEvidence(ev.Supplier, ev.OrderID), wire.ReasonConflict, data)
}

// deadNotice is a letter of a notification that speaks of an order.
func (r *rig) deadNotice(id, iccid string) uint64 {
	r.t.Helper()
	env, err := wire.NewEnvelope(wire.TypeWebhook("SubPkgList"), wire.Source("ingest"), "", "", r.clock(), json.RawMessage(bought(id, iccid)))
	if err != nil {
		r.t.Fatal(err)
	}
	data, err := env.Marshal()
	if err != nil {
		r.t.Fatal(err)
	}
	return r.dead(bus.StreamWebhooks, bus.SubjectWebhook(order.EIOTCLUB, "default", "SubPkgList"), wire.ReasonConflict, data)
}

// rejected is an order that the ledger says was not placed.
func (r *rig) rejected(id string) order.Record {
	rec := r.intent(r.packageRequest(id, r.iccid(0)))
	rec.State, rec.Certainty = order.Rejected, order.CertainNotPlaced
	r.event(rec)
	return rec
}

// TestConflicts: what orderer could not believe is reported with both sides, once,
// and closes when it is true or when a person took the letter away.
func TestConflicts(t *testing.T) {
	r := newRig(t, nil)
	r.rejected("refused")
	r.rejected("noticed")
	r.rejected("agrees")
	r.buy(r.packageRequest("bought", r.iccid(1)))
	late := r.buy(r.packageRequest("late", r.iccid(2)))

	toDrop := r.deadEvidence(wire.Evidence{OrderID: "refused", Certainty: order.CertainPlaced, StateThere: "fulfilled", SupplierOrderID: "77"})
	r.deadNotice("noticed", r.iccid(0))
	r.deadEvidence(wire.Evidence{OrderID: "agrees", Certainty: order.CertainNotPlaced})
	r.deadEvidence(wire.Evidence{OrderID: "bought", Certainty: order.CertainNotPlaced})
	r.deadEvidence(wire.Evidence{OrderID: "bought", Certainty: order.CertainPlaced, StateThere: "rejected", SupplierOrderID: r.events["bought"].SupplierOrderID})
	other := late
	other.SupplierOrderID = "4711"
	data, err := json.Marshal(other)
	if err != nil {
		t.Fatal(err)
	}
	r.dead(bus.StreamOrderEvents, bus.SubjectOrderEvent("late", order.EIOTCLUB, "fulfilled"), wire.ReasonConflict, data)
	// What is not evidence, not readable, of another reason or of nobody's order.
	r.dead(bus.StreamOrders, bus.SubjectRequest(order.EIOTCLUB, order.ProductPackage), wire.ReasonConflict, []byte(`{"order_id":"refused"}`))
	r.dead(bus.StreamEvidence, bus.SubjectEvidence(order.EIOTCLUB, "refused"), wire.ReasonMalformed, []byte(`{`))
	r.dead(bus.StreamEvidence, bus.SubjectEvidence(order.EIOTCLUB, "refused"), wire.ReasonConflict, []byte(`{`))
	r.deadEvidence(wire.Evidence{OrderID: "nobodys", Certainty: order.CertainPlaced})

	r.run(JobConflicts)
	if got := r.standing(); len(got) != 0 {
		t.Fatalf("found before the settle time: %v", got)
	}
	r.sleep(testSettle + time.Minute)
	r.run(JobConflicts)
	all := []string{"evidence_conflict bought 0.50 USD", "evidence_conflict late 0.50 USD", "evidence_conflict noticed", "evidence_conflict refused"}
	if diff := cmp.Diff(all, r.standing()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	announced := messages[wire.Finding](r, bus.StreamFindings, bus.SubjectFinding(KindConflict))
	for _, f := range announced {
		var claims []claim
		if err := json.Unmarshal(f.Theirs, &claims); err != nil {
			t.Fatal(err)
		}
		var ours struct {
			State order.State `json:"state"`
		}
		if err := json.Unmarshal(f.Ours, &ours); err != nil {
			t.Fatal(err)
		}
		want := map[string]int{"bought": 2, "late": 1, "noticed": 1, "refused": 1}[f.OrderID]
		if len(claims) != want || ours.State != r.events[f.OrderID].State || claims[0].DeadLetter == 0 || f.SuggestedAction == "" {
			t.Errorf("finding of %s: ours %s, theirs %s", f.OrderID, f.Ours, f.Theirs)
		}
	}
	r.sleep(time.Minute)
	r.run(JobConflicts)
	if n := len(messages[wire.Finding](r, bus.StreamFindings, bus.SubjectFinding(KindConflict))); n != len(announced) {
		t.Fatalf("said again: %d messages after %d", n, len(announced))
	}

	// One is accepted, one letter is taken away, one order moves to what was said.
	if _, err := r.worker.book.Accept(r.ctx, FindingID(KindConflict, conflictAbout(order.EIOTCLUB, "default", "late")), "me", "asked them"); err != nil {
		t.Fatal(err)
	}
	st, err := r.bus.JS.Stream(r.ctx, bus.StreamDead)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.DeleteMsg(r.ctx, toDrop); err != nil {
		t.Fatal(err)
	}
	refunded := r.events["bought"].Record
	refunded.State = order.Refunded
	r.event(refunded)
	r.sleep(time.Minute)
	r.run(JobConflicts)
	if diff := cmp.Diff([]string{"evidence_conflict late 0.50 USD accepted", "evidence_conflict noticed"}, r.standing()); diff != "" {
		t.Fatalf("after mending (-want +got):\n%s", diff)
	}
	// A second letter of the same order updates the finding that stands.
	r.deadEvidence(wire.Evidence{OrderID: "noticed", Certainty: order.CertainPlaced, StateThere: "refunded"})
	r.sleep(testSettle + time.Minute)
	r.run(JobConflicts)
	e, err := r.worker.book.Find(r.ctx, FindingID(KindConflict, conflictAbout(order.EIOTCLUB, "default", "noticed")))
	if err != nil {
		t.Fatal(err)
	}
	var claims []claim
	if err := json.Unmarshal(e.Finding.Theirs, &claims); err != nil || len(claims) != 2 || claims[1].State != "refunded" {
		t.Errorf("after a second letter: %s, %v", e.Finding.Theirs, err)
	}
}

// TestConflictsAfterDeadWasMadeAnew: a place in a stream that is gone means nothing.
func TestConflictsAfterDeadWasMadeAnew(t *testing.T) {
	r := newRig(t, nil)
	r.rejected("a")
	for range 5 {
		r.deadEvidence(wire.Evidence{OrderID: "nobodys", Certainty: order.CertainPlaced})
	}
	r.sleep(testSettle + time.Minute)
	r.run(JobConflicts)
	if err := r.bus.JS.DeleteStream(r.ctx, bus.StreamDead); err != nil {
		t.Fatal(err)
	}
	if err := r.bus.Provision(r.ctx, bus.DefaultSettings()); err != nil {
		t.Fatal(err)
	}
	r.deadEvidence(wire.Evidence{OrderID: "a", Certainty: order.CertainPlaced, StateThere: "fulfilled"})
	r.sleep(testSettle + time.Minute)
	r.run(JobConflicts)
	if diff := cmp.Diff([]string{"evidence_conflict a"}, r.standing()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestConflictIsNotSaidTwice: what the lists show already is records' to report.
func TestConflictIsNotSaidTwice(t *testing.T) {
	r := newRig(t, nil)
	rec := r.intent(r.packageRequest("other", r.iccid(0)))
	if _, err := r.sim.Plant(sim.Order{OutTradeNo: "other", ICCID: r.iccid(0)}, true, false); err != nil {
		t.Fatal(err)
	}
	rec.State, rec.Certainty, rec.SupplierOrderID = order.Fulfilled, order.CertainPlaced, "1"
	r.event(rec)
	r.deadNotice("other", r.iccid(0)) // its orderId is 1 in the text
	r.deadEvidence(wire.Evidence{OrderID: "other", Certainty: order.CertainPlaced, StateThere: "fulfilled", SupplierOrderID: "2"})
	r.sleep(testSettle + time.Minute)
	r.run(JobRecords, JobConflicts)
	if diff := cmp.Diff([]string{"evidence_conflict other 0.50 USD"}, r.standing()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
