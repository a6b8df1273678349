package reconciler

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/order"
)

// Difference is one thing in which the two books disagree about one order.
type Difference struct {
	Kind   string // one of the Kind constants
	ID     string
	Ours   *Line  // nil: not in our book
	Theirs []Line // empty: not in theirs; several under one id if it was bought more than once
	// Amount is the money at stake, nil where nobody can say.
	Amount *order.Money
	// Since is the last change on either side: before it there was nothing to differ.
	Since time.Time
}

// Compare walks two books, each sorted by ID, and yields every difference in
// that order. Several lines of one ID may follow each other in theirs; in ours
// an ID stands once. It holds one ID at a time, whatever the books' length, and
// stops at the first error of either book.
func Compare(ours, theirs iter.Seq2[Line, error]) iter.Seq2[Difference, error] {
	return func(yield func(Difference, error) bool) {
		nextOurs, stopOurs := iter.Pull2(inOrder("our book", ours))
		defer stopOurs()
		nextTheirs, stopTheirs := iter.Pull2(inOrder("their book", theirs))
		defer stopTheirs()
		o, oErr, oOK := nextOurs()
		t, tErr, tOK := nextTheirs()
		var group []Line // their lines of one id, reused
		var mine Line    // ours, reused
		for oOK || tOK {
			if err := first(oErr, tErr); err != nil {
				yield(Difference{}, err)
				return
			}
			id := o.ID
			if !oOK || tOK && t.ID < id {
				id = t.ID
			}
			var ours *Line
			if oOK && o.ID == id {
				mine = o
				ours = &mine
				o, oErr, oOK = nextOurs()
			}
			group = group[:0]
			for tOK && tErr == nil && t.ID == id {
				group = append(group, t)
				t, tErr, tOK = nextTheirs()
			}
			for _, d := range Judge(ours, group) {
				if !yield(d, nil) {
					return
				}
			}
		}
	}
}

// lines is a book that is in memory already.
func lines(book []Line) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for _, l := range book {
			if !yield(l, nil) {
				return
			}
		}
	}
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// inOrder turns a book that is not sorted into an error: compared as it is, it
// would yield differences that do not exist.
func inOrder(name string, book iter.Seq2[Line, error]) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		last := ""
		for l, err := range book {
			if err == nil && l.ID < last {
				err = fmt.Errorf("%s is not sorted: %q after %q", name, l.ID, last)
			}
			last = l.ID
			if !yield(l, err) || err != nil {
				return
			}
		}
	}
}

// Judge compares one order's line in our book (nil: none) with its lines in
// theirs (empty: none). It may say several things of one order, each of another
// kind, in a fixed order.
func Judge(ours *Line, theirs []Line) []Difference {
	switch {
	case ours == nil && len(theirs) == 0:
		return nil
	case ours == nil:
		out := []Difference{differ(KindMissingHere, nil, theirs, paid(theirs))}
		return append(out, duplicates(nil, theirs)...)
	case len(theirs) == 0:
		if ours.Standing != Bought {
			return nil // not there, and we never said that it was; refunds may leave their lists
		}
		return []Difference{differ(KindMissingThere, ours, nil, known(ours.Price))}
	}
	out := duplicates(ours, theirs)
	t := theirs[pick(ours, theirs)]
	if ours.TheirID != "" && t.TheirID != "" && ours.TheirID != t.TheirID {
		out = append(out, differ(KindConflict, ours, []Line{t}, known(t.Price)))
	}
	out = append(out, standings(ours, t)...)
	if ours.Standing != Bought && ours.Standing != Refunded {
		return out // what it cost and carried matters once we agree that it was bought
	}
	switch {
	case t.Price.Currency == "":
	case ours.Price.Currency == "":
		if ours.Max != nil && ours.Max.Currency == t.Price.Currency && t.Price.Amount.GreaterThan(ours.Max.Amount) {
			out = append(out, differ(KindPrice, ours, []Line{t}, money(t.Price.Amount.Sub(ours.Max.Amount), t.Price.Currency)))
		}
	case ours.Price.Currency != t.Price.Currency:
		out = append(out, differ(KindCurrency, ours, []Line{t}, known(t.Price)))
	case !ours.Price.Amount.Equal(t.Price.Amount):
		out = append(out, differ(KindPrice, ours, []Line{t}, money(ours.Price.Amount.Sub(t.Price.Amount).Abs(), t.Price.Currency)))
	}
	if ours.Package != "" && t.Package != "" && !strings.EqualFold(ours.Package, t.Package) || ours.Card != "" && t.Card != "" && ours.Card != t.Card {
		out = append(out, differ(KindPackage, ours, []Line{t}, known(t.Price)))
	}
	return out
}

