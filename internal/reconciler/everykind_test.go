package reconciler

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	sim "github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/sim/fault"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/warehouse/warehousetest"
	"github.com/simline/simline/internal/wire"
)

// purseOf is an account that tells what it holds and nothing else.
type purseOf struct {
	mu     sync.Mutex
	amount int64
}

func (p *purseOf) Balance(context.Context) (order.Money, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return order.Money{Amount: decimal.New(p.amount, 0), Currency: "USD"}, nil
}

func (p *purseOf) set(amount int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.amount = amount
}

// bazaar is everything that can differ, planted in numbers.
type bazaar struct {
	*planter
	db     *warehouse.DB
	bank   *sim.Sim // the account that is only about money
	purses []*purseOf
	others []string // findings that are about no order of the planter's
	mends  []func()
	facts  []string // what stays until a person accepts it
	later  []string // what mending brings about
}

const lowAccounts = 6

func newBazaar(t *testing.T, seed uint64) *bazaar {
	db, dsn := warehousetest.OpenDSN(t)
	b := &bazaar{db: db, planter: &planter{rng: rand.New(rand.NewPCG(seed, 2)), want: map[string]string{}, mend: map[string]func(){}}}
	// The accounts are asked for when the worker is made.
	b.rig = newRigWith(t, func(c *Config) { c.ClickHouseDSN = dsn }, func(r *rig) []Account {
		main := r.account()
		main.Balance = nil
		b.bank = sim.New(sim.Config{Clock: r.clock, Seed: 8, ClockTolerance: 1000 * time.Hour})
		srv := httptest.NewServer(b.bank.Handler())
		t.Cleanup(func() { srv.Close(); b.bank.Close() })
		client := eiotclub.New(eiotclub.Config{BaseURL: srv.URL, AppKey: b.bank.AppKey(), Secret: b.bank.Secret()})
		accounts := []Account{main, {Supplier: order.EIOTCLUB, Name: "money", Balance: client}}
		for i := range lowAccounts {
			p := &purseOf{amount: 100}
			b.purses = append(b.purses, p)
			accounts = append(accounts, Account{Supplier: order.EIOTCLUB, Name: fmt.Sprintf("low-%d", i), Balance: p})
		}
		return accounts
	})
	return b
}

func (b *bazaar) say(finding string, mend func()) {
	b.others = append(b.others, finding)
	b.mends = append(b.mends, mend)
}

func (b *bazaar) fact(finding string) {
	b.others, b.facts = append(b.others, finding), append(b.facts, finding)
}

// fewest is how many differences there are of the kind of which the dice planted least.
func (b *bazaar) fewest() int {
	n := map[string]int{}
	for _, f := range b.want {
		kind, _, _ := strings.Cut(f, " ")
		n[kind]++
	}
	least := len(b.want)
	for _, kind := range []string{KindMissingHere, KindMissingThere, KindState, KindRefund, KindPrice, KindCurrency, KindPackage, KindDuplicate} {
		least = min(least, n[kind])
	}
	return least
}

// orders plants what lists show, some of each kind, and tells the notifications of
// all but some.
func (b *bazaar) orders(n int) {
	for i := 0; i < n || b.fewest() < 3; i++ {
		b.one(i)
	}
	for i := range 25 { // their list shows another order of theirs under our id
		id := fmt.Sprintf("other-%03d", i)
		rec := b.intent(b.packageRequest(id, b.iccid(i)))
		b.place(rec.Request)
		rec.State, rec.Certainty, rec.SupplierOrderID = order.Fulfilled, order.CertainPlaced, "1"+id
		b.event(rec)
		b.say(KindConflict+" "+id+" 0.50 USD", func() { b.must(b.sim.Forget(id)); b.refund(id) })
	}
	told := 0
	for _, id := range slices.Sorted(maps.Keys(b.events)) {
		rec := b.events[id].Record
		if !rec.State.Settled() || rec.Certainty != order.CertainPlaced || rec.Product == order.ProductPoolPackage {
			continue
		}
		if told++; told%7 == 0 {
			b.say(KindNotification+" "+id, func() { b.notifyBought(rec) })
			continue
		}
		b.notifyBought(rec)
	}
}

