package order_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/simline/simline/internal/order"
)

// law is the whole table of an order's life as a person would draw it, kept
// apart from the code's own: + may follow, . may not. Rows are from, columns to,
// in the order of the heading.
const law = `
            intent waiting unknown placed held fulfilled rejected expired cancelled refunded
-             +      +       .      .     .     .         +        +       .         .
intent        .      +       +      +     +     +         +        .       .         .
waiting       +      +       .      +     +     +         +        +       +         .
unknown       +      +       +      +     +     +         +        +       +         .
placed        .      .       .      +     +     +         +        .       .         +
held          +      +       .      +     +     +         +        +       +         +
fulfilled     .      .       .      .     .     +         .        .       .         +
rejected      .      .       .      .     .     .         +        .       .         .
expired       .      .       .      .     .     .         .        +       .         .
cancelled     .      .       .      .     .     .         .        .       +         .
refunded      .      .       .      .     .     .         .        .       .         +
`

func TestTransitions(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(law), "\n")
	heading := strings.Fields(lines[0])
	if len(heading) != len(order.States) || len(lines) != len(order.States)+2 {
		t.Fatalf("the table has %d columns and %d rows, there are %d states", len(heading), len(lines)-1, len(order.States))
	}
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		from := order.State(strings.TrimPrefix(cells[0], "-"))
		var next []order.State
		for i, cell := range cells[1:] {
			to := order.State(heading[i])
			if got, want := order.CanMove(from, to), cell == "+"; got != want {
				t.Errorf("%q to %q: %v, wants %v", from, to, got, want)
			}
			if cell == "+" {
				next = append(next, to)
			}
		}
		got := order.Next(from)
		slices.Sort(got)
		slices.Sort(next)
		if !slices.Equal(got, next) {
			t.Errorf("after %q come %v, wants %v", from, got, next)
		}
	}
}

// Every walk ends: from each state a settled one can be reached, and a settled
// order moves on to refunded at most.
func TestEveryOrderCanSettle(t *testing.T) {
	var reach func(s order.State, seen map[order.State]bool) bool
	reach = func(s order.State, seen map[order.State]bool) bool {
		if s.Settled() {
			return true
		}
		seen[s] = true
		return slices.ContainsFunc(order.Next(s), func(n order.State) bool { return !seen[n] && reach(n, seen) })
	}
	for _, s := range order.States {
		if !s.Valid() {
			t.Errorf("%q is listed but not valid", s)
		}
		if !reach(s, map[order.State]bool{}) {
			t.Errorf("from %q no settled state can be reached", s)
		}
		if s.Settled() && slices.ContainsFunc(order.Next(s), func(n order.State) bool { return n != order.Refunded && n != s }) {
			t.Errorf("settled %q moves on to %v", s, order.Next(s))
		}
	}
	if order.State("failed").Valid() || order.Begin.Valid() {
		t.Error("a state that is none is valid")
	}
}

func TestCheckMove(t *testing.T) {
	record := func(s order.State, c order.Certainty, id string) order.Record {
		return order.Record{OrderID: "o-1", State: s, Certainty: c, SupplierOrderID: id}
	}
	for _, c := range []struct {
		name string
		from order.State
		next order.Record
		text string // of the error; empty: allowed
	}{
		{"first intent", order.Begin, record(order.Intent, order.CertainUnknown, ""), ""},
		{"rejected before any call", order.Begin, record(order.Rejected, order.CertainNotPlaced, ""), ""},
		{"placed with its id", order.Intent, record(order.Placed, order.CertainPlaced, "1"), ""},
		{"held may be of any certainty", order.Unknown, record(order.Held, order.CertainPlaced, ""), ""},
		{"refunded once fulfilled", order.Fulfilled, record(order.Refunded, order.CertainPlaced, "1"), ""},
		{"a contradiction noted", order.Rejected, order.Record{OrderID: "o-1", State: order.Rejected, Certainty: order.CertainNotPlaced, Conflicts: make([]order.Conflict, 1)}, ""},
		{"settled once more", order.Fulfilled, record(order.Fulfilled, order.CertainPlaced, "1"), "contradicts"},
		{"placed out of nothing", order.Begin, record(order.Placed, order.CertainPlaced, "1"), "may not become"},
		{"a rejected order bought again", order.Rejected, record(order.Intent, order.CertainUnknown, ""), "may not become"},
		{"a time-out that is a rejection", order.Intent, record(order.Rejected, order.CertainUnknown, ""), "certainty"},
		{"waiting although it may be placed", order.Intent, record(order.Waiting, order.CertainUnknown, ""), "certainty"},
		{"a guess reported as placed", order.Unknown, record(order.Placed, order.CertainUnknown, "1"), "certainty"},
		{"placed without the supplier's id", order.Intent, record(order.Placed, order.CertainPlaced, ""), "supplier's order id"},
		{"fulfilled without the supplier's id", order.Intent, record(order.Fulfilled, order.CertainPlaced, ""), "supplier's order id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := order.CheckMove(c.from, &c.next)
			if c.text == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if c.text != "" && (err == nil || !strings.Contains(err.Error(), c.text)) {
				t.Errorf("%v, wants %q", err, c.text)
			}
		})
	}
}

// However an order walks, once it was placed it is tried again, or waits to be, only
// out of held: by a person.
func TestNoWalkForgetsMoney(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := order.Begin
		placed := false
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			next := order.Next(at)
			if len(next) == 0 {
				return
			}
			to := rapid.SampledFrom(next).Draw(t, "to")
			if to == order.Placed || to == order.Fulfilled {
				placed = true
			}
			if to == order.Intent || to == order.Waiting {
				if placed && at != order.Held {
					t.Fatalf("%q was placed and is tried again", at)
				}
				placed = false // a person ruled that it was not
			}
			at = to
		}
	})
}

func TestLookLogKeepsTheLast(t *testing.T) {
	var r order.Record
	for i := range order.MaxLookLog + 5 {
		before := r
		r = r.Logged(order.Look{Said: string(rune('a' + i))})
		if len(before.LookLog) > 0 && before.LookLog[len(before.LookLog)-1].Said == r.LookLog[len(r.LookLog)-1].Said {
			t.Fatal("the record that was logged to has changed")
		}
	}
	if len(r.LookLog) != order.MaxLookLog || r.LookLog[0].Said != "f" || r.LookLog[order.MaxLookLog-1].Said != "y" {
		t.Errorf("%d looks from %q to %q, wants the last %d", len(r.LookLog), r.LookLog[0].Said, r.LookLog[len(r.LookLog)-1].Said, order.MaxLookLog)
	}
}

// What contradicts an order is noted once, however often it is said, and the first
// ones stay.
func TestNoted(t *testing.T) {
	at := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	r := order.Record{}
	for i := range 3 * order.MaxConflicts {
		c := order.Conflict{At: at.Add(time.Duration(i) * time.Second), Evidence: order.EvidenceLookup, Certainty: order.CertainPlaced, SupplierOrderID: fmt.Sprint(i / 2)}
		next, isNew := r.Noted(c)
		if want := i%2 == 0 && len(r.Conflicts) < order.MaxConflicts; isNew != want {
			t.Fatalf("note %d: new %t, want %t", i, isNew, want)
		}
		r = next
	}
	if len(r.Conflicts) != order.MaxConflicts || r.Conflicts[0].SupplierOrderID != "0" || !r.Conflicts[0].At.Equal(at) {
		t.Errorf("%d conflicts, the first %+v", len(r.Conflicts), r.Conflicts[0])
	}
}
