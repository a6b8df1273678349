package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/wire"
)

// notify stores a notification as ingest would.
func (r *rig) notify(event, body string) {
	r.t.Helper()
	env, err := wire.NewEnvelope(wire.TypeWebhook(event), wire.Source("ingest"), "", "", r.clock(), json.RawMessage(body))
	if err != nil {
		r.t.Fatal(err)
	}
	data, err := env.Marshal()
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.bus.Publish(r.ctx, bus.NewMsg(bus.SubjectWebhook(order.EIOTCLUB, "default", event), "", data)); err != nil {
		r.t.Fatal(err)
	}
}

func bought(id, iccid string) string {
	return fmt.Sprintf(`{"id":"n-%s","timestamp":1700000000,"nonce":12345,"event":"SubPkgList","data":[{"iccid":%q,"orderId":1,"outTradeNo":%q,"salesChannel":"API","state":1}]}`, id, iccid, id)
}

func TestNotifications(t *testing.T) {
	r := newRig(t, nil)
	for i := range 3 {
		r.buy(r.packageRequest(fmt.Sprintf("o-%d", i), r.iccid(i)))
	}
	r.sleep(testSettle + time.Minute)
	r.run(JobNotifications)
	if got := r.standing(); len(got) != 0 {
		t.Fatalf("an account that is never notified has findings: %v", got)
	}
	r.notify("SubPkgList", bought("o-0", r.iccid(0)))
	r.notify("SubPkgList", bought("somebody-elses", r.iccid(4)))
	for i := range 2 {
		r.buy(r.packageRequest(fmt.Sprintf("p-%d", i), r.iccid(i)))
	}
	r.notify("SubPkgList", bought("p-0", r.iccid(0)))
	r.sleep(testSettle + time.Minute)
	r.run(JobNotifications)
	if diff := cmp.Diff([]string{"notification_missing p-1"}, r.standing()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	r.notify("SubPkgList", bought("p-1", r.iccid(1))) // late
	r.sleep(time.Minute)
	r.run(JobNotifications)
	if got := r.standing(); len(got) != 0 {
		t.Fatalf("still missing: %v", got)
	}
	for _, id := range []string{"p-0", "p-1"} { // a look-up found that they were refunded
		rec := r.events[id].Record
		rec.State, rec.Evidence = order.Refunded, order.EvidenceLookup
		r.event(rec)
	}
	r.notify("Refund", fmt.Sprintf(`{"id":"r-1","timestamp":1700000000,"nonce":12345,"event":"Refund","iccid":%q,"orderId":%s,"outTradeNo":"p-1","orderAmount":"0.50","refundAmount":"0.50"}`,
		r.iccid(1), r.events["p-1"].SupplierOrderID))
	r.sleep(testSettle + time.Minute)
	r.run(JobNotifications)
	if diff := cmp.Diff([]string{"notification_missing p-0"}, r.standing()); diff != "" {
		t.Fatalf("refunds (-want +got):\n%s", diff)
	}
	r.sleep(8 * 24 * time.Hour)
	r.run(JobNotifications)
	if got := r.standing(); len(got) != 0 {
		t.Fatalf("after a week: %v", got)
	}
}

// TestRecordsMeetsCardsByNotification: a purchase in our name on a card that we
// never ordered for is met because it was notified.
func TestRecordsMeetsCardsByNotification(t *testing.T) {
	r := newRig(t, nil)
	r.buy(r.packageRequest("ours", r.iccid(0)))
	if _, err := r.sim.Plant(simOrder("not-ours", r.iccid(9)), true, false); err != nil {
		t.Fatal(err)
	}
	r.notify("SubPkgList", bought("not-ours", r.iccid(9)))
	r.sleep(testSettle + time.Minute)
	r.run(JobRecords)
	if diff := cmp.Diff([]string{"order_missing_here not-ours 0.50 USD"}, r.standing()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
}

// picky refuses every batch that holds an id it does not like.
type picky struct{ asked int }

func (p *picky) Tasks(_ context.Context, ids []string) ([]eiotclub.Task, error) {
	p.asked++
	if slices.Contains(ids, "bad") {
		return nil, &supplier.Error{Op: "task/query", Kind: supplier.Refused, Code: "43332", Sent: true}
	}
	var out []eiotclub.Task
	for _, id := range ids {
		out = append(out, eiotclub.Task{ID: id, Status: eiotclub.TaskSucceeded})
	}
	return out, nil
}

func TestTasksRefusedBatchIsHalved(t *testing.T) {
	r := newRig(t, nil)
	p := &picky{}
	r.worker.tasks.Accounts = []Account{{Supplier: order.EIOTCLUB, Name: "default", Tasks: p}}
	for i := range 250 {
		id := fmt.Sprintf("task-%03d", i)
		if i == 77 {
			id = "bad"
		}
		task := wire.Task{TaskID: id, Supplier: order.EIOTCLUB, Account: "default"}
		if _, err := r.worker.tasks.KV.Create(r.ctx, taskKey(task), raw(tracked{Task: task, Since: r.clock()})); err != nil {
			t.Fatal(err)
		}
	}
	r.sleep(time.Second)
	r.run(JobTasks)
	if n := len(messages[wire.TaskEnded](r, bus.StreamTasks, bus.SubjectTaskEnded("*"))); n != 249 {
		t.Errorf("%d tasks ended, want 249", n)
	}
	if p.asked < 4 || p.asked > 3+2*8 {
		t.Errorf("asked %d times", p.asked)
	}
}

func TestBudgetLeavesOrdersTheirShare(t *testing.T) {
	r := newRig(t, nil)
	kv, err := r.bus.JS.KeyValue(r.ctx, bus.BucketBudgets)
	if err != nil {
		t.Fatal(err)
	}
	b := &Budget{KV: kv, Key: BudgetKey(order.ESIMFly, "default"), Limit: 20, Window: time.Hour, Now: r.clock}
	taken := 0
	var last error
	for range 30 {
		if last = b.Take(r.ctx); last == nil {
			taken++
		}
	}
	var e *supplier.Error
	if taken != 10 || !errors.As(last, &e) || e.Kind != supplier.Busy || e.RetryAfter != time.Hour {
		t.Errorf("took %d of 20, then %v", taken, last)
	}
	r.sleep(time.Hour)
	if err := b.Take(r.ctx); err != nil {
		t.Errorf("in the next window: %v", err)
	}
	// Orderer was told to pause; it writes the same value.
	if _, err := kv.PutString(r.ctx, b.Key, fmt.Sprintf(`{"start":%q,"used":1,"pause":%q}`, r.clock().Format(time.RFC3339), r.clock().Add(time.Minute).Format(time.RFC3339))); err != nil {
		t.Fatal(err)
	}
	if err := b.Take(r.ctx); !errors.As(err, &e) || e.RetryAfter != time.Minute {
		t.Errorf("during the pause: %v", err)
	}
	if _, err := kv.PutString(r.ctx, b.Key, `not json`); err != nil {
		t.Fatal(err)
	}
	if err := b.Take(r.ctx); err != nil {
		t.Errorf("after an unreadable count: %v", err)
	}
}

// TestTooManyIsHeardByAll: where no limit is documented, what the supplier said to
// one worker keeps all of them from asking for a while.
func TestTooManyIsHeardByAll(t *testing.T) {
	r := newRig(t, nil)
	kv, err := r.bus.JS.KeyValue(r.ctx, bus.BucketBudgets)
	if err != nil {
		t.Fatal(err)
	}
	budget := func() *Budget { return &Budget{KV: kv, Key: BudgetKey(order.EIOTCLUB, "default"), Now: r.clock} }
	a, b := budget(), budget()
	tooMany := &supplier.Error{Op: "x", Kind: supplier.Busy, Code: "501", Sent: true}
	answers := []error{nil, tooMany, nil}
	call := func() (int, error) { err := answers[0]; answers = answers[1:]; return 1, err }
	cost := &Cost{job: JobRecords, metrics: r.worker.metrics}
	one := asker{tries: 1, wait: time.Second, budget: a, cost: cost}
	for i, want := range []bool{true, false} {
		if _, err := ask(r.ctx, one, "x", call); err == nil != want {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	var e *supplier.Error
	if err := b.Take(r.ctx); !errors.As(err, &e) || e.Kind != supplier.Busy || e.RetryAfter != 4*time.Second {
		t.Fatalf("another worker was not told: %v", err)
	}
	b.Busy(r.ctx, time.Second) // a shorter pause does not shorten it
	r.sleep(2 * time.Second)
	if err := a.Take(r.ctx); err == nil {
		t.Error("the pause was cut short")
	}
	r.sleep(3 * time.Second)
	if err := b.Take(r.ctx); err != nil {
		t.Errorf("after the pause: %v", err)
	}
	if calls, _ := cost.Take(); calls != 2 {
		t.Errorf("%d calls counted, 2 were made", calls)
	}
}
