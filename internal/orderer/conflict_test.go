package orderer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// stood writes an order's history up to a state and returns its last event.
func (w *world) stood(id string, state order.State) *ledger.Entry {
	w.t.Helper()
	r := packageOrder(id)
	sent := time.Now().Add(-time.Hour).UTC()
	rec := order.Record{OrderID: id, Supplier: r.Supplier, Product: r.Product, Account: r.Account, Request: r, RequestHash: r.Hash(),
		AcceptedAt: sent, At: sent, FirstSentAt: &sent, LastSentAt: &sent, State: order.Intent, Certainty: order.CertainUnknown, Attempt: 1}
	cur, err := w.ledger.Append(w.t.Context(), &ledger.Entry{}, rec)
	if err != nil {
		w.t.Fatal(err)
	}
	rec.State = state
	switch state {
	case order.Intent:
		return cur
	case order.Placed, order.Fulfilled:
		rec.Certainty, rec.SupplierOrderID, rec.Evidence = order.CertainPlaced, "7", order.EvidenceLookup
	case order.Rejected:
		rec.Certainty = order.CertainNotPlaced
	}
	if cur, err = w.ledger.Append(w.t.Context(), cur, rec); err != nil {
		w.t.Fatal(err)
	}
	return cur
}

// An answer that comes after its order was moved by others is evidence like any
// other: it settles, it says nothing new, or it contradicts and is kept.
func TestLateAnswer(t *testing.T) {
	w := newWorld(t)
	a, _ := w.worker.account(order.EIOTCLUB, "default")
	for _, c := range []struct {
		name      string
		state     order.State // in which the answer finds its order
		told      string      // id in the answer; empty: refused
		want      order.State
		wantID    string
		conflicts int
	}{
		{"while another looks", order.Unknown, "8", order.Placed, "8", 0},
		{"while another is about to call", order.Intent, "8", order.Placed, "8", 0},
		{"held meanwhile", order.Held, "8", order.Placed, "8", 0},
		{"placed already", order.Placed, "7", order.Placed, "7", 0},
		{"placed as another", order.Placed, "8", order.Placed, "7", 1},
		{"fulfilled as another", order.Fulfilled, "8", order.Fulfilled, "7", 1},
		{"given up meanwhile", order.Rejected, "8", order.Rejected, "", 1},
		{"refused, and placed by then", order.Placed, "", order.Placed, "7", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := "late-" + string(c.state) + c.told
			cur := w.stood(id, c.state)
			intent := cur.Record
			intent.State, intent.SupplierOrderID, intent.Certainty, intent.Evidence = order.Intent, "", order.CertainUnknown, ""
			j := w.worker.judge(a, &intent)
			r := j.verdict(&intent, supplier.Placement{SupplierOrderID: c.told, State: order.Placed}, nil)
			if c.told == "" {
				r = j.verdict(&intent, supplier.Placement{}, &supplier.Error{Kind: supplier.Refused, Code: "41018", Sent: true})
			}
			for range 2 { // the second time it is known
				if _, err := w.worker.late(t.Context(), a, r); err != nil {
					t.Fatal(err)
				}
			}
			got, _, err := w.ledger.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if got.State != c.want || got.SupplierOrderID != c.wantID || len(got.Conflicts) != c.conflicts {
				t.Errorf("%s as %q with conflicts %+v", got.State, got.SupplierOrderID, got.Conflicts)
			}
			if c.conflicts > 0 && (got.Conflicts[0].SupplierOrderID != c.told || got.Conflicts[0].Evidence != order.EvidenceReply) {
				t.Errorf("noted %+v", got.Conflicts[0])
			}
		})
	}
	if n := w.letters(bus.StreamOrderEvents); n != 3 {
		t.Errorf("%d dead letters, want one for each contradiction", n)
	}
}

// unread is a ledger of which nothing can be read for a while: an error, or a replica
// that has not heard of the order yet.
type unread struct {
	Ledger
	times int
	err   error
}

func (u *unread) Get(ctx context.Context, id string) (ledger.Entry, bool, error) {
	if u.times--; u.times >= 0 {
		return ledger.Entry{}, false, u.err
	}
	return u.Ledger.Get(ctx, id)
}

