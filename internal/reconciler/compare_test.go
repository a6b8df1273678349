package reconciler

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/order"
)

func usd(s string) order.Money {
	return order.Money{Amount: decimal.RequireFromString(s), Currency: "USD"}
}

func TestJudge(t *testing.T) {
	ours := func(change func(*Line)) *Line {
		l := &Line{ID: "o", TheirID: "1", Card: "c", Package: "p", Price: usd("0.10"), Standing: Bought}
		if change != nil {
			change(l)
		}
		return l
	}
	theirs := func(changes ...func(*Line)) []Line {
		var out []Line
		for i, change := range changes {
			l := Line{ID: "o", TheirID: fmt.Sprint(i + 1), Card: "c", Package: "p", Price: usd("0.1"), Standing: Bought}
			if change != nil {
				change(&l)
			}
			out = append(out, l)
		}
		return out
	}
	set := func(s Standing) func(*Line) { return func(l *Line) { l.Standing = s } }
	for name, c := range map[string]struct {
		ours   *Line
		theirs []Line
		want   string
	}{
		"alike":                          {ours(nil), theirs(nil), ""},
		"alike, their id not known here": {ours(func(l *Line) { l.TheirID = "" }), theirs(nil), ""},
		"in neither":                     {nil, nil, ""},
		"here only":                      {ours(nil), nil, "order_missing_there 0.10 USD"},
		"here only, price not known":     {ours(func(l *Line) { l.Price = order.Money{} }), nil, "order_missing_there"},
		"here only, open":                {ours(set(Open)), nil, ""},
		"here only, not placed":          {ours(set(NotPlaced)), nil, ""},
		"here only, refunded":            {ours(set(Refunded)), nil, ""},
		"there only":                     {nil, theirs(nil), "order_missing_here 0.10 USD"},
		"there only, refunded":           {nil, theirs(set(Refunded)), "order_missing_here 0.00 USD"},
		"there only, twice":              {nil, theirs(nil, nil), "order_missing_here 0.20 USD; order_duplicate 0.10 USD"},
		"open here":                      {ours(set(Open)), theirs(nil), ""},
		"not placed here":                {ours(set(NotPlaced)), theirs(nil), "order_state 0.10 USD"},
		"not placed here, failed there":  {ours(set(NotPlaced)), theirs(set(Failed)), ""},
		"not placed here, given back":    {ours(set(NotPlaced)), theirs(set(Refunded)), "order_state 0.00 USD"},
		"failed there":                   {ours(nil), theirs(set(Failed)), "order_state 0.10 USD"},
		"refunded there":                 {ours(nil), theirs(set(Refunded)), "order_refund 0.10 USD"},
		"refunded here":                  {ours(set(Refunded)), theirs(nil), "order_refund 0.10 USD"},
		"refunded on both":               {ours(set(Refunded)), theirs(set(Refunded)), ""},
		"dearer":                         {ours(nil), theirs(func(l *Line) { l.Price = usd("0.30") }), "order_price 0.20 USD"},
		"by the last digit":              {ours(nil), theirs(func(l *Line) { l.Price = usd("0.100001") }), "order_price 0.000001 USD"},
		"more digits, same amount":       {ours(nil), theirs(func(l *Line) { l.Price = usd("0.100000") }), ""},
		"price not known there":          {ours(nil), theirs(func(l *Line) { l.Price = order.Money{} }), ""},
		"above what was allowed": {ours(func(l *Line) { m := usd("0.05"); l.Price, l.Max = order.Money{}, &m }),
			theirs(nil), "order_price 0.05 USD"},
		"just what was allowed":  {ours(func(l *Line) { m := usd("0.1"); l.Price, l.Max = order.Money{}, &m }), theirs(nil), ""},
		"another currency":       {ours(nil), theirs(func(l *Line) { l.Price.Currency = "EUR" }), "order_currency 0.10 EUR"},
		"another package":        {ours(nil), theirs(func(l *Line) { l.Package = "q" }), "order_package 0.10 USD"},
		"another card":           {ours(nil), theirs(func(l *Line) { l.Card = "d" }), "order_package 0.10 USD"},
		"package and price":      {ours(nil), theirs(func(l *Line) { l.Package, l.Price = "q", usd("1") }), "order_price 0.90 USD; order_package 1.00 USD"},
		"twice":                  {ours(nil), theirs(nil, func(l *Line) { l.Price = usd("0.7") }), "order_duplicate 0.70 USD"},
		"three times":            {ours(nil), theirs(nil, nil, nil), "order_duplicate 0.20 USD"},
		"twice, one given back":  {ours(nil), theirs(nil, set(Refunded)), ""},
		"twice, ours given back": {ours(nil), theirs(set(Refunded), nil), "order_refund 0.10 USD"},
		"twice, the second ours": {ours(func(l *Line) { l.TheirID = "2" }), theirs(func(l *Line) { l.Price = usd("9") }, nil), "order_duplicate 9.00 USD"},
		"another id there":       {ours(func(l *Line) { l.TheirID = "77" }), theirs(nil), "evidence_conflict 0.10 USD"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := said(Judge(c.ours, c.theirs)); got != c.want {
				t.Errorf("judged %q, want %q", got, c.want)
			}
		})
	}
}

