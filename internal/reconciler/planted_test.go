package reconciler

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/order"
	sim "github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/sim/fault"
)

// planter buys orders of every product and plants differences among them.
type planter struct {
	*rig
	rng  *rand.Rand
	want map[string]string // about → what must be found
	mend map[string]func() // what makes it go away again
}

func (p *planter) request(i int) order.Request {
	req := order.Request{OrderID: fmt.Sprintf("mix-%04d", i), Supplier: order.EIOTCLUB, Account: "default"}
	switch p.rng.IntN(6) {
	case 0:
		req.Product, req.EID, req.PackageCode = order.ProductCloudESIMPackage, sim.SeedEID, sim.CloudPackageCode
	case 1:
		req.Product, req.PoolObjectID, req.PoolTypeCode = order.ProductPoolPackage, strconv.Itoa(sim.SeedPoolID), sim.PoolTypeCode
	default:
		req.Product, req.ICCID, req.PackageCode = order.ProductPackage, p.iccid(p.rng.IntN(50)), sim.PackageCode
	}
	return req
}

// must fails the test on a hook's error.
func (p *planter) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// one makes an order, and perhaps a difference about it.
func (p *planter) one(i int) {
	req := p.request(i)
	id := req.OrderID
	say := func(kind, amount string, mend func()) {
		if amount != "" {
			amount = " " + amount
		}
		p.want[id], p.mend[id] = kind+" "+id+amount, mend
	}
	kind := p.rng.IntN(14)
	if kind == 0 && req.Product != order.ProductCloudESIMPackage { // a cloud list does not carry our id
		o := sim.Order{Product: sim.Product(req.Product), OutTradeNo: id, ICCID: req.ICCID}
		planted, err := p.sim.Plant(o, true, false)
		p.must(err)
		amount := "0.50 USD"
		if req.Product == order.ProductPoolPackage {
			amount = ""
		}
		_ = planted
		say(KindMissingHere, amount, func() { p.must(p.sim.Forget(id)) })
		return
	}
	if kind == 1 {
		rec := p.intent(req)
		p.place(req)
		if req.Product == order.ProductCloudESIMPackage {
			return // found by its id only, which nobody knows
		}
		rec.State, rec.Certainty = order.Rejected, order.CertainNotPlaced
		p.event(rec)
		amount := "0.50 USD"
		if req.Product == order.ProductPoolPackage {
			amount = ""
		}
		say(KindState, amount, func() { p.must(p.sim.Forget(id)) })
		return
	}
	rec := p.buy(req)
	price, amount := rec.Total, rec.Total.String()
	theirs := amount
	if req.Product == order.ProductPoolPackage {
		theirs = "" // their list has no prices
	}
	switch {
	case kind == 2:
		p.must(p.sim.Forget(id))
		say(KindMissingThere, amount, func() {
			rec := p.events[id].Record
			rec.State = order.Refunded
			p.event(rec)
		})
	case kind == 3:
		p.must(p.sim.Refund(id, nil, true))
		say(KindRefund, theirs, func() {
			rec := p.events[id].Record
			rec.State = order.Refunded
			p.event(rec)
		})
	case kind == 4 && req.Product != order.ProductPoolPackage:
		p.must(p.sim.SetPrice(id, money2(price.Amount.Shift(2).IntPart()+125), false))
		say(KindPrice, "1.25 USD", func() { p.must(p.sim.SetPrice(id, money2(price.Amount.Shift(2).IntPart()), false)) })
	case kind == 5 && req.Product != order.ProductPoolPackage:
		p.must(p.sim.SetPrice(id, sim.Money{Minor: 999, Currency: "EUR"}, false))
		say(KindCurrency, "9.99 EUR", func() { p.must(p.sim.SetPrice(id, money2(price.Amount.Shift(2).IntPart()), false)) })
	case kind == 6 && req.Product == order.ProductPackage:
		p.must(p.sim.SetPackage(id, sim.OtherPackageCode))
		say(KindPackage, amount, func() { p.must(p.sim.SetPackage(id, sim.PackageCode)) })
	case kind == 7 && req.Product == order.ProductPackage:
		second, err := p.sim.Plant(sim.Order{OutTradeNo: id, ICCID: req.ICCID}, true, false)
		p.must(err)
		say(KindDuplicate, amount, func() { p.must(p.sim.Refund(strconv.FormatInt(second.OrderID, 10), nil, true)) })
	case kind == 8: // other channels sell on the same cards
		o := sim.Order{Product: sim.Product(req.Product), Channel: []string{"USER", "SYSTEM", "TRANSFER", "PLATFORM"}[p.rng.IntN(4)], ICCID: req.ICCID, EID: req.EID}
		_, err := p.sim.Plant(o, true, true)
		p.must(err)
	case kind == 9: // a package that lives on is no difference
		p.must(p.sim.SetUsage(id, 12345))
	}
}

