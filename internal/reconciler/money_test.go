package reconciler

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/order"
	sim "github.com/simline/simline/internal/sim/eiotclub"
)

func TestGap(t *testing.T) {
	t0 := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	at := func(m int) time.Time { return t0.Add(time.Duration(m) * time.Minute) }
	snap := func(m int, balance string) Snapshot {
		return Snapshot{From: at(m), At: at(m), Balance: order.Money{Amount: decimal.RequireFromString(balance), Currency: "USD"}}
	}
	buy := func(id string, from, to int, price string) Movement {
		d := decimal.RequireFromString(price).Neg()
		return Movement{Order: id, From: at(from), To: at(to), Low: d, High: d}
	}
	opening := snap(0, "100.00")
	for name, c := range map[string]struct {
		closing   Snapshot
		movements []Movement
		want      string
	}{
		"nothing happened":             {snap(60, "100"), nil, "0"},
		"one purchase":                 {snap(60, "95.10"), []Movement{buy("a", 10, 11, "4.90")}, "0"},
		"bought twice":                 {snap(60, "90.20"), []Movement{buy("a", 10, 11, "4.90")}, "-4.9"},
		"topped up":                    {snap(60, "145.10"), []Movement{buy("a", 10, 11, "4.90")}, "50"},
		"before the opening":           {snap(60, "100"), []Movement{buy("a", -10, -9, "4.90")}, "0"},
		"after the closing":            {snap(60, "100"), []Movement{buy("a", 70, 71, "4.90")}, "0"},
		"over the closing, charged":    {snap(60, "95.10"), []Movement{buy("a", 59, 61, "4.90")}, "0"},
		"over the closing, not yet":    {snap(60, "100"), []Movement{buy("a", 59, 61, "4.90")}, "0"},
		"over the opening, charged":    {snap(60, "100"), []Movement{buy("a", -1, 1, "4.90")}, "0"},
		"over the edge explains it":    {snap(60, "93.00"), []Movement{buy("a", 59, 61, "4.90")}, "-2.1"},
		"price not known":              {snap(60, "93.00"), []Movement{{Order: "a", From: at(10), To: at(11), Open: true}}, "0"},
		"money in all the same":        {snap(60, "101.00"), []Movement{{Order: "a", From: at(10), To: at(11), Open: true}}, "1"},
		"the reply that told closing":  {Snapshot{From: at(59), At: at(60), Order: "a", Balance: snap(0, "95.10").Balance}, []Movement{buy("a", 59, 60, "4.90")}, "0"},
		"and it was charged twice":     {Snapshot{From: at(59), At: at(60), Order: "a", Balance: snap(0, "90.20").Balance}, []Movement{buy("a", 59, 60, "4.90")}, "-4.9"},
		"refunded in part":             {snap(60, "97.00"), []Movement{buy("a", 10, 11, "4.90"), {From: at(10), To: at(30), High: decimal.RequireFromString("4.90")}}, "0"},
		"refunded more than was paid":  {snap(60, "100.01"), []Movement{buy("a", 10, 11, "4.90"), {From: at(10), To: at(30), High: decimal.RequireFromString("4.90")}}, "0.01"},
		"exact to the last digit":      {snap(60, "99.699999"), []Movement{buy("a", 1, 2, "0.1"), buy("b", 3, 4, "0.2")}, "-0.000001"},
		"floats would say a gap":       {snap(60, "99.7"), []Movement{buy("a", 1, 2, "0.1"), buy("b", 3, 4, "0.2")}, "0"},
		"within the skew of the clock": {snap(60, "100"), []Movement{{Order: "a", From: at(60).Add(-time.Second), To: at(60).Add(-time.Second), Low: decimal.New(-1, 0), High: decimal.New(-1, 0)}}, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			var sum moneySum
			for _, m := range c.movements {
				sum.add(opening, c.closing, m)
			}
			if got := sum.gap(opening, c.closing); got.String() != c.want {
				t.Errorf("gap %s, want %s", got, c.want)
			}
		})
	}
}

