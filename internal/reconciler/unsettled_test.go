package reconciler

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	sim "github.com/simline/simline/internal/sim/eiotclub"
	simesimfly "github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/esimfly"
	"github.com/simline/simline/internal/wire"
)

// open leaves an order in a state with an entry in the index of open ones.
func (r *rig) open(rec order.Record, state order.State, certainty order.Certainty) {
	r.t.Helper()
	rec.State, rec.Certainty = state, certainty
	if err := r.ledger.Guard(r.ctx, ledger.Open{OrderID: rec.OrderID, Supplier: rec.Supplier, Account: rec.Account, State: state, Due: r.clock()}); err != nil {
		r.t.Fatal(err)
	}
	r.event(rec)
}

func (r *rig) place(req order.Request) {
	r.t.Helper()
	if _, err := r.client.Place(r.ctx, purchase(req)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) evidence() map[string]wire.Evidence {
	out := map[string]wire.Evidence{}
	for _, e := range messages[wire.Evidence](r, bus.StreamEvidence, bus.SubjectEvidence("*", "*")) {
		out[e.OrderID] = e
	}
	return out
}

func TestUnsettledAsksAndReports(t *testing.T) {
	r := newRig(t, nil)
	for i := range 120 { // in use, waiting behind another package, or refunded
		req := r.packageRequest(fmt.Sprintf("lost-%03d", i), r.iccid(i))
		rec := r.intent(req)
		r.place(req)
		r.open(rec, order.Unknown, order.CertainUnknown)
	}
	if err := r.sim.Refund("lost-007", nil, true); err != nil {
		t.Fatal(err)
	}
	for i := range 70 { // two batches
		req := order.Request{OrderID: fmt.Sprintf("pool-%02d", i), Supplier: order.EIOTCLUB, Product: order.ProductPoolPackage, Account: "default",
			PoolObjectID: strconv.Itoa(sim.SeedPoolID), PoolTypeCode: sim.PoolTypeCode}
		rec := r.intent(req)
		r.place(req)
		r.open(rec, order.Unknown, order.CertainUnknown)
	}
	never := r.intent(r.packageRequest("never", r.iccid(1)))
	r.open(never, order.Unknown, order.CertainUnknown)

	esim := order.Request{OrderID: "esim", Supplier: order.EIOTCLUB, Product: order.ProductESIM, Account: "default", GoodsCode: sim.GoodsCode}
	rec := r.intent(esim)
	p, err := r.client.Place(r.ctx, purchase(esim))
	if err != nil {
		t.Fatal(err)
	}
	rec.SupplierOrderID = p.SupplierOrderID
	r.open(rec, order.Placed, order.CertainPlaced)

	r.run(JobUnsettled)
	if got := r.evidence(); len(got) != 0 {
		t.Fatalf("asked before the settle time: %d pieces of evidence", len(got))
	}
	r.sleep(testSettle + time.Second)
	r.run(JobUnsettled)
	got := r.evidence()
	if len(got) != 191 {
		t.Fatalf("%d pieces of evidence, want 191", len(got))
	}
	// 121 packages: three full batches, then those in none of the states before.
	for endpoint, most := range map[string]float64{"pool/record/list": 2, lookOf(order.ProductESIM): 1, "getOrderPackageDetails": 3 + 3 + 3} {
		calls, least := r.asked(JobUnsettled, endpoint)
		if calls != least || calls == 0 || calls > most {
			t.Errorf("%s: %v calls, %v would do; want %v at most", endpoint, calls, least, most)
		}
	}
	for id, state := range map[string]string{"lost-000": "fulfilled", "lost-007": "refunded", "lost-119": "fulfilled", "esim": "fulfilled", "pool-69": "fulfilled"} {
		e := got[id]
		o, _ := r.sim.Order(id)
		if e.StateThere != state || e.SupplierOrderID != o.ID() || e.Source != order.EvidenceLookup || e.Certainty != order.CertainPlaced {
			t.Errorf("evidence of %s is %+v, want %s with id %s", id, e, state, o.ID())
		}
	}
	if e := got["esim"]; len(e.ESIMs) != 1 || e.ESIMs[0].ActivationCode == "" {
		t.Errorf("evidence of the eSIM brings no activation code")
	}
	if e := got["lost-000"]; e.Total == nil || e.Total.String() != "0.50 USD" {
		t.Errorf("evidence brings total %v", e.Total)
	}
	if got := r.standing(); len(got) != 0 {
		t.Errorf("findings: %v", got)
	}

	r.sleep(time.Hour)
	r.run(JobUnsettled)
	if n := len(r.standing()); n != 192 {
		t.Errorf("%d stuck orders, want 192", n)
	}
	for i := range 190 { // orderer believes the evidence
		id := fmt.Sprintf("lost-%03d", i)
		if i >= 120 {
			id = fmt.Sprintf("pool-%02d", i-120)
		}
		rec := r.events[id].Record
		rec.State, rec.Certainty, rec.SupplierOrderID = order.Fulfilled, order.CertainPlaced, got[rec.OrderID].SupplierOrderID
		r.event(rec)
		if err := r.ledger.Unguard(r.ctx, rec.OrderID); err != nil {
			t.Fatal(err)
		}
	}
	r.sleep(time.Minute)
	r.run(JobUnsettled)
	if diff := cmp.Diff([]string{"order_stuck esim", "order_stuck never"}, r.standing()); diff != "" {
		t.Errorf("stuck (-want +got):\n%s", diff)
	}
}

// An order that eSIMfly has completed and shows in part is held with that known: it is
// no news to orderer that it is placed, and a person hears of it. That it was refunded,
// or of what is held in doubt that it is placed, is news.
func TestUnsettledShownInPart(t *testing.T) {
	fly := simesimfly.New(simesimfly.Config{Seed: 7})
	srv := httptest.NewServer(fly.Handler())
	t.Cleanup(func() { srv.Close(); fly.Close() })
	client := esimfly.New(esimfly.Config{BaseURL: srv.URL, AccessCode: fly.AccessCode(), SecretKey: fly.SecretKey()})
	r := newRigWith(t, nil, func(r *rig) []Account {
		return []Account{r.account(), {Supplier: order.ESIMFly, Name: "default", Statuses: client}}
	})
	price, err := order.NewMoney("2.72", "USD")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]string{}
	for id, certainty := range map[string]order.Certainty{"part": order.CertainPlaced, "part-refunded": order.CertainPlaced, "part-in-doubt": order.CertainUnknown} {
		req := order.Request{OrderID: id, Supplier: order.ESIMFly, Product: order.ProductESIM, Account: "default", PackageCode: simesimfly.PackageCode,
			PackageName: simesimfly.PackageName, Price: &price, Quantity: 2}
		rec := r.intent(req)
		p, err := client.Place(r.ctx, supplier.Purchase{Request: req})
		if err != nil {
			t.Fatal(err)
		}
		rec.SupplierOrderID, rec.ESIMs = p.SupplierOrderID, p.ESIMs[:1]
		there[id] = p.SupplierOrderID
		r.open(rec, order.Held, certainty)
	}
	if err := fly.Refund(there["part-refunded"]); err != nil {
		t.Fatal(err)
	}
	r.sleep(testSettle + time.Second)
	r.run(JobUnsettled)
	got := map[string]string{}
	for id, e := range r.evidence() {
		got[id] = string(e.Certainty) + " " + e.StateThere
	}
	if diff := cmp.Diff(map[string]string{"part-refunded": "placed refunded", "part-in-doubt": "placed placed"}, got); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"order_stuck part", "order_stuck part-in-doubt", "order_stuck part-refunded"}, r.standing()); diff != "" {
		t.Errorf("stuck (-want +got):\n%s", diff)
	}
}

