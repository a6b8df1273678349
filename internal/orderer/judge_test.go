package orderer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/wire"
)

var judgeNow = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

func testJudge(rules supplier.Rules) judge {
	return judge{now: judgeNow, rules: rules, timing: labTiming, outOfStock: "wait"}
}

// intentRecord is an order whose call was just made.
func intentRecord(inDoubt bool) order.Record {
	sent := judgeNow.Add(-time.Second)
	return order.Record{OrderID: "o1", Supplier: order.EIOTCLUB, Product: order.ProductPackage, State: order.Intent, Certainty: order.CertainUnknown,
		Attempt: 1, SupplierRequestID: "o1", FirstSentAt: &sent, LastSentAt: &sent, InDoubt: inDoubt}
}

// Every kind of answer, to a first call and to a repeat in doubt.
func TestVerdict(t *testing.T) {
	lookup := supplier.Rules{Repeat: supplier.RepeatRefused, LookupByOurID: true, LookupBySupplierID: true, RefusalBurnsID: true,
		Settle: 2 * time.Minute, Looks: 3, LookInterval: 30 * time.Second, FulfilInterval: 15 * time.Second}
	there := supplier.Placement{SupplierOrderID: "101106255", SupplierOrderNumber: "N1", State: order.Placed}
	type outcome struct {
		State     order.State
		Certainty order.Certainty
		Evidence  order.Evidence
		InDoubt   bool
		Round     int
		WaitFor   string
	}
	unknown := outcome{State: order.Unknown, Certainty: order.CertainUnknown, InDoubt: true}
	answered := unknown
	answered.Evidence = order.EvidenceReply
	waiting := func(why string, round int, evidence order.Evidence) outcome {
		return outcome{order.Waiting, order.CertainNotPlaced, evidence, false, round, why}
	}
	rejected := outcome{order.Rejected, order.CertainNotPlaced, order.EvidenceReply, false, 1, ""}
	cases := []struct {
		name           string
		p              supplier.Placement
		err            error
		first, doubted outcome
	}{
		{"accepted", there, nil, outcome{order.Placed, order.CertainPlaced, order.EvidenceReply, false, 0, ""}, outcome{order.Placed, order.CertainPlaced, order.EvidenceReply, false, 0, ""}},
		{"fulfilled", supplier.Placement{SupplierOrderID: "1", State: order.Fulfilled}, nil, outcome{order.Fulfilled, order.CertainPlaced, order.EvidenceReply, false, 0, ""}, outcome{order.Fulfilled, order.CertainPlaced, order.EvidenceReply, false, 0, ""}},
		{"accepted without an id", supplier.Placement{State: order.Placed}, nil, outcome{order.Held, order.CertainPlaced, order.EvidenceReply, false, 0, ""}, outcome{order.Held, order.CertainPlaced, order.EvidenceReply, false, 0, ""}},
		{"exists", there, &supplier.Error{Kind: supplier.Exists, Code: "42002", Sent: true},
			outcome{order.Unknown, order.CertainUnknown, order.EvidenceDuplicate, true, 0, ""}, outcome{order.Unknown, order.CertainUnknown, order.EvidenceDuplicate, true, 0, ""}},
		{"exists, and which", there, &supplier.Error{Kind: supplier.Exists, Code: "42002", Sent: true, Existing: &there},
			outcome{order.Placed, order.CertainPlaced, order.EvidenceDuplicate, false, 0, ""}, outcome{order.Placed, order.CertainPlaced, order.EvidenceDuplicate, false, 0, ""}},
		{"busy", there, &supplier.Error{Kind: supplier.Busy, Code: "501", Sent: true}, waiting("busy", 1, order.EvidenceReply), answered},
		{"not dialled", there, &supplier.Error{Kind: supplier.Busy, Code: "(dial)"}, waiting("busy", 0, ""), unknown},
		{"no funds", there, &supplier.Error{Kind: supplier.NoFunds, Code: "45112", Sent: true}, waiting("no_funds", 1, order.EvidenceReply), answered},
		{"out of stock", there, &supplier.Error{Kind: supplier.OutOfStock, Code: "45110", Sent: true}, waiting("out_of_stock", 1, order.EvidenceReply), answered},
		{"out of stock, not wanted later", there, &supplier.Error{Kind: supplier.OutOfStock, Code: "45110", Sent: true}, rejected, answered},
		{"set-up", there, &supplier.Error{Kind: supplier.Setup, Code: "42101", Sent: true}, waiting("setup", 1, order.EvidenceReply), answered},
		{"refused", there, &supplier.Error{Kind: supplier.Refused, Code: "41018", Sent: true}, rejected, answered},
		{"price", there, &supplier.Error{Kind: supplier.Price, Code: "PRICE_MISMATCH", Sent: true}, rejected, answered},
		{"time-out", there, &supplier.Error{Kind: supplier.Unknown, Code: "(timeout)", Sent: true}, unknown, unknown},
		{"server error", there, &supplier.Error{Kind: supplier.Unknown, Code: "500", Sent: true}, answered, answered},
		{"an error of no kind", there, errors.New("odd"), unknown, unknown},
	}
	for _, c := range cases {
		for _, doubted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/inDoubt=%t", c.name, doubted), func(t *testing.T) {
				want := c.first
				if doubted {
					want = c.doubted
				}
				j := testJudge(lookup)
				if strings.HasSuffix(c.name, "not wanted later") {
					j.outOfStock = "reject"
				}
				intent := intentRecord(doubted)
				r := j.verdict(&intent, c.p, c.err)
				got := outcome{r.State, r.Certainty, r.Evidence, r.InDoubt, r.Round, r.WaitingFor}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("-want +got\n%s", diff)
				}
				if err := order.CheckMove(order.Intent, &r); err != nil {
					t.Error(err)
				}
				if r.State == order.Waiting && !r.NotBefore.After(judgeNow) {
					t.Errorf("tried again at %s, at once", r.NotBefore)
				}
			})
		}
	}
}

