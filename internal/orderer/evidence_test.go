package orderer

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/sim/fault"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/wire"
)

// notification publishes one as ingest does.
func (w *world) notification(event, body string) {
	w.t.Helper()
	w.send(bus.SubjectWebhook(order.EIOTCLUB, "default", event), envelope(w.t, event, body))
}

// envelope is a notification's body as ingest publishes it.
func envelope(t testing.TB, event, body string) []byte {
	t.Helper()
	env, err := wire.NewEnvelope(wire.TypeWebhook(event), wire.Source("ingest"), "", "eiotclub:default:1", time.Now(), json.RawMessage(body))
	if err != nil {
		t.Fatal(err)
	}
	data, err := env.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (w *world) evidence(ev wire.Evidence) {
	w.t.Helper()
	if ev.ObservedAt.IsZero() {
		ev.ObservedAt = time.Now().UTC()
	}
	ev.Account = order.DefaultAccount
	data, err := json.Marshal(ev)
	if err != nil {
		w.t.Fatal(err)
	}
	w.send(bus.SubjectEvidence(ev.Supplier, ev.OrderID), data)
}

// hideFromLooks makes the look-ups useless, so that other evidence decides.
func (w *world) hideFromLooks(id string) {
	w.eiotclub.Faults().MustAdd(fault.Rule{Kind: fault.StatusBefore, Order: id, Path: "getOrderPackageDetails"},
		fault.Rule{Kind: fault.StatusBefore, Path: "packageOrderRecord"}, fault.Rule{Kind: fault.StatusBefore, Path: "queryPackage"})
}

// Both documented forms of data: a JSON string, and nested.
func TestNotificationSettlesAnOrderInDoubt(t *testing.T) {
	w := newWorld(t)
	wait := w.events()
	w.run()
	for i, form := range []string{"%q", "%s"} {
		id := fmt.Sprint("n", i)
		w.hideFromLooks(id)
		w.eiotclub.Faults().MustAdd(fault.Rule{Kind: fault.LostReply, Order: id, Path: "orderPackage", Times: 1})
		w.publish(packageOrder(id))
		wait(id, order.Unknown)
		o, ok := w.eiotclub.Order(id)
		if !ok {
			t.Fatal("not bought")
		}
		row := fmt.Sprintf(`[{"iccid":%q,"orderId":"%d","packageCode":%q,"outTradeNo":%q,"state":"1","salesChannel":"API"}]`, o.ICCID, o.OrderID, o.Code, id)
		w.notification(eiotclub.EventSubPkgList, fmt.Sprintf(`{"id":"n%d","timestamp":1556595508,"nonce":24523,"sign":"X","event":"SubPkgList","data":`+form+`}`, i, row))
		got := wait(id, order.Fulfilled)
		if got.Evidence != order.EvidenceNotification || got.SupplierOrderID != fmt.Sprint(o.OrderID) {
			t.Errorf("%s by %s as %s, want the notification and %d", got.State, got.Evidence, got.SupplierOrderID, o.OrderID)
		}
	}
	w.settled()
}

// A cloud eSIM cannot be looked up by our id: the notification alone brings the
// supplier's, whether the order is still in doubt or held by then.
func TestNotificationSettlesACloudESIM(t *testing.T) {
	w := newWorld(t)
	wait := w.events()
	w.run()
	r := products[2].request("cloud")
	w.eiotclub.Faults().MustAdd(fault.Rule{Kind: fault.LostReply, Order: r.OrderID, Path: "cloudesim/purchase"})
	w.publish(r)
	wait("cloud", order.Unknown, order.Held)
	o, ok := w.eiotclub.Order("cloud")
	if !ok {
		t.Fatal("not bought")
	}
	row := fmt.Sprintf(`[{"eid":%q,"eshopOrderId":"%d","packageCode":%q,"outTradeNo":"cloud","state":"1","salesChannel":"API"}]`, o.EID, o.OrderID, o.Code)
	w.notification(eiotclub.EventCloudSubPkgList, fmt.Sprintf(`{"id":"c1","timestamp":1556595508,"nonce":24523,"sign":"X","event":"CloudESimSubPkgList","data":%q}`, row))
	got := wait("cloud", order.Fulfilled)
	if got.Evidence != order.EvidenceNotification || got.SupplierOrderID != fmt.Sprint(o.OrderID) || w.bought(r) != 1 {
		t.Errorf("%s by %s as %s, bought %d times", got.State, got.Evidence, got.SupplierOrderID, w.bought(r))
	}
	w.settled()
}

// That an eSIM was bought is not the eSIM: a notification, which has no activation code,
// tells under what id it is to be asked for, and the order is fulfilled by that answer.
func TestNotificationOfAnESIMIsFollowedUntilItIsInHand(t *testing.T) {
	w := newWorld(t)
	wait := w.events()
	w.run()
	r := products[1].request("esim")
	w.eiotclub.Faults().MustAdd(fault.Rule{Kind: fault.LostReply, Order: r.OrderID, Path: "esim/purchase"})
	w.publish(r)
	wait("esim", order.Unknown, order.Held)
	o, ok := w.eiotclub.Order("esim")
	if !ok {
		t.Fatal("not bought")
	}
	row := fmt.Sprintf(`[{"iccid":%q,"orderId":%q,"packageCode":%q,"outTradeNo":"esim","state":"1","salesChannel":"API"}]`, o.ICCID, o.ID(), o.Code)
	w.notification(eiotclub.EventSubPkgList, fmt.Sprintf(`{"id":"e1","timestamp":1556595508,"nonce":24523,"sign":"X","event":"SubPkgList","data":%q}`, row))
	if got := wait("esim", order.Placed); got.Evidence != order.EvidenceNotification || got.SupplierOrderID != o.ID() {
		t.Errorf("%s by %s as %s", got.State, got.Evidence, got.SupplierOrderID)
	}
	got := wait("esim", order.Fulfilled)
	if len(got.ESIMs) != 1 || got.ESIMs[0].ActivationCode == "" || got.Evidence != order.EvidenceLookup || w.bought(r) != 1 {
		t.Errorf("fulfilled by %s with %d eSIMs, bought %d times", got.Evidence, len(got.ESIMs), w.bought(r))
	}
	w.settled()
}

func TestRefundNotificationAndContradictions(t *testing.T) {
	w := newWorld(t)
	wait := w.events()
	w.run()
	w.publish(packageOrder("r1"))
	got := wait("r1", order.Fulfilled)
	refund := func(id, supplierOrderID string) {
		w.notification(eiotclub.EventRefund, fmt.Sprintf(`{"id":"x","timestamp":1556595508,"nonce":24523,"sign":"X","event":"Refund","iccid":"8988308650100524999","orderId":%q,"outTradeNo":%q,"orderAmount":"0.50","refundAmount":"0.50"}`, supplierOrderID, id))
	}
	t.Run("refund of another order under our id", func(t *testing.T) {
		refund("r1", "999")
		if letter := w.dead(bus.StreamWebhooks); letter.reason != wire.ReasonConflict || letter.order != "r1" {
			t.Errorf("dead letter %+v, want a conflict about r1", letter)
		}
		r := wait("r1", order.Fulfilled)
		if len(r.Conflicts) == 0 { // the first event of that state was read before
			cur, _, err := w.ledger.Get(t.Context(), "r1")
			if err != nil {
				t.Fatal(err)
			}
			r = cur.Record
		}
		want := order.Conflict{Evidence: order.EvidenceNotification, Certainty: order.CertainPlaced, SupplierOrderID: "999", StateThere: "refunded"}
		if len(r.Conflicts) != 1 || r.Conflicts[0].At.IsZero() || !r.At.Equal(got.At) || r.SupplierOrderID != got.SupplierOrderID {
			t.Fatalf("noted as %+v", r)
		}
		if want.At = r.Conflicts[0].At; r.Conflicts[0] != want {
			t.Errorf("noted %+v, want %+v", r.Conflicts[0], want)
		}
	})
	t.Run("refund", func(t *testing.T) {
		refund("r1", got.SupplierOrderID)
		if r := wait("r1", order.Refunded); r.Certainty != order.CertainPlaced || r.Evidence != order.EvidenceNotification {
			t.Errorf("refunded as %+v", r)
		}
	})
	t.Run("proof of purchase after a rejection", func(t *testing.T) {
		r := packageOrder("r2")
		r.PackageCode = "NO-SUCH-PACKAGE"
		w.publish(r)
		wait("r2", order.Rejected)
		w.evidence(wire.Evidence{OrderID: "r2", Supplier: order.EIOTCLUB, Source: order.EvidenceLookup, Certainty: order.CertainPlaced, SupplierOrderID: "5", StateThere: "fulfilled"})
		if letter := w.dead(bus.StreamEvidence); letter.reason != wire.ReasonConflict {
			t.Errorf("dead letter %+v, want a conflict", letter)
		}
	})
	t.Run("of a form that nobody documented", func(t *testing.T) {
		count := w.worker.m.evidence.WithLabelValues(order.EIOTCLUB, "notification", "unreadable")
		w.notification(eiotclub.EventSubPkgList, `{"id":"z","timestamp":1,"nonce":1,"sign":"X","event":"SubPkgList","data":"soon"}`)
		for deadline := time.Now().Add(patience); testutil.ToFloat64(count) != 1; tick(t) {
			if time.Now().After(deadline) {
				t.Fatalf("counted %.0f times", testutil.ToFloat64(count))
			}
		}
	})
	t.Run("of an order that is not ours", func(t *testing.T) {
		refund("nobody", "1")
		w.notification(eiotclub.EventSubPkgList, `{"id":"y","timestamp":1,"nonce":1,"sign":"X","event":"SubPkgList","data":"[{\"iccid\":\"1\",\"orderId\":\"2\",\"salesChannel\":\"USER\"}]"}`)
		w.settled()
	})
}

// held makes an order that only a person can settle: its call was answered with
// nothing, and a repeat says that it exists.
func (w *world) held(id string, wait func(string, ...order.State) order.Record) order.Record {
	w.t.Helper()
	w.eiotclub.Faults().MustAdd(fault.Rule{Kind: fault.LostReply, Order: id, Times: 1})
	w.publish(products[1].request(id))
	return wait(id, order.Held)
}

func TestAPersonSettlesWhatNobodyElseCan(t *testing.T) {
	w := newWorld(t)
	wait := w.events()
	w.run()
	person := func(id string, certainty order.Certainty) wire.Evidence {
		return wire.Evidence{OrderID: id, Supplier: order.EIOTCLUB, Source: order.EvidencePerson, Certainty: certainty, Actor: "ann", Reason: "asked their support"}
	}
	t.Run("placed", func(t *testing.T) {
		a, _ := w.worker.account(order.EIOTCLUB, "default")
		for deadline := time.Now().Add(patience); a.seenBalance() == nil && time.Now().Before(deadline); tick(t) {
		}
		got := w.held("h1", wait)
		if got.Certainty != order.CertainUnknown || got.Evidence != order.EvidenceDuplicate || got.Balance == nil || got.BalanceBefore == nil || got.FirstSentAt == nil || got.LastSentAt == nil || got.Resends != 1 {
			t.Errorf("held without what a person needs: %+v", got)
		}
		o, _ := w.eiotclub.Order("h1")
		ev := person("h1", order.CertainPlaced)
		ev.SupplierOrderID = o.ID()
		w.evidence(ev)
		r := wait("h1", order.Fulfilled) // placed by the person's word, and then looked at
		if len(r.ESIMs) != 1 || r.SupplierOrderID != o.ID() {
			t.Errorf("fulfilled as %+v", r)
		}
	})
	t.Run("not placed", func(t *testing.T) {
		w.held("h2", wait)
		w.evidence(person("h2", order.CertainNotPlaced))
		if r := wait("h2", order.Rejected); r.Evidence != order.EvidencePerson || r.Reason != "ann: asked their support" {
			t.Errorf("rejected as %+v", r)
		}
	})
	t.Run("send again", func(t *testing.T) {
		// Neither the call nor its one safe repeat is answered.
		w.esimfly.Faults().MustAdd(fault.Rule{Kind: fault.StatusBefore, Path: "esims/order", Times: 2})
		r := flyOrder("h3")
		w.publish(r)
		if got := wait("h3", order.Held); got.Certainty != order.CertainUnknown || w.bought(r) != 0 {
			t.Errorf("held as %s, bought %d times", got.Certainty, w.bought(r))
		}
		ev := person("h3", order.CertainNotPlaced)
		ev.Supplier, ev.Account, ev.SendAgain, ev.ObservedAt = order.ESIMFly, order.DefaultAccount, true, time.Now().UTC()
		w.evidence(ev)
		got := wait("h3", order.Fulfilled)
		if got.SupplierOrderID == "" || got.Round != 1 || w.bought(r) != 1 {
			t.Errorf("bought again as %+v", got)
		}
		// The same word once more, as after a death before its acknowledgement.
		if v := w.worker.take(t.Context(), ev); !v.IsDone() || w.bought(r) != 1 {
			t.Errorf("said again: %+v, bought %d times", v, w.bought(r))
		}
	})
	t.Run("settled before its entry was written", func(t *testing.T) {
		held := w.held("h4", wait)
		w.evidence(person("h4", order.CertainNotPlaced))
		wait("h4", order.Rejected)
		late := stand{Entry: &ledger.Entry{Record: held}, due: w.worker.now().Add(heldInterval)}
		if err := w.worker.guard(t.Context(), late); err != nil {
			t.Fatal(err)
		}
		for o, err := range ledger.WalkOpen(t.Context(), w.worker.bus) {
			if err != nil || o.OrderID == "h4" {
				t.Errorf("listed although it is settled: %+v, %v", o, err)
			}
		}
	})
	t.Run("settled already", func(t *testing.T) {
		w.evidence(person("h2", order.CertainPlaced))
		if letter := w.dead(bus.StreamEvidence); letter.reason != wire.ReasonConflict {
			t.Errorf("dead letter %+v, want a conflict", letter)
		}
	})
	w.settled()
}