func TestTasksFollowedToTheirEnd(t *testing.T) {
	r := newRig(t, nil)
	done, failed, slow := r.sim.AddTask(r.iccid(0)), r.sim.AddTask(r.iccid(1)), r.sim.AddTask(r.iccid(2))
	for id, status := range map[string]int{done: 0, failed: 1, slow: 1} {
		if err := r.sim.SetTask(id, status, ""); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := contextWithCancel(t)
	consumed := make(chan error, 1)
	go func() { consumed <- r.worker.Run(ctx) }()
	publish := func(body string) {
		t.Helper()
		if _, err := r.bus.Publish(r.ctx, bus.NewMsg(bus.SubjectTaskTrack(order.EIOTCLUB), "", []byte(body))); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{done, failed, slow, "nobody-knows"} {
		publish(fmt.Sprintf(`{"task_id":%q,"supplier":"eiotclub","account":"default","what":"card reset"}`, id))
	}
	publish(fmt.Sprintf(`{"task_id":%q,"supplier":"eiotclub"}`, done)) // again
	publish(`{"task_id":"x","supplier":"eiotclub","account":"nobody"}`)
	publish(`{"task_id":"x","supplier":"esimfly"}`)
	publish(`{"task_id":"a,b","supplier":"eiotclub"}`)
	publish(`{"task_id"`)
	kv, err := r.bus.JS.KeyValue(r.ctx, bus.BucketTasks)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		keys, err := kv.Keys(r.ctx)
		return err == nil && len(keys) == 4 && len(deadReasons(r)) == 4
	})
	stop()
	if err := <-consumed; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{wire.ReasonMalformed, wire.ReasonMismatch, wire.ReasonSchema, wire.ReasonUnknownAccount}, deadReasons(r)); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}

	r.run(JobTasks)
	if got := messages[wire.TaskEnded](r, bus.StreamTasks, bus.SubjectTaskEnded("*")); len(got) != 0 {
		t.Fatalf("ended too early: %v", got)
	}
	if err := r.sim.SetTask(done, 2, "success: 1, failed: 0"); err != nil {
		t.Fatal(err)
	}
	if err := r.sim.SetTask(failed, -2, "no such card"); err != nil {
		t.Fatal(err)
	}
	r.sleep(time.Hour + time.Second)
	r.run(JobTasks)
	want := []string{"task_failed " + failed, "task_stuck " + slow, "task_stuck nobody-knows"}
	slices.Sort(want)
	if diff := cmp.Diff(want, r.standing()); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	ended := map[string]string{}
	for _, e := range messages[wire.TaskEnded](r, bus.StreamTasks, bus.SubjectTaskEnded("*")) {
		ended[e.TaskID] = e.Status + " " + e.What + " " + e.Result
	}
	if diff := cmp.Diff(map[string]string{done: "success card reset success: 1, failed: 0", failed: "failed card reset no such card"}, ended); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
	if err := r.sim.SetTask(slow, 2, ""); err != nil {
		t.Fatal(err)
	}
	r.sleep(time.Minute)
	r.run(JobTasks)
	if diff := cmp.Diff([]string{"task_failed " + failed, "task_stuck nobody-knows"}, r.standing()); diff != "" {
		t.Errorf("findings at the end (-want +got):\n%s", diff)
	}
}