func TestBalanceFindsWhatNoListShows(t *testing.T) {
	r := newRig(t, func(c *Config) { c.CronRecords = "off" })
	r.buy(r.packageRequest("before", r.iccid(0)))
	r.run(JobBalance) // opening
	r.sleep(time.Minute)
	r.buy(r.packageRequest("one", r.iccid(1)))
	r.buy(r.packageRequest("two", r.iccid(2)))
	r.sleep(time.Minute)
	r.run(JobBalance) // closing, to be judged
	r.sleep(testSettle + time.Minute)
	r.run(JobBalance)
	if got := r.standing(); len(got) != 0 {
		t.Fatalf("gap in a clean book: %v", got)
	}
	if _, err := r.sim.Plant(sim.Order{OutTradeNo: "shadow", ICCID: r.iccid(3)}, true, false); err != nil {
		t.Fatal(err)
	}
	if err := r.sim.Forget("shadow"); err != nil { // in no list, and paid
		t.Fatal(err)
	}
	r.sleep(time.Minute)
	r.run(JobBalance)
	if got := r.standing(); len(got) != 0 {
		t.Fatalf("gap before the settle time: %v", got)
	}
	for range 2 {
		r.sleep(testSettle + time.Minute)
		r.run(JobBalance)
	}
	got := r.standing()
	if len(got) != 1 || got[0][:12] != "balance_gap " || got[0][len(got[0])-8:] != "0.50 USD" {
		t.Fatalf("findings %v, want a gap of 0.50 USD", got)
	}
}

func TestBalanceLow(t *testing.T) {
	r := newRig(t, nil)
	r.sim.TopUp(-r.sim.Balance().Minor + 1300)
	r.run(JobBalance)
	for i := range 4 {
		r.buy(r.packageRequest(string(rune('a'+i)), r.iccid(i)))
	}
	r.sleep(time.Hour)
	r.run(JobBalance)
	if got := r.standing(); len(got) != 1 || got[0] != "balance_low" { // 11.00 left at 2.00 a day
		t.Fatalf("findings %v, want balance_low", got)
	}
	r.sim.TopUp(400) // 7 days: not low by itself, too little to end the warning
	r.sleep(time.Hour)
	r.run(JobBalance)
	if got := r.standing(); len(got) != 1 {
		t.Fatalf("the warning came and went: %v", got)
	}
	r.sim.TopUp(200)
	r.sleep(time.Hour)
	r.run(JobBalance)
	if got := r.standing(); len(got) != 0 {
		t.Fatalf("the warning stays: %v", got)
	}
	r.sim.TopUp(-1500) // spent by whom ever: 2.00 left
	r.sleep(time.Hour)
	r.run(JobBalance)
	if got := r.standing(); len(got) != 1 {
		t.Fatalf("findings %v, want balance_low", got)
	}
	r.sleep(25 * time.Hour) // nothing was spent in the last day
	r.run(JobBalance)
	r.sleep(time.Hour)
	r.run(JobBalance)
	if got := r.standing(); len(got) != 0 {
		t.Fatalf("low although nothing is spent: %v", got)
	}
}

// judged lets balance note what the account holds, and judges it.
func (r *rig) judged() {
	r.t.Helper()
	r.sleep(time.Minute)
	r.run(JobBalance)
	r.sleep(testSettle + time.Minute)
	r.run(JobRecords, JobBalance)
	r.sleep(time.Minute)
	r.run(JobRecords, JobBalance)
}

