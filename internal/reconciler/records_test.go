package reconciler

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	sim "github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/wire"
)

func purchase(req order.Request) supplier.Purchase { return supplier.Purchase{Request: req} }

func money2(minor int64) sim.Money { return sim.Money{Minor: minor, Currency: "USD"} }

// TestRecordsFindsPlanted plants each kind of difference among equal orders.
func TestRecordsFindsPlanted(t *testing.T) {
	r := newRig(t, nil)
	for i := range 30 {
		r.buy(r.packageRequest(fmt.Sprintf("good-%02d", i), r.iccid(i)))
	}
	for _, name := range []string{"price", "package", "refund", "forgot", "rejected", "twice", "other-id", "over-max"} {
		req := r.packageRequest(name, r.iccid(3))
		switch name {
		case "rejected":
			rec := r.intent(req)
			if _, err := r.client.Place(r.ctx, purchase(req)); err != nil {
				t.Fatal(err)
			}
			rec.State, rec.Certainty = order.Rejected, order.CertainNotPlaced
			r.event(rec)
			continue
		case "over-max":
			m, err := order.NewMoney("0.20", "USD")
			if err != nil {
				t.Fatal(err)
			}
			req.MaxTotal = &m
		}
		rec := r.buy(req)
		if name == "other-id" {
			_ = rec
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.sim.SetPrice("price", money2(75), false))
	must(r.sim.SetPackage("package", "GJ-LLB-100M-30D-RPOZLLB-20221115DAAB11A1"))
	must(r.sim.Refund("refund", nil, true))
	must(r.sim.Forget("forgot"))
	_, err := r.sim.Plant(sim.Order{OutTradeNo: "twice", ICCID: r.iccid(3)}, true, false)
	must(err)
	_, err = r.sim.Plant(sim.Order{OutTradeNo: "not-ours", ICCID: r.iccid(5)}, true, false)
	must(err)
	_, err = r.sim.Plant(sim.Order{Channel: "USER", ICCID: r.iccid(5)}, true, false)
	must(err)

	r.run(JobRecords)
	if got := r.standing(); len(got) != 0 {
		t.Fatalf("found before the settle time: %v", got)
	}
	r.sleep(testSettle + time.Second)
	r.run(JobRecords)
	want := []string{
		"order_duplicate twice 0.50 USD",
		"order_missing_here not-ours 0.50 USD",
		"order_missing_there forgot 0.50 USD",
		"order_package package 0.50 USD",
		"order_price price 0.25 USD",
		"order_refund refund 0.50 USD",
		"order_state rejected 0.50 USD",
	}
	if diff := cmp.Diff(want, r.standing()); diff != "" {
		t.Fatalf("findings (-want +got):\n%s", diff)
	}
	announced := messages[wire.Finding](r, bus.StreamFindings, bus.SubjectFinding("*"))
	if len(announced) != len(want) {
		t.Fatalf("%d findings announced, want %d", len(announced), len(want))
	}
	evidence := messages[wire.Evidence](r, bus.StreamEvidence, bus.SubjectEvidence("*", "*"))
	told := map[string]string{}
	for _, e := range evidence {
		told[e.OrderID] = string(e.Certainty) + " " + e.StateThere
	}
	if diff := cmp.Diff(map[string]string{"refund": "placed refunded"}, told); diff != "" {
		t.Fatalf("evidence (-want +got):\n%s", diff)
	}

	// The same look again changes nothing; mended differences close.
	r.sleep(time.Minute)
	r.run(JobRecords)
	if n := len(messages[wire.Finding](r, bus.StreamFindings, bus.SubjectFinding("*"))); n != len(want) {
		t.Fatalf("an unchanged finding was announced again: %d", n)
	}
	must(r.sim.SetPrice("price", money2(50), false))
	refunded := r.events["refund"].Record
	refunded.State, refunded.Evidence = order.Refunded, order.EvidenceLookup
	r.event(refunded)
	r.sleep(testSettle + time.Second)
	r.run(JobRecords)
	want = append(want[:4:4], want[6])
	if diff := cmp.Diff(want, r.standing()); diff != "" {
		t.Fatalf("after mending (-want +got):\n%s", diff)
	}
}