// What evidence from outside does to an order in each state.
func TestWeigh(t *testing.T) {
	placed := wire.Evidence{OrderID: "o1", Source: order.EvidenceNotification, Certainty: order.CertainPlaced, SupplierOrderID: "7", StateThere: "fulfilled", ObservedAt: judgeNow}
	refunded, failed, missing, other := placed, placed, placed, placed
	refunded.StateThere = "refunded"
	failed.StateThere, failed.Certainty = "rejected", order.CertainNotPlaced
	missing.Certainty, missing.StateThere, missing.SupplierOrderID, missing.Source = order.CertainNotPlaced, "", "", order.EvidenceLookup
	other.SupplierOrderID = "8"
	sayPlaced, sayNot, sayHold := placed, missing, placed
	sayPlaced.Source, sayPlaced.StateThere, sayPlaced.Actor, sayPlaced.Reason = order.EvidencePerson, "", "ann", "seen in their panel"
	sayNot.Source, sayNot.Actor, sayNot.Reason = order.EvidencePerson, "ann", "asked them"
	sayHold.Source, sayHold.Certainty = order.EvidencePerson, order.CertainUnknown
	kinds := []struct {
		name string
		ev   wire.Evidence
	}{{"placed", placed}, {"refunded", refunded}, {"failed", failed}, {"missing", missing}, {"another id", other}, {"person: placed", sayPlaced}, {"person: not placed", sayNot}, {"person: hold", sayHold}}
	moves := func(s order.State) string { return "moves " + string(s) }
	want := map[order.State][]string{
		order.Intent:    {moves("fulfilled"), moves("placed"), moves("rejected"), "none", moves("fulfilled"), moves("placed"), moves("rejected"), moves("held")},
		order.Waiting:   {moves("fulfilled"), moves("placed"), "none", "none", moves("fulfilled"), moves("placed"), moves("rejected"), moves("held")},
		order.Unknown:   {moves("fulfilled"), moves("placed"), moves("rejected"), "none", moves("fulfilled"), moves("placed"), moves("rejected"), moves("held")},
		order.Held:      {moves("fulfilled"), moves("refunded"), "none", "none", moves("fulfilled"), moves("placed"), moves("rejected"), moves("held")},
		order.Placed:    {moves("fulfilled"), moves("refunded"), moves("rejected"), "contradicts", "contradicts", "none", moves("rejected"), moves("held")},
		order.Fulfilled: {"none", moves("refunded"), "contradicts", "contradicts", "contradicts", "none", "contradicts", "contradicts"},
		order.Refunded:  {"none", "none", "none", "none", "contradicts", "none", "contradicts", "contradicts"},
		order.Rejected:  {"contradicts", "contradicts", "none", "none", "contradicts", "contradicts", "none", "contradicts"},
		order.Expired:   {"contradicts", "contradicts", "none", "none", "contradicts", "contradicts", "none", "contradicts"},
		order.Cancelled: {"contradicts", "contradicts", "none", "none", "contradicts", "contradicts", "none", "contradicts"},
	}
	for _, state := range order.States {
		for i, k := range kinds {
			t.Run(string(state)+"/"+k.name, func(t *testing.T) {
				cur := intentRecord(state == order.Unknown)
				long := judgeNow.Add(-time.Hour)
				cur.State, cur.LastSentAt = state, &long
				switch state {
				case order.Placed, order.Fulfilled, order.Refunded:
					cur.Certainty, cur.SupplierOrderID = order.CertainPlaced, "7"
				case order.Waiting, order.Rejected, order.Expired, order.Cancelled:
					cur.Certainty = order.CertainNotPlaced
				}
				r, e := testJudge(supplier.Rules{}).weigh(cur, k.ev)
				got := string(e)
				if e == effectMoves {
					got += " " + string(r.State)
					if err := order.CheckMove(cur.State, &r); err != nil {
						t.Error(err)
					}
					if k.ev.Source == order.EvidencePerson && r.Evidence != order.EvidencePerson {
						t.Errorf("a person's word became %q", r.Evidence)
					}
				}
				if got != want[state][i] {
					t.Errorf("%s, want %s", got, want[state][i])
				}
			})
		}
	}
	young := intentRecord(false)
	if _, e := testJudge(supplier.Rules{}).weigh(young, placed); e != effectLater {
		t.Errorf("evidence during a call: %s, want it to come again", e)
	}
}