// TestBalanceShowsPurchasesWithoutOurID: money that somebody else spends from the
// account shows, whatever of ours is bought beside it, and whether or not a list
// shows it without our id.
func TestBalanceShowsPurchasesWithoutOurID(t *testing.T) {
	r := newRig(t, func(c *Config) { c.PoolPrices = sim.PoolTypeCode + "=20.00" })
	r.untold = true
	ours := []order.Request{
		r.packageRequest("pkg", r.iccid(0)),
		{OrderID: "esim", Supplier: order.EIOTCLUB, Product: order.ProductESIM, Account: "default", GoodsCode: sim.GoodsCode},
		{OrderID: "cloud", Supplier: order.EIOTCLUB, Product: order.ProductCloudESIMPackage, Account: "default", EID: sim.SeedEID, PackageCode: sim.CloudPackageCode},
		{OrderID: "pool", Supplier: order.EIOTCLUB, Product: order.ProductPoolPackage, Account: "default", PoolObjectID: strconv.Itoa(sim.SeedPoolID), PoolTypeCode: sim.PoolTypeCode},
	}
	buy := func(round int) {
		for _, req := range ours {
			req.OrderID += "-" + strconv.Itoa(round)
			r.buy(req)
		}
	}
	buy(0)
	r.judged() // the opening
	for round := 1; round <= 2; round++ {
		buy(round)
		r.judged()
		if got := r.standing(); len(got) != 0 {
			t.Fatalf("gap in a clean book: %v", got)
		}
	}
	for i, o := range []sim.Order{ // different prices, each in a stretch of its own
		{ICCID: r.iccid(3)}, // by the API, without outTradeNo
		{ICCID: r.iccid(0), Channel: "USER"},
		{Product: sim.CloudProduct, EID: sim.SeedEID},
		{Product: sim.PoolProduct},
		{Product: sim.ESimProduct},
	} {
		buy(3 + i)
		before := r.sim.Balance().Minor
		if _, err := r.sim.Plant(o, true, false); err != nil {
			t.Fatal(err)
		}
		want := order.Money{Amount: decimal.New(before-r.sim.Balance().Minor, -2), Currency: "USD"}
		r.judged() // up to what was noted before it
		r.judged()
		got := r.standing()
		if len(got) != i+1 || !slices.ContainsFunc(got, func(s string) bool { return strings.HasSuffix(s, " "+want.String()) }) {
			t.Fatalf("number %d: findings %v, want %d gaps, one of %s", i, got, i+1, want)
		}
		for _, f := range got {
			if !strings.HasPrefix(f, KindBalanceGap+" ") {
				t.Fatalf("findings %v, want gaps only", got)
			}
		}
	}
}

// TestBalanceSaysWhenItIsBlind: pools have no price, so that nobody could tell what
// is missing; an operator sees that, and an answer that comes late closes a gap.
func TestBalanceSaysWhenItIsBlind(t *testing.T) {
	r := newRig(t, nil)
	r.untold = true
	r.judged()
	r.buy(order.Request{OrderID: "pool", Supplier: order.EIOTCLUB, Product: order.ProductPoolPackage, Account: "default", PoolObjectID: strconv.Itoa(sim.SeedPoolID), PoolTypeCode: sim.PoolTypeCode})
	r.judged()
	r.judged()
	var m dto.Metric
	blind := func() float64 {
		if err := r.worker.metrics.blind.WithLabelValues(order.EIOTCLUB, "default").Write(&m); err != nil {
			t.Fatal(err)
		}
		return m.GetGauge().GetValue()
	}
	if got := r.standing(); len(got) != 0 || blind() != 1 {
		t.Fatalf("findings %v, blind %v", got, blind())
	}
	if _, err := r.sim.Plant(sim.Order{OutTradeNo: "late", ICCID: r.iccid(1)}, true, false); err != nil {
		t.Fatal(err)
	}
	if err := r.sim.Forget("late"); err != nil { // no list shows it yet
		t.Fatal(err)
	}
	bought := r.clock()
	r.judged()
	r.judged()
	if got := r.standing(); len(got) != 1 || blind() != 0 {
		t.Fatalf("findings %v, blind %v, want a gap", got, blind())
	}
	rec := r.intent(r.packageRequest("late", r.iccid(1))) // it was ours after all
	rec.FirstSentAt, rec.LastSentAt = &bought, &bought
	rec.State, rec.Certainty, rec.SupplierOrderID, rec.Evidence = order.Placed, order.CertainPlaced, "1", order.EvidenceLookup
	total := usd("0.50")
	rec.Total = &total
	r.event(rec)
	r.sleep(judgeEvery)
	r.run(JobBalance)
	if got := r.standing(); len(got) != 0 {
		t.Fatalf("findings %v after it was explained", got)
	}
}