func (b *bazaar) notifyBought(rec order.Record) {
	if rec.Product == order.ProductCloudESIMPackage {
		b.notify("CloudESimSubPkgList", fmt.Sprintf(`{"id":"n-%s","timestamp":1700000000,"nonce":12345,"event":"CloudESimSubPkgList","data":[{"eid":%q,"eshopOrderId":%s,"outTradeNo":%q,"salesChannel":"API","state":1}]}`,
			rec.OrderID, rec.Request.EID, rec.SupplierOrderID, rec.OrderID))
		return
	}
	b.notify("SubPkgList", bought(rec.OrderID, rec.Request.ICCID))
}

// refund makes an order of ours refunded.
func (b *bazaar) refund(id string) {
	rec := b.events[id].Record
	rec.State = order.Refunded
	b.event(rec)
}

func (b *bazaar) notifyRefund(rec order.Record) {
	event, card := "Refund", fmt.Sprintf(`"iccid":%q,"orderId":1`, rec.Request.ICCID)
	if rec.Product == order.ProductCloudESIMPackage {
		event, card = "CloudESimRefund", fmt.Sprintf(`"eid":%q,"eshopOrderId":%s`, rec.Request.EID, rec.SupplierOrderID)
	}
	if rec.Product != order.ProductPoolPackage {
		b.notify(event, fmt.Sprintf(`{"id":"r-%s","timestamp":1700000000,"nonce":12345,"event":%q,%s,"outTradeNo":%q,"orderAmount":"0.50","refundAmount":"0.50"}`, rec.OrderID, event, card, rec.OrderID))
	}
}

// open plants orders that do not settle, and evidence that orderer set aside.
func (b *bazaar) openOnes(n int) {
	for i := range n {
		id := fmt.Sprintf("stuck-%03d", i)
		rec := b.intent(b.packageRequest(id, b.iccid(i)))
		b.open(rec, order.Unknown, order.CertainUnknown)
		b.say(KindStuck+" "+id, func() {
			rec := b.events[id].Record
			rec.State, rec.Certainty = order.Rejected, order.CertainNotPlaced
			b.event(rec)
			if err := b.ledger.Unguard(b.ctx, id); err != nil {
				b.t.Fatal(err)
			}
		})
		id2 := fmt.Sprintf("letter-%03d", i)
		b.rejected(id2)
		seq := b.deadEvidence(wire.Evidence{OrderID: id2, Certainty: order.CertainPlaced, StateThere: "fulfilled", SupplierOrderID: "9" + strconv.Itoa(i)})
		b.say(KindConflict+" "+id2, func() {
			st, err := b.bus.JS.Stream(b.ctx, bus.StreamDead)
			if err == nil {
				err = st.DeleteMsg(b.ctx, seq)
			}
			b.must(err)
		})
	}
}

// tasks plants tasks that fail, do not end, and end.
func (b *bazaar) tasks(n int) {
	for i := range n {
		id := b.sim.AddTask(b.iccid(i))
		task := wire.Task{TaskID: id, Supplier: order.EIOTCLUB, Account: "default"}
		_, err := b.worker.tasks.KV.Create(b.ctx, taskKey(task), raw(tracked{Task: task, Since: b.clock()}))
		b.must(err)
		switch i % 3 {
		case 0:
			b.must(b.sim.SetTask(id, -2, "no such card"))
			b.fact(KindTaskFailed + " " + id)
		case 1:
			b.must(b.sim.SetTask(id, 1, ""))
			b.say(KindTaskStuck+" "+id, func() { b.must(b.sim.SetTask(id, 2, "")) })
		default:
			b.must(b.sim.SetTask(id, 2, ""))
		}
	}
}