func TestBackoffGrowsToItsLimit(t *testing.T) {
	j := testJudge(supplier.Rules{})
	for n, want := range map[int]time.Duration{1: 5 * time.Second, 2: 10 * time.Second, 4: 40 * time.Second, 20: 5 * time.Minute, 1000: 5 * time.Minute} {
		if got := j.backoff(n); got != want {
			t.Errorf("attempt %d: %s, want %s", n, got, want)
		}
	}
	j.jitter = 1
	if got := j.backoff(1); got != 6*time.Second {
		t.Errorf("with all jitter: %s, want 6s", got)
	}
}

// A resend in doubt is for suppliers that allow it, within their memory, and so
// often as their table says.
func TestPermitRepeat(t *testing.T) {
	safe := supplier.Rules{Repeat: supplier.RepeatRefused, RepeatWindow: 23 * time.Hour, Looks: 2}
	at := func(ago time.Duration, resends int) order.Record {
		sent := judgeNow.Add(-ago)
		return order.Record{FirstSentAt: &sent, Resends: resends}
	}
	cases := []struct {
		name  string
		rules supplier.Rules
		r     order.Record
		want  bool
	}{
		{"within the window", safe, at(time.Hour, 0), true},
		{"at its end", safe, at(23*time.Hour, 0), false},
		{"once too often", safe, at(time.Hour, 2), false},
		{"no window", supplier.Rules{Repeat: supplier.RepeatRefused, Looks: 1}, at(1000*time.Hour, 0), true},
		{"replayed instead of refused", supplier.Rules{Repeat: supplier.RepeatReplayed, Looks: 1}, at(time.Hour, 0), true},
		{"not safe", supplier.Rules{Looks: 1}, at(time.Hour, 0), false},
		{"never sent", safe, order.Record{}, false},
	}
	for _, c := range cases {
		permit, got := c.rules.PermitRepeat(c.r, judgeNow)
		if _, new := permit.NotPlaced(); got != c.want || permit.Valid() != c.want || new {
			t.Errorf("%s: %t (%+v), want %t", c.name, got, permit, c.want)
		}
	}
}