// standings compares what both say of the money. An order that is open here is
// no difference: evidence settles it, and unsettled reports it if that fails.
func standings(ours *Line, t Line) []Difference {
	switch {
	case ours.Standing == Open || ours.Standing == t.Standing:
		return nil
	case ours.Standing == NotPlaced && t.Standing == Failed:
		return nil // two words for the same
	case ours.Standing == Bought && t.Standing == Refunded, ours.Standing == Refunded && t.Standing == Bought:
		return []Difference{differ(KindRefund, ours, []Line{t}, known(t.Price))}
	case ours.Standing == NotPlaced && t.Standing == Refunded:
		// Bought and given back: the books of money agree, the histories do not.
		return []Difference{differ(KindState, ours, []Line{t}, money(decimal.Zero, t.Price.Currency))}
	}
	return []Difference{differ(KindState, ours, []Line{t}, known(t.Price))}
}

// duplicates reports one outTradeNo bought more than once, with what the surplus
// costs.
func duplicates(ours *Line, theirs []Line) []Difference {
	n := 0
	for _, t := range theirs {
		if t.Standing == Bought {
			n++
		}
	}
	if n < 2 {
		return nil
	}
	keep := pick(ours, theirs)
	surplus := slices.Delete(slices.Clone(theirs), keep, keep+1)
	return []Difference{differ(KindDuplicate, ours, theirs, paid(surplus))}
}

// pick is the line of theirs that our line means: the one whose id we know, else
// the first that was bought, else the first.
func pick(ours *Line, theirs []Line) int {
	if ours != nil && ours.TheirID != "" {
		if i := slices.IndexFunc(theirs, func(t Line) bool { return t.TheirID == ours.TheirID }); i >= 0 {
			return i
		}
	}
	return max(0, slices.IndexFunc(theirs, func(t Line) bool { return t.Standing == Bought }))
}

// paid sums what was bought and not refunded; nil if a price is not known or the
// currencies differ.
func paid(lines []Line) *order.Money {
	sum := order.Money{}
	for _, l := range lines {
		if l.Price.Currency == "" || sum.Currency != "" && sum.Currency != l.Price.Currency {
			return nil
		}
		sum.Currency = l.Price.Currency
		if l.Standing == Bought {
			sum.Amount = sum.Amount.Add(l.Price.Amount)
		}
	}
	return known(sum)
}

func known(m order.Money) *order.Money {
	if m.Currency == "" {
		return nil
	}
	return &m
}

func money(d decimal.Decimal, currency string) *order.Money {
	return known(order.Money{Amount: d, Currency: currency})
}

func differ(kind string, ours *Line, theirs []Line, amount *order.Money) Difference {
	d := Difference{Kind: kind, Theirs: slices.Clone(theirs), Amount: amount}
	if ours != nil {
		o := *ours // its caller reuses it
		d.Ours, d.ID, d.Since = &o, ours.ID, ours.At
	}
	for _, t := range theirs {
		d.ID = t.ID
		if t.At.After(d.Since) {
			d.Since = t.At
		}
	}
	return d
}