// usage plants bytes that differ on the day that ended last before at, and windows of
// CDR files that never came or came late.
func (b *bazaar) usage(at time.Time, n int) {
	day := at.Truncate(24 * time.Hour).Add(-24 * time.Hour)
	window := Span{day, day.Add(24 * time.Hour)}.String()
	var values []string
	insert := func(card string, bytes int64) {
		s := day.Add(5 * time.Hour).Format(time.DateTime)
		values = append(values, fmt.Sprintf("(%d, '%s', '%s', '%s', '', %d, '', '31026', 'default', 'f', 1)", len(values), s, s, card, bytes))
	}
	flush := func() {
		b.must(b.db.Conn().Exec(b.ctx, "INSERT INTO simline.cdr (id, start_time, stop_time, iccid, imsi, data_usage, imei, mccmnc, account, file, row_hash) VALUES "+strings.Join(values, ", ")))
	}
	var missing []string
	for i := range n {
		card := fmt.Sprintf("8988308651%09d", i)
		b.sim.RecordUsage(card, day.Add(5*time.Hour), 1000)
		switch i % 3 {
		case 0:
			insert(card, 900)
			missing = append(missing, card)
			b.say(KindUsageMissing+" "+window, func() {})
		case 1:
			insert(card, 1200)
			b.say(KindUsageSurplus+" "+window, func() { b.sim.RecordUsage(card, day.Add(5*time.Hour), 200) })
		default:
			insert(card, 1000)
		}
	}
	flush()
	b.mends = append(b.mends, func() {
		for _, card := range missing {
			insert(card, 100)
		}
		flush()
	})
	const half = 30 * time.Minute
	begin := at.Truncate(time.Hour).Add(-18 * time.Hour)
	for from := begin; from.Before(at); from = from.Add(half) {
		load := func(loaded time.Time) { b.file(b.db, from, from.Add(half), loaded, warehouse.FileLoaded) }
		due := from.Add(half).Before(at.Add(-2 * time.Hour))
		switch i := int(from.Sub(begin) / half); {
		case i%4 == 1 && due:
			window := Span{from, from.Add(half)}.String()
			b.say(KindWindowMissing+" "+window, func() {
				load(b.clock())
				b.later = append(b.later, KindWindowLate+" "+window)
			})
		case i%4 == 3 && due:
			load(from.Add(half + 100*time.Minute))
			b.fact(KindWindowLate + " " + Span{from, from.Add(half)}.String())
		default:
			load(from.Add(half + time.Minute))
		}
	}
}

// money plants purchases by others, in a stretch of time each.
func (b *bazaar) money(n int) {
	for _, p := range b.purses {
		p.set(10) // 90 a day
		b.say(KindBalanceLow, func() { p.set(100_000) })
		b.fact(KindBalanceGap + " 90.00 USD") // nor does anything explain it
	}
	for i := range n {
		price := sim.Money{Minor: int64(100 + i), Currency: "USD"}
		_, err := b.bank.Plant(sim.Order{ICCID: b.iccid(i), Price: price}, true, false)
		b.must(err)
		for range 2 { // up to what was noted before it, then beyond
			b.judged()
		}
		b.fact(KindBalanceGap + " " + decimal.New(price.Minor, -2).StringFixed(2) + " USD")
	}
}

// expected are all findings, as seen makes them.
func (b *bazaar) expected() []string {
	return slices.Sorted(slices.Values(slices.Concat(b.planter.expected(), b.others)))
}

// seen are the findings that stand. A gap is told by its amount: its window begins
// and ends within the test's own running.
func (b *bazaar) seen() []string {
	got := b.standing()
	for i, s := range got {
		if strings.HasPrefix(s, KindBalanceGap+" ") {
			f := strings.Fields(s)
			got[i] = strings.Join(slices.Delete(f, 1, 2), " ")
		}
	}
	slices.Sort(got)
	return got
}