func said(ds []Difference) string {
	var out []string
	for _, d := range ds {
		s := d.Kind
		if d.Amount != nil {
			s += " " + d.Amount.String()
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

// plant makes two books of n orders that agree but for what it says, which it
// returns as "id: kind amount".
func plant(rng *rand.Rand, n int) (ours, theirs []Line, planted []string) {
	add := func(id, kind string, amount string) {
		planted = append(planted, strings.TrimSpace(id+": "+kind+" "+amount))
	}
	for i := range n {
		id := fmt.Sprintf("%08d", i)
		cents := rng.Int64N(100_000)
		price := order.Money{Amount: decimal.New(cents, -2), Currency: "USD"}
		amount := price.String()
		o := Line{ID: id, TheirID: "t" + id, Card: fmt.Sprint(rng.IntN(n/3 + 1)), Package: "p" + fmt.Sprint(rng.IntN(9)), Price: price, Standing: Bought}
		t := o
		mine, there := true, 1
		switch rng.IntN(24) {
		case 0:
			mine = false
			add(id, KindMissingHere, amount)
		case 1:
			there = 0
			add(id, KindMissingThere, amount)
		case 2:
			t.Price.Amount = price.Amount.Add(decimal.New(1, -2))
			add(id, KindPrice, "0.01 USD")
		case 3:
			t.Price.Currency = "CNY"
			add(id, KindCurrency, order.Money{Amount: price.Amount, Currency: "CNY"}.String())
		case 4:
			t.Package = "other"
			add(id, KindPackage, amount)
		case 5:
			o.Standing = NotPlaced
			add(id, KindState, amount)
		case 6:
			t.Standing = Refunded
			add(id, KindRefund, amount)
		case 7:
			there = 2
			add(id, KindDuplicate, amount)
		case 8:
			o.TheirID = "elsewhere"
			add(id, KindConflict, amount)
		case 9: // several at once
			t.Package, t.Standing = "other", Refunded
			add(id, KindRefund, amount)
			add(id, KindPackage, amount)
		case 10:
			o.Standing, there = Open, 0
		case 11:
			o.Standing, o.TheirID = Open, ""
		case 12:
			o.Standing, there = NotPlaced, 0
		case 13:
			o.Standing, t.Standing = Refunded, Refunded
		case 14:
			o.Price = order.Money{}
		}
		if mine {
			ours = append(ours, o)
		}
		for k := range there {
			t := t
			if k > 0 {
				t.TheirID += "+"
			}
			theirs = append(theirs, t)
		}
	}
	return ours, theirs, planted
}

func TestCompareFindsExactlyWhatWasPlanted(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for round := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, round))
		ours, theirs, planted := plant(rng, 1+rng.IntN(4000))
		var got []string
		for d, err := range Compare(lines(ours), lines(theirs)) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, d.ID+": "+said([]Difference{d}))
		}
		slices.Sort(got)
		slices.Sort(planted)
		if diff := cmp.Diff(planted, got); diff != "" {
			t.Fatalf("seed %d round %d (-planted +found):\n%s", seed, round, diff)
		}
	}
}

// TestCompareDoesNotKeepLines: a difference must not change when the comparison
// goes on with the buffers it came from.
func TestCompareDoesNotKeepLines(t *testing.T) {
	ours, theirs, _ := plant(rand.New(rand.NewPCG(1, 1)), 500)
	var got []Difference
	for d, err := range Compare(lines(ours), lines(theirs)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, d)
	}
	for _, d := range got {
		if d.Ours != nil && d.Ours.ID != d.ID || len(d.Theirs) > 0 && d.Theirs[0].ID != d.ID {
			t.Fatalf("difference of %s shows %v against %v", d.ID, d.Ours, d.Theirs)
		}
	}
}

func TestCompareStopsAtErrors(t *testing.T) {
	broken := errors.New("cut off")
	fails := func(lines ...Line) iter.Seq2[Line, error] {
		return func(yield func(Line, error) bool) {
			for _, l := range lines {
				if !yield(l, nil) {
					return
				}
			}
			yield(Line{}, broken)
		}
	}
	a, b := Line{ID: "a", Standing: Bought}, Line{ID: "b", Standing: Bought}
	for name, c := range map[string]struct {
		ours, theirs iter.Seq2[Line, error]
		want         error
	}{
		"ours breaks":       {fails(a), lines([]Line{a, b}), broken},
		"theirs breaks":     {lines([]Line{a, b}), fails(a), broken},
		"ours unsorted":     {lines([]Line{b, a}), lines([]Line{a, b}), nil},
		"theirs unsorted":   {lines([]Line{a, b}), lines([]Line{b, a}), nil},
		"breaks at once":    {fails(), lines(nil), broken},
		"breaks behind all": {lines([]Line{a}), fails(a, b), broken},
	} {
		t.Run(name, func(t *testing.T) {
			var last error
			for d, err := range Compare(c.ours, c.theirs) {
				if last != nil {
					t.Fatalf("went on after the error with %v", d)
				}
				last = err
			}
			if last == nil || c.want != nil && !errors.Is(last, c.want) {
				t.Errorf("ended with %v", last)
			}
		})
	}
}

func BenchmarkCompare(b *testing.B) {
	ours, theirs, _ := plant(rand.New(rand.NewPCG(1, 1)), 100_000)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, err := range Compare(lines(ours), lines(theirs)) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	b.ReportMetric(float64(len(ours)+len(theirs))*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
