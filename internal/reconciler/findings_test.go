package reconciler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/wire"
)

// look is one sitting of job in which one thing was looked at.
func (r *rig) look(job, about string, found ...wire.Finding) {
	r.t.Helper()
	s, err := r.worker.book.Sit(r.ctx, job, false, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := s.Looked(r.ctx, about, found...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) statuses() []string {
	r.t.Helper()
	var out []string
	for _, f := range messages[wire.Finding](r, bus.StreamFindings, bus.SubjectFinding("*")) {
		out = append(out, f.Kind+" "+f.Status+" "+string(f.Theirs))
	}
	return out
}

func TestFindingsLife(t *testing.T) {
	r := newRig(t, nil)
	f := wire.Finding{Kind: KindPrice, OrderID: "a", Theirs: []byte(`1`)}
	say := func(about, theirs string) {
		t.Helper()
		g := f
		g.Theirs = []byte(theirs)
		r.look(JobRecords, about, g)
	}
	say("a", "1")
	r.sleep(time.Minute)
	say("a", "1") // the same: nothing is announced
	r.sleep(time.Minute)
	say("a", "2") // updated in place
	r.sleep(refreshAfter)
	say("a", "2") // the same for long: last_seen moves
	if diff := cmp.Diff([]string{"order_price open 1", "order_price open 2", "order_price open 2"}, r.statuses()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	id := FindingID(KindPrice, "a")
	for _, bad := range []struct{ id, by, reason string }{{id, "", "why"}, {id, "me", " "}, {"ffff", "me", "why"}, {"", "me", "why"}} {
		if _, err := r.worker.book.Accept(r.ctx, bad.id, bad.by, bad.reason); err == nil {
			t.Errorf("accepted %+v", bad)
		}
	}
	if _, err := r.worker.book.Accept(r.ctx, id[:8], "me", "known"); err != nil {
		t.Fatal(err)
	}
	r.sleep(time.Minute)
	say("a", "2")
	if diff := cmp.Diff([]string{"order_price a accepted"}, r.standing()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	r.sleep(refreshAfter)
	say("a", "2") // stays accepted however long it goes on
	last := messages[wire.Finding](r, bus.StreamFindings, bus.SubjectFinding("*"))
	if got := last[len(last)-1]; got.Status != "accepted" || !strings.Contains(got.Evidence, "accepted by me: known") {
		t.Fatalf("last announced as %s: %s", got.Status, got.Evidence)
	}
	say("a", "3") // says something else than what was accepted
	if diff := cmp.Diff([]string{"order_price a"}, r.standing()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	r.look(JobRecords, "a")
	if got := r.standing(); len(got) != 0 {
		t.Fatalf("still standing: %v", got)
	}
	if _, err := r.worker.book.Find(r.ctx, id); !errors.Is(err, ErrNoFinding) {
		t.Errorf("a closed finding is found: %v", err)
	}
	r.sleep(time.Hour)
	say("a", "1") // it comes again: the same id, a new life
	all := messages[wire.Finding](r, bus.StreamFindings, bus.SubjectFinding("*"))
	first, again := all[0], all[len(all)-1]
	if again.FindingID != first.FindingID || !again.FirstSeen.After(first.LastSeen) || again.Severity != "warning" || again.SuggestedAction == "" {
		t.Errorf("came again as %+v", again)
	}
}

// TestFindingsAcceptedWhileLooking: a person's word that comes during a pass stands.
func TestFindingsAcceptedWhileLooking(t *testing.T) {
	r := newRig(t, nil)
	f := wire.Finding{Kind: KindPrice, OrderID: "a", Theirs: []byte(`1`)}
	r.look(JobRecords, "a", f)
	s, err := r.worker.book.Sit(r.ctx, JobRecords, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.worker.book.Accept(r.ctx, FindingID(KindPrice, "a"), "me", "known"); err != nil {
		t.Fatal(err)
	}
	f.Theirs = []byte(`2`)
	r.sleep(time.Minute)
	if err := s.Looked(r.ctx, "a", f); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"order_price a accepted"}, r.standing()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	r.look(JobRecords, "a", f)
	if diff := cmp.Diff([]string{"order_price a"}, r.standing()); diff != "" {
		t.Fatalf("the next pass (-want +got):\n%s", diff)
	}
}

func TestEachKindHasItsJobAndWords(t *testing.T) {
	jobs := map[string]int{}
	for _, job := range JobNames {
		for _, kind := range kindsOf[job] {
			jobs[kind]++
		}
	}
	for _, k := range Kinds {
		if want := map[string]int{KindConflict: 2}[k.Name]; jobs[k.Name] != max(want, 1) || k.Meaning == "" || k.Action == "" || k.Severity == "" {
			t.Errorf("%s: %d jobs, %+v", k.Name, jobs[k.Name], k)
		}
	}
	if len(Kinds) != 19 || len(jobs) != 19 {
		t.Errorf("%d kinds, %d of them with a job; design.md has 19", len(Kinds), len(jobs))
	}
}

// TestTwoReplicas: while one works the other leaves the job alone, and no finding
// or span comes twice.
func TestTwoReplicas(t *testing.T) {
	r := newRig(t, nil)
	for i := range 20 {
		r.buy(r.packageRequest(fmt.Sprintf("o-%02d", i), r.iccid(i)))
		if err := r.sim.SetPrice(fmt.Sprintf("o-%02d", i), money2(1000), false); err != nil {
			t.Fatal(err)
		}
	}
	r.sleep(testSettle + time.Minute)
	workers := []*Worker{r.worker, r.newWorker(r.connect(), nil), r.newWorker(r.connect(), nil)}
	var all sync.WaitGroup
	for _, w := range workers {
		all.Go(func() {
			for range 5 {
				if err := w.RunOnce(r.ctx, JobRecords); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := len(messages[wire.Finding](r, bus.StreamFindings, bus.SubjectFinding("*"))); n != 20 {
		t.Errorf("%d findings announced, want 20", n)
	}
	p, _, err := r.worker.runner.Periods.Load(r.ctx, JobRecords)
	if err != nil {
		t.Fatal(err)
	}
	// The clock stands still: after the first run of all nothing is due.
	if p.Runs != 1 {
		t.Errorf("%d runs of one span", p.Runs)
	}
}

// slowLists is a supplier whose first answer takes until it is let go.
type slowLists struct {
	PackageLists
	entered, release chan struct{}
	once             sync.Once
}

func (s *slowLists) PackageRecords(ctx context.Context, iccid string, f eiotclub.RecordFilter) ([]eiotclub.Order, int, error) {
	s.once.Do(func() {
		close(s.entered)
		<-s.release // longer than the lease, as a stopped process would be
	})
	return s.PackageLists.PackageRecords(ctx, iccid, f)
}

// TestStoppedReplicaWakesUp: a replica that slept past its lease finds its job moved
// on by another and gives way.
func TestStoppedReplicaWakesUp(t *testing.T) {
	r := newRig(t, func(c *Config) { c.LeaseTTL = 2 * time.Second })
	r.buy(r.packageRequest("a", r.iccid(0)))
	if err := r.sim.SetPrice("a", money2(1000), false); err != nil {
		t.Fatal(err)
	}
	r.sleep(testSettle + time.Minute)
	slow := &slowLists{PackageLists: r.client, entered: make(chan struct{}), release: make(chan struct{})}
	sleeper := r.newWorker(r.connect(), nil)
	job := *sleeper.jobs[JobRecords]
	records := &Records{Accounts: []Account{{Supplier: "eiotclub", Name: "default", Packages: slow}}, Ledger: Ledger{sleeper.bus}, Witness: sleeper.witness,
		Metrics: sleeper.runner.Metrics, Log: sleeper.log, Settle: testSettle, Lookback: 24 * time.Hour, Slots: 1}
	job.Look = records.Look
	// A stopped process renews nothing: its lock is held in name only.
	sleeper.runner.Locks = newMemory()
	woken := make(chan error, 1)
	go func() { woken <- sleeper.runner.Catch(r.ctx, r.ctx, &job, job.dueNow) }()
	<-slow.entered
	r.run(JobRecords)
	close(slow.release)
	if err := <-woken; err != nil {
		t.Fatalf("the sleeper ended with %v, want it to give way", err)
	}
	if n := len(messages[wire.Finding](r, bus.StreamFindings, bus.SubjectFinding("*"))); n != 1 {
		t.Errorf("%d findings announced, want 1", n)
	}
	if p, _, err := r.worker.runner.Periods.Load(r.ctx, JobRecords); err != nil || p.Runs != 1 || p.Running != nil {
		t.Errorf("progress %+v, %v", p, err)
	}
}

func TestLeaseIsRenewedAndLost(t *testing.T) {
	r := newRig(t, nil)
	a := leases{bus: r.bus, owner: "a", ttl: 2 * time.Second}
	b := leases{bus: r.connect(), owner: "b", ttl: 2 * time.Second}
	held, unlock, err := a.Lock(r.ctx, "job")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Lock(r.ctx, "job"); !errors.Is(err, bus.ErrLeaseHeld) {
		t.Fatalf("taken twice: %v", err)
	}
	unlock()
	if held.Err() == nil {
		t.Error("the context lives on without the lease")
	}
	held, unlock, err = b.Lock(r.ctx, "job")
	if err != nil {
		t.Fatalf("not given back: %v", err)
	}
	// Another takes it over while b cannot know: b's next renewal tells it.
	kv, err := r.bus.JS.KeyValue(r.ctx, bus.BucketLeases)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(r.ctx, "reconciler.job", "c"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-held.Done():
	case <-time.After(time.Minute):
		t.Fatal("the lease was lost and nobody noticed")
	}
	if !errors.Is(context.Cause(held), bus.ErrLeaseHeld) {
		t.Errorf("lost by %v", context.Cause(held))
	}
	unlock()
}