// TestEveryKindInBulk: two books with planted differences of every kind there is,
// mixed and in numbers, while the supplier has a bad day: what is found is what was
// planted, at no time more, in the end no less, under ids that stay, and closed once
// mended. Nothing is bought or refunded meanwhile.
func TestEveryKindInBulk(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	b := newBazaar(t, seed)
	b.run(JobBalance)
	b.orders(260)
	b.openOnes(20)
	b.tasks(60)
	b.sleep(time.Second)
	b.money(4)
	spent := b.sim.Book().Balance
	// All jobs look at one moment, which is not near midnight.
	at := b.clock().Add(2 * time.Hour)
	if at.Sub(at.Truncate(24*time.Hour)) < time.Hour {
		at = at.Add(time.Hour)
	}
	b.usage(at, 90)
	b.sleep(at.Sub(b.clock()))

	kinds := map[string]int{}
	for _, f := range b.expected() {
		kind, _, _ := strings.Cut(f, " ")
		kinds[kind]++
	}
	for _, k := range Kinds {
		if kinds[k.Name] < 3 {
			t.Errorf("seed %d: %d differences of kind %s planted", seed, kinds[k.Name], k.Name)
		}
	}
	b.sim.Faults().MustAdd(
		fault.Rule{Kind: fault.TooManyRequests, Probability: 0.05, Seed: seed},
		fault.Rule{Kind: fault.StatusBefore, Status: 502, Probability: 0.03, Seed: seed + 1},
		fault.Rule{Kind: fault.HalfBody, Probability: 0.03, Seed: seed + 2},
		fault.Rule{Kind: fault.Reset, Probability: 0.03, Seed: seed + 3},
	)
	all := func() (cut int) {
		for _, job := range JobNames {
			for b.worker.RunOnce(b.ctx, job) != nil {
				if cut++; cut > 200 {
					t.Fatal("never ends")
				}
			}
		}
		return cut
	}
	cut := 0
	for range 3 {
		cut += all()
		left := b.expected()
		for _, f := range b.seen() {
			i, planted := slices.BinarySearch(left, f)
			if !planted {
				t.Fatalf("seed %d: found %q, which nobody planted", seed, f)
			}
			left = slices.Delete(left, i, i+1)
		}
		b.sleep(time.Minute)
	}
	b.sim.Faults().Clear()
	for range 2 {
		all()
		b.sleep(time.Minute)
	}
	if diff := cmp.Diff(b.expected(), b.seen()); diff != "" {
		t.Fatalf("seed %d (-planted +found):\n%s", seed, diff)
	}
	before, err := b.worker.book.List(b.ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	b.sleep(20 * time.Minute)
	all()
	after, err := b.worker.book.List(b.ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(after) != len(before) {
		t.Fatalf("seed %d: %d findings became %d", seed, len(before), len(after))
	}
	for i, e := range before {
		if a := after[i].Finding; a.FindingID != e.Finding.FindingID || !a.FirstSeen.Equal(e.Finding.FirstSeen) {
			t.Fatalf("seed %d: %s became %s of %s", seed, e.Finding.FindingID, a.FindingID, a.FirstSeen)
		}
		f := e.Finding
		if f.Severity == "" || f.SuggestedAction == "" || f.Evidence == "" || f.Supplier == "" || f.Account == "" {
			t.Errorf("finding without severity, action, evidence or whose: %+v", f)
		}
	}
	if now := b.sim.Book().Balance; now != spent {
		t.Errorf("seed %d: comparing moved money: %v became %v", seed, spent, now)
	}

	for _, id := range slices.Sorted(maps.Keys(b.mend)) {
		b.mend[id]()
	}
	for _, mend := range b.mends {
		mend()
	}
	for _, id := range slices.Sorted(maps.Keys(b.events)) {
		if rec := b.events[id].Record; rec.State == order.Refunded {
			b.notifyRefund(rec)
		}
	}
	for _, e := range after { // what is a fact is accepted by a person
		if slices.Contains([]string{KindTaskFailed, KindBalanceGap, KindWindowLate}, e.Finding.Kind) {
			if _, err := b.worker.book.Accept(b.ctx, e.Finding.FindingID, "me", "seen"); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.sleep(testSettle + time.Minute)
	for range 2 {
		all()
		b.sleep(time.Minute)
	}
	want := b.later
	for _, f := range b.facts {
		want = append(want, f+" accepted")
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, b.seen()); diff != "" {
		t.Fatalf("seed %d: after all was mended (-want +standing):\n%s", seed, diff)
	}
	t.Logf("%d differences of %d kinds, %d passes cut off", len(before), len(kinds), cut)
}