// What a call told is nowhere but in the worker's hands: it does not let go of it at
// once when the ledger cannot be read, and if it has to, it says what it knew.
func TestLateAnswerWhileTheLedgerCannotBeRead(t *testing.T) {
	w := newWorld(t)
	a, _ := w.worker.account(order.EIOTCLUB, "default")
	for name, err := range map[string]error{"error": errors.New("no answer"), "behind": nil} {
		t.Run(name, func(t *testing.T) {
			told := w.stood(name, order.Unknown).Record
			told.State, told.Certainty, told.SupplierOrderID, told.Evidence = order.Placed, order.CertainPlaced, "8", order.EvidenceReply
			w.worker.ledger = &unread{Ledger: w.ledger, times: 5, err: err}
			_, got := w.worker.late(t.Context(), a, told)
			if got == nil || errors.Is(got, ledger.ErrMoved) || !strings.Contains(got.Error(), `placed as "8"`) || w.entry(name).State != order.Unknown {
				t.Errorf("%v, %s", got, w.entry(name).State)
			}
			w.worker.ledger = &unread{Ledger: w.ledger, times: 4, err: err}
			if _, err := w.worker.late(t.Context(), a, told); err != nil || w.entry(name).SupplierOrderID != "8" {
				t.Errorf("%v, %s", err, w.entry(name).State)
			}
			if err := w.worker.overtaken(t.Context(), "nobody's"); !errors.Is(err, errUnseen) {
				t.Errorf("an order without an event to read: %v", err)
			}
		})
	}
}

// letters counts a stream's dead letters.
func (w *world) letters(stream string) int {
	w.t.Helper()
	s, err := w.bus.JS.Stream(w.t.Context(), bus.StreamDead)
	if err != nil {
		w.t.Fatal(err)
	}
	n := 0
	for seq := s.CachedInfo().State.FirstSeq; seq > 0 && seq <= s.CachedInfo().State.LastSeq; seq++ {
		if m, err := s.GetMsg(w.t.Context(), seq); err != nil {
			w.t.Fatal(err)
		} else if m.Subject == bus.SubjectDead(stream) && m.Header.Get(bus.HeaderOrder) != "" {
			n++
		}
	}
	return n
}

// A look that shows another order under our id than the one we know takes nothing
// over: it is a contradiction, noted once.
func TestALookThatContradicts(t *testing.T) {
	w := newWorld(t)
	a, _ := w.worker.account(order.EIOTCLUB, "default")
	cur := w.stood("look", order.Placed)
	for range 3 {
		j := w.worker.judge(a, &cur.Record)
		_, err := w.worker.follow(t.Context(), a, j, cur, supplier.Sighting{Found: true, Where: "records", Placement: supplier.Placement{SupplierOrderID: "8", State: order.Fulfilled}}, nil)
		if err != nil && !errors.Is(err, ledger.ErrMoved) {
			t.Fatal(err)
		}
		now, found, err := w.ledger.Get(t.Context(), "look")
		if err != nil || !found {
			t.Fatal(err)
		}
		cur = &now
	}
	if cur.State != order.Placed || cur.SupplierOrderID != "7" || len(cur.Conflicts) != 1 || cur.Conflicts[0].Evidence != order.EvidenceLookup {
		t.Errorf("%s as %q with conflicts %+v", cur.State, cur.SupplierOrderID, cur.Conflicts)
	}
	if n := w.letters(bus.StreamOrderEvents); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
}

// Of the orders that one notification speaks of, the one that has to wait decides:
// a contradiction of another must not end the message.
func TestOneOrderOfANotificationMustWait(t *testing.T) {
	w := newWorld(t)
	w.stood("n-settled", order.Fulfilled)
	busy := w.stood("n-busy", order.Intent)
	now := time.Now().UTC()
	rec := busy.Record
	rec.State, rec.Certainty, rec.InDoubt = order.Unknown, order.CertainUnknown, true
	next, err := w.ledger.Append(t.Context(), busy, rec)
	if err != nil {
		t.Fatal(err)
	}
	rec.State, rec.LastSentAt = order.Intent, &now // a call is under way
	if _, err := w.ledger.Append(t.Context(), next, rec); err != nil {
		t.Fatal(err)
	}
	row := func(id, theirs string) string {
		return `{"iccid":"8988308650100524999","orderId":"` + theirs + `","packageCode":"P","outTradeNo":"` + id + `","state":"1"}`
	}
	for _, rows := range []string{row("n-busy", "9") + "," + row("n-settled", "999"), row("n-settled", "999") + "," + row("n-busy", "9")} {
		msg := labMsg{bus.SubjectWebhook(order.EIOTCLUB, "default", "SubPkgList"), envelope(t, "SubPkgList", `{"id":"n","timestamp":1556595508,"nonce":24523,"sign":"X","event":"SubPkgList","data":[`+rows+`]}`), 1}
		if _, again := w.worker.handleNotification(t.Context(), msg).Delay(); !again {
			t.Errorf("rows %s: the message is gone", rows)
		}
	}
}