func TestMergeESIMsKeepsWhatWasKnown(t *testing.T) {
	old := []order.ESIM{{ICCID: "1", ActivationCode: "LPA:1"}, {Status: "pending"}}
	got := mergeESIMs(old, []order.ESIM{{ICCID: "1", QRCodeURL: "q"}, {ICCID: "2"}})
	want := []order.ESIM{{ICCID: "1", ActivationCode: "LPA:1", QRCodeURL: "q"}, {ICCID: "2", Status: "pending"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for name, c := range map[string]struct{ shorter, want []order.ESIM }{
		"none":                          {nil, old},
		"the known one again":           {[]order.ESIM{{ICCID: "1", QRCodeURL: "q"}}, []order.ESIM{{ICCID: "1", ActivationCode: "LPA:1", QRCodeURL: "q"}, {Status: "pending"}}},
		"the one that was not told yet": {[]order.ESIM{{ICCID: "2"}}, []order.ESIM{{ICCID: "1", ActivationCode: "LPA:1"}, {ICCID: "2"}}},
		"pending":                       {[]order.ESIM{{Status: "PENDING"}}, old},
	} {
		if diff := cmp.Diff(c.want, mergeESIMs(old, c.shorter)); diff != "" {
			t.Errorf("a shorter answer, %s, -want +got:\n%s", name, diff)
		}
	}
	both := []order.ESIM{{ICCID: "1"}, {ICCID: "2"}}
	if diff := cmp.Diff(both, mergeESIMs(both, []order.ESIM{{ICCID: "9"}})); diff != "" {
		t.Errorf("a shorter answer replaced a longer one:\n%s", diff)
	}
	if diff := cmp.Diff([]order.ESIM{{ICCID: "1"}, {ICCID: "2"}, {ICCID: "9"}}, addESIMs(both, []order.ESIM{{ICCID: "9"}, {ICCID: "2"}})); diff != "" {
		t.Errorf("what a person brings, -want +got:\n%s", diff)
	}
}

// A look that shows a part of what is completed holds the order, whatever it was; what
// it shows otherwise decides as before.
func TestSightedInPart(t *testing.T) {
	part := supplier.Sighting{Found: true, Partial: true, Where: "status", Placement: supplier.Placement{SupplierOrderID: "7", State: order.Placed, ESIMs: []order.ESIM{{ICCID: "1"}}}}
	whole, refunded, other := part, part, part
	whole.Partial, whole.State, whole.ESIMs = false, order.Fulfilled, []order.ESIM{{ICCID: "1"}, {ICCID: "2"}}
	refunded.State = order.Refunded
	other.Mismatch = []string{"package_code"}
	for _, c := range []struct {
		name      string
		from      order.State
		s         supplier.Sighting
		want      order.State
		certainty order.Certainty
	}{
		{"placed, in part", order.Placed, part, order.Held, order.CertainPlaced},
		{"unknown, in part", order.Unknown, part, order.Held, order.CertainPlaced},
		{"held, in part", order.Held, part, order.Held, order.CertainPlaced},
		{"unknown, in part and another's", order.Unknown, other, order.Held, order.CertainUnknown},
		{"placed, in part and refunded", order.Placed, refunded, order.Refunded, order.CertainPlaced},
		{"held, whole", order.Held, whole, order.Fulfilled, order.CertainPlaced},
	} {
		t.Run(c.name, func(t *testing.T) {
			cur := intentRecord(c.from == order.Unknown)
			cur.Supplier, cur.Product, cur.State, cur.Request.Quantity = order.ESIMFly, order.ProductESIM, c.from, 2
			cur.SupplierOrderID, cur.ESIMs = "7", []order.ESIM{{Status: "PENDING"}, {Status: "PENDING"}}
			r := testJudge(supplier.Rules{}).sighted(cur, c.s)
			if r.State != c.want || r.Certainty != c.certainty || r.Evidence != order.EvidenceLookup || len(r.ESIMs) != 2 || r.ESIMs[0].ICCID != "1" {
				t.Errorf("%s as %s with %+v: %s", r.State, r.Certainty, r.ESIMs, r.Reason)
			}
			if (r.Reason == shownInPart) != (r.State == order.Held && r.Certainty == order.CertainPlaced) || r.NotBefore != nil {
				t.Errorf("%s, not before %v: %s", r.State, r.NotBefore, r.Reason)
			}
			if err := order.CheckMove(c.from, &r); err != nil {
				t.Error(err)
			}
		})
	}
}

// An order that is held although it is known to be placed: only an end is news, or a
// person's other id. Of who else says that it is fulfilled all eSIMs are wanted.
func TestWeighHeldAsPlaced(t *testing.T) {
	one, two := []order.ESIM{{ICCID: "1"}}, []order.ESIM{{ICCID: "1"}, {ICCID: "2"}}
	ev := func(by order.Evidence, id string, there order.State, esims []order.ESIM) wire.Evidence {
		return wire.Evidence{OrderID: "o1", Source: by, Certainty: order.CertainPlaced, SupplierOrderID: id, StateThere: string(there), ESIMs: esims, Actor: "ann", Reason: "saw it"}
	}
	failed := ev(order.EvidenceLookup, "7", order.Rejected, nil)
	failed.Certainty = order.CertainNotPlaced
	for _, c := range []struct {
		name  string
		ev    wire.Evidence
		want  order.State // empty: none
		esims int
	}{
		{"placed", ev(order.EvidenceLookup, "7", order.Placed, one), "", 0},
		{"there", ev(order.EvidenceNotification, "", "", nil), "", 0},
		{"fulfilled, without a word of the eSIMs", ev(order.EvidenceNotification, "7", order.Fulfilled, nil), "", 0},
		{"fulfilled, with one", ev(order.EvidenceLookup, "7", order.Fulfilled, one), "", 0},
		{"fulfilled, with both", ev(order.EvidenceLookup, "7", order.Fulfilled, two), order.Fulfilled, 2},
		{"refunded", ev(order.EvidenceNotification, "7", order.Refunded, nil), order.Refunded, 2},
		{"failed", failed, "", 0},
		{"person: placed", ev(order.EvidencePerson, "7", "", nil), "", 0},
		{"person: placed as another", ev(order.EvidencePerson, "8", "", nil), order.Placed, 0},
		{"person: fulfilled as another", ev(order.EvidencePerson, "8", order.Fulfilled, []order.ESIM{{ICCID: "9"}}), order.Fulfilled, 1},
		{"person: fulfilled", ev(order.EvidencePerson, "", order.Fulfilled, nil), order.Fulfilled, 1},
		{"person: fulfilled, with the other", ev(order.EvidencePerson, "7", order.Fulfilled, two[1:]), order.Fulfilled, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			cur := intentRecord(false)
			cur.Product, cur.State, cur.Certainty, cur.SupplierOrderID, cur.Request.Quantity = order.ProductESIM, order.Held, order.CertainPlaced, "7", 2
			cur.ESIMs = []order.ESIM{{ICCID: "1"}, {Status: "PENDING"}}
			r, e := testJudge(supplier.Rules{}).weigh(cur, c.ev)
			if (e == effectMoves) != (c.want != "") || e != effectMoves && e != effectNone {
				t.Fatalf("%s to %s", e, r.State)
			}
			if e == effectMoves && (r.State != c.want || len(r.ESIMs) != c.esims) {
				t.Errorf("%s with %+v", r.State, r.ESIMs)
			}
			if err := order.CheckMove(order.Held, &r); e == effectMoves && err != nil {
				t.Error(err)
			}
		})
	}
}

// A person's word of a settled order that says more, or other, than is known of it is
// set aside where it is seen, and moves nothing.
func TestRuledAfterTheEnd(t *testing.T) {
	one, other := []order.ESIM{{ICCID: "1"}}, []order.ESIM{{ICCID: "2"}}
	for _, c := range []struct {
		name  string
		state order.State
		id    string
		there order.State
		esims []order.ESIM
		want  effect
	}{
		{"the same", order.Fulfilled, "7", order.Fulfilled, one, effectNone},
		{"another eSIM", order.Fulfilled, "7", order.Fulfilled, other, effectContradicts},
		{"as another order", order.Fulfilled, "8", order.Fulfilled, nil, effectContradicts},
		{"refunded", order.Fulfilled, "", order.Refunded, nil, effectMoves},
		{"another order refunded", order.Fulfilled, "8", order.Refunded, nil, effectContradicts},
		{"refunded, again", order.Refunded, "7", order.Refunded, nil, effectNone},
		{"given up there", order.Fulfilled, "7", order.Rejected, nil, effectContradicts},
	} {
		t.Run(c.name, func(t *testing.T) {
			cur := intentRecord(false)
			cur.Product, cur.State, cur.Certainty, cur.SupplierOrderID, cur.ESIMs = order.ProductESIM, c.state, order.CertainPlaced, "7", one
			ev := wire.Evidence{OrderID: "o1", Source: order.EvidencePerson, Certainty: order.CertainPlaced, SupplierOrderID: c.id, StateThere: string(c.there),
				ESIMs: c.esims, Actor: "ann", Reason: "saw it"}
			if r, e := testJudge(supplier.Rules{}).weigh(cur, ev); e != c.want || e == effectMoves && (r.State != c.there || r.SupplierOrderID != "7") {
				t.Errorf("%s to %s as %s", e, r.State, r.SupplierOrderID)
			}
		})
	}
}

// A gate that is shut: what was certainly not placed waits or ends, what may have
// been placed stays as it is or is held.
func TestShutOut(t *testing.T) {
	until := judgeNow.Add(time.Minute)
	unknown := intentRecord(true)
	unknown.State, unknown.Looks = order.Unknown, 3
	waiting := order.Record{OrderID: "o1", State: order.Waiting, Certainty: order.CertainNotPlaced, WaitingFor: "switch"}
	held := unknown
	held.State = order.Held
	fresh, _ := new(order.Record).NotPlaced()
	looked, _ := order.NotFound(unknown, 3)
	ruled, _ := order.RuledOut("ann: asked them")
	repeat, ok := supplier.Rules{Repeat: supplier.RepeatRefused, Looks: 1}.PermitRepeat(unknown, judgeNow)
	if !ok {
		t.Fatal("no permit to repeat")
	}
	for _, c := range []struct {
		name     string
		cur      order.Record
		permit   supplier.Permit
		shut     *shut
		state    order.State // empty: no event
		evidence order.Evidence
	}{
		{"new, no money", order.Record{OrderID: "o1"}, supplier.PermitNew(fresh), waits("no_funds", until), order.Waiting, ""},
		{"new, expired", order.Record{OrderID: "o1"}, supplier.PermitNew(fresh), &shut{state: order.Expired, why: "expires_at"}, order.Expired, ""},
		{"waiting for the same", waiting, supplier.PermitNew(fresh), waits("switch", until), "", ""},
		{"waiting for something else", waiting, supplier.PermitNew(fresh), waits("no_funds", until), order.Waiting, ""},
		{"waiting, withdrawn", waiting, supplier.PermitNew(fresh), &shut{state: order.Cancelled, why: "cancel"}, order.Cancelled, ""},
		{"looked for in vain, no money", unknown, supplier.PermitNew(looked), waits("no_funds", until), order.Waiting, order.EvidenceLookup},
		{"looked for in vain, expired", unknown, supplier.PermitNew(looked), &shut{state: order.Expired, why: "expires_at"}, order.Expired, order.EvidenceLookup},
		{"looked for in vain, withdrawn", unknown, supplier.PermitNew(looked), &shut{state: order.Cancelled, why: "cancel"}, order.Cancelled, order.EvidenceLookup},
		{"looked for in vain, too dear", unknown, supplier.PermitNew(looked), rejects("max_total", "costs more"), order.Rejected, order.EvidenceLookup},
		{"in doubt, no money", unknown, repeat, waits("no_funds", until), "", ""},
		{"in doubt, expired", unknown, repeat, &shut{state: order.Expired, why: "expires_at"}, order.Held, ""},
		{"in doubt, too dear", unknown, repeat, rejects("max_total", "costs more"), order.Held, ""},
		{"sent again by a person, no money", held, supplier.PermitNew(ruled), waits("no_funds", until), order.Waiting, order.EvidencePerson},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, at := testJudge(supplier.Rules{}).shutOut(&c.cur, c.permit, c.shut)
			if r == nil {
				if c.state != "" || !at.Equal(until) {
					t.Errorf("no event and due at %s, want %s", at, c.state)
				}
				return
			}
			if r.State != c.state || r.Evidence != c.evidence {
				t.Errorf("%s by %q, want %s by %q", r.State, r.Evidence, c.state, c.evidence)
			}
			if err := order.CheckMove(c.cur.State, r); err != nil {
				t.Error(err)
			}
			if r.State == order.Held && (r.Certainty != order.CertainUnknown || !r.InDoubt) {
				t.Errorf("held as %s", r.Certainty)
			}
		})
	}
}

// "It exists" after an answer that was lost: where a refusal uses the id up too, the
// lost answer may have been one, and that it was placed would be a guess.
func TestExistsAloneIsNoProofWhereARefusalBurnsTheID(t *testing.T) {
	for burns, want := range map[bool]order.Certainty{true: order.CertainUnknown, false: order.CertainPlaced} {
		j := judge{now: judgeNow, rules: supplier.Rules{Repeat: supplier.RepeatRefused, RefusalBurnsID: burns}}
		cur := order.Record{OrderID: "o1", State: order.Unknown, Certainty: order.CertainUnknown, Error: &order.Error{Kind: string(supplier.Exists), Code: "DUPLICATE_REQUEST"}}
		if r := j.unanswerable(&cur); r.State != order.Held || r.Certainty != want || r.Evidence != order.EvidenceDuplicate {
			t.Errorf("burns %v: %s as %s by %s, wants held as %s by the duplicate", burns, r.State, r.Certainty, r.Evidence, want)
		}
	}
}