func (p *planter) expected() []string {
	return append([]string{}, slices.Sorted(maps.Values(p.want))...)
}

// TestRecordsMixed: many differences of every kind on every product, among foreign
// purchases, by a supplier on a bad day: what is found is what was planted, at no
// time more, in the end no less, and gone once mended.
func TestRecordsMixed(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	p := &planter{rig: newRig(t, nil), rng: rand.New(rand.NewPCG(seed, 1)), want: map[string]string{}, mend: map[string]func(){}}
	for i := range 350 {
		p.one(i)
	}
	if len(p.want) < 50 {
		t.Fatalf("only %d differences planted", len(p.want))
	}
	p.sleep(testSettle + time.Minute)
	p.sim.Faults().MustAdd(
		fault.Rule{Kind: fault.TooManyRequests, Probability: 0.03, Seed: seed},
		fault.Rule{Kind: fault.StatusBefore, Status: 503, Probability: 0.03, Seed: seed + 1},
		fault.Rule{Kind: fault.HTMLAfter, Probability: 0.03, Seed: seed + 2},
		fault.Rule{Kind: fault.HalfBody, Probability: 0.03, Seed: seed + 3},
		fault.Rule{Kind: fault.CodeBefore, Code: "43331", Probability: 0.03, Seed: seed + 4},
		fault.Rule{Kind: fault.Reset, Probability: 0.03, Seed: seed + 5},
	)
	failed := 0
	for range 8 {
		for p.worker.RunOnce(p.ctx, JobRecords) != nil {
			if failed++; failed > 200 {
				t.Fatal("never ends")
			}
		}
		for _, got := range p.standing() {
			if !slices.Contains(p.expected(), got) {
				t.Fatalf("found %q, which nobody planted", got)
			}
		}
		p.sleep(time.Minute)
	}
	p.sim.Faults().Clear()
	p.run(JobRecords)
	p.sleep(time.Minute)
	p.run(JobRecords)
	if diff := cmp.Diff(p.expected(), p.standing()); diff != "" {
		t.Fatalf("(-planted +found):\n%s", diff)
	}
	before, err := p.worker.book.List(p.ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	p.sleep(time.Hour)
	p.run(JobRecords)
	after, err := p.worker.book.List(p.ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range before {
		if a := after[i].Finding; a.FindingID != e.Finding.FindingID || !a.FirstSeen.Equal(e.Finding.FirstSeen) {
			t.Fatalf("%s became %s of %s", e.Finding.FindingID, a.FindingID, a.FirstSeen)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(p.mend)) {
		p.mend[id]()
	}
	p.sleep(testSettle + time.Minute)
	p.run(JobRecords)
	if got := p.standing(); len(got) != 0 {
		t.Fatalf("still standing after all was mended: %v", got)
	}
	t.Logf("%d differences, %d passes cut off", len(p.want), failed)
}

// TestRecordsCallsAreFew: one call for each card that was active, and one batch for
// what its lists did not show.
func TestRecordsCallsAreFew(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Spread = 0 })
	for i := range 60 {
		r.buy(r.packageRequest(fmt.Sprintf("o-%02d", i), r.iccid(i%12)))
	}
	for _, id := range []string{"o-03", "o-04", "o-05"} {
		if err := r.sim.Forget(id); err != nil {
			t.Fatal(err)
		}
	}
	r.sleep(testSettle + time.Minute)
	count := map[string]int{}
	r.worker.jobs[JobRecords].Look = (&Records{Accounts: []Account{{Supplier: order.EIOTCLUB, Name: "default", Packages: counting{r.client, count}}},
		Ledger: Ledger{r.bus}, Witness: r.worker.witness, Metrics: r.worker.runner.Metrics, Log: r.worker.log, Settle: testSettle, Lookback: 24 * time.Hour}).Look
	r.run(JobRecords)
	want := map[string]int{"records": 12, "details": 3} // to verify what is missing
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	r.sleep(time.Hour)
	clear(count)
	r.run(JobRecords)
	if diff := cmp.Diff(map[string]int{"details": 3}, count); diff != "" {
		t.Errorf("calls of a quiet hour (-want +got):\n%s", diff)
	}
}
