package operator_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

var who = operator.Who{Actor: "mira", Reason: "why"}

func open(t *testing.T) (*operator.Operator, *bus.Bus) {
	t.Helper()
	_, b := bustest.Provisioned(t, bustest.Options{})
	op, err := operator.New(b, wire.ViaConsole)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(op.Close)
	return op, b
}

func audits(t *testing.T, b *bus.Bus) []string {
	t.Helper()
	msgs, _, err := b.Range(t.Context(), bus.StreamAudit, bus.SubjectAudit("*"), 1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range msgs {
		var a wire.Audit
		if _, err := wire.DecodeData(m.Data, &a); err != nil {
			t.Fatal(err)
		}
		out = append(out, a.Action+" "+a.Target+" "+a.Via)
	}
	return out
}

// held puts an order into the ledger that a person must decide about.
func held(t *testing.T, b *bus.Bus, id string) {
	t.Helper()
	l, err := ledger.New(b, "orderer")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := order.Record{OrderID: id, Supplier: order.EIOTCLUB, Product: order.ProductPackage, Account: "default", State: order.Intent, Certainty: order.CertainUnknown,
		At: time.Now().UTC(), AcceptedAt: time.Now().UTC(), Request: order.Request{OrderID: id, ICCID: "8988308650100524999"}}
	e, err := l.Append(t.Context(), &ledger.Entry{}, r)
	if err == nil {
		r.State, r.Reason = order.Held, "of card 8988308650100524999"
		r.ESIMs = []order.ESIM{{ICCID: "8988308650100524999", ActivationCode: "LPA:1$x$y", QRCodeURL: "https://q"}}
		_, err = l.Append(t.Context(), e, r)
	}
	if err != nil {
		t.Fatal(err)
	}
}

const oneOfTwo, twoOfTwo = "8932042000010078801", "8932042000010078819"

// inPart puts an order of two eSIMs into the ledger that is known to be placed, and of
// which these eSIMs are known.
func inPart(t *testing.T, b *bus.Bus, id string, state order.State, esims ...order.ESIM) {
	t.Helper()
	l, err := ledger.New(b, "orderer")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := order.Record{OrderID: id, Supplier: order.ESIMFly, Product: order.ProductESIM, Account: "default", State: order.Intent, Certainty: order.CertainUnknown,
		At: time.Now().UTC(), AcceptedAt: time.Now().UTC(), Request: order.Request{OrderID: id, Quantity: 2}}
	e, err := l.Append(t.Context(), &ledger.Entry{}, r)
	if err == nil {
		r.State, r.Certainty, r.SupplierOrderID, r.ESIMs = state, order.CertainPlaced, "order_"+id, esims
		_, err = l.Append(t.Context(), e, r)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What a person may not say is refused before anything is written, the audit too.
func TestWhatIsRefusedLeavesNoTrace(t *testing.T) {
	op, b := open(t)
	held(t, b, "o-1")
	resolve := func(who operator.Who, id string, r operator.Resolution) error {
		_, err := op.Resolve(t.Context(), who, id, r)
		return err
	}
	inPart(t, b, "p-1", order.Held, order.ESIM{ICCID: oneOfTwo})
	inPart(t, b, "p-2", order.Placed)
	// fulfilled is a person's word with what stands in a file; none if it is empty.
	fulfilled := func(id, file string) error {
		r := operator.Resolution{As: "fulfilled"}
		if file != "" {
			r.ESIMs = []byte(file)
		}
		return resolve(who, id, r)
	}
	_, cancelled := op.Cancel(t.Context(), who, "o-9")
	for name, c := range map[string]struct{ err, want error }{
		"no such order":         {resolve(who, "o-9", operator.Resolution{As: "placed"}), operator.ErrNotFound},
		"no order id":           {resolve(who, "o 1", operator.Resolution{As: "placed"}), operator.ErrInvalid},
		"no reason":             {resolve(operator.Who{Actor: "mira"}, "o-1", operator.Resolution{As: "not-placed"}), operator.ErrInvalid},
		"nobody":                {resolve(operator.Who{Reason: "why"}, "o-1", operator.Resolution{As: "not-placed"}), operator.ErrInvalid},
		"no word":               {resolve(who, "o-1", operator.Resolution{}), operator.ErrInvalid},
		"placed under no id":    {resolve(who, "o-1", operator.Resolution{As: "placed"}), operator.ErrInvalid},
		"placed, and again":     {resolve(who, "o-1", operator.Resolution{As: "placed", SupplierOrderID: "7", SendAgain: true}), operator.ErrInvalid},
		"known to be placed":    {resolve(who, "p-1", operator.Resolution{As: "placed", SupplierOrderID: "order_p-1"}), operator.ErrInvalid},
		"there, and again":      {resolve(who, "p-1", operator.Resolution{As: "not-placed", SendAgain: true}), operator.ErrInvalid},
		"placed, and is":        {resolve(who, "p-2", operator.Resolution{As: "placed"}), operator.ErrInvalid},
		"fulfilled as no id":    {fulfilled("o-1", ""), operator.ErrInvalid},
		"fulfilled, and again":  {resolve(who, "p-1", operator.Resolution{As: "fulfilled", SendAgain: true}), operator.ErrInvalid},
		"fulfilled by no eSIM":  {fulfilled("p-2", ""), operator.ErrInvalid},
		"fulfilled as another":  {resolve(who, "p-1", operator.Resolution{As: "fulfilled", SupplierOrderID: "order_of_another"}), operator.ErrInvalid},
		"three of two eSIMs":    {fulfilled("p-1", `[{"iccid":"`+twoOfTwo+`"},{"iccid":"8932042000010078827"}]`), operator.ErrInvalid},
		"eSIMs of no form":      {fulfilled("p-1", `{"iccid":"`+twoOfTwo+`"}`), operator.ErrInvalid},
		"a file of nothing":     {resolve(who, "p-1", operator.Resolution{As: "fulfilled", ESIMs: []byte{}}), operator.ErrInvalid},
		"eSIMs of a package":    {resolve(who, "o-1", operator.Resolution{As: "fulfilled", SupplierOrderID: "7", ESIMs: []byte(`[{"iccid":"` + twoOfTwo + `"}]`)}), operator.ErrInvalid},
		"eSIMs, not placed":     {resolve(who, "p-1", operator.Resolution{As: "not-placed", ESIMs: []byte(`[{"iccid":"` + twoOfTwo + `"}]`)}), operator.ErrInvalid},
		"cancel of none":        {cancelled, operator.ErrNotFound},
		"no such supplier":      {op.SetSwitch(t.Context(), who, "x", "pause", true), operator.ErrInvalid},
		"no such switch":        {op.SetSwitch(t.Context(), who, "all", "explode", true), operator.ErrInvalid},
		"edit of no letter":     {op.Edited(t.Context(), who, 7, []byte("{}")), operator.ErrNotFound},
		"a reason without end":  {op.SetSwitch(t.Context(), operator.Who{Actor: "mira", Reason: strings.Repeat("x", 1001)}, "all", "pause", true), operator.ErrInvalid},
		"a reason of controls":  {op.SetSwitch(t.Context(), operator.Who{Actor: "mira", Reason: "a\x00b"}, "all", "pause", true), operator.ErrInvalid},
		"a name without an end": {op.SetSwitch(t.Context(), operator.Who{Actor: strings.Repeat("x", 101), Reason: "r"}, "all", "pause", true), operator.ErrInvalid},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	if got := audits(t, b); len(got) != 0 {
		t.Errorf("on AUDIT: %v", got)
	}
	for _, stream := range []string{bus.StreamEvidence, bus.StreamOrders} {
		if s, err := b.JS.Stream(t.Context(), stream); err != nil || s.CachedInfo().State.Msgs != 0 {
			t.Errorf("something lies on %s (%v)", stream, err)
		}
	}
}

func TestResolveHandsEvidenceToOrderer(t *testing.T) {
	op, b := open(t)
	held(t, b, "o-1")
	if _, err := op.Resolve(t.Context(), who, "o-1", operator.Resolution{As: "placed", SupplierOrderID: "4711"}); err != nil {
		t.Fatal(err)
	}
	m, found, err := b.Last(t.Context(), bus.StreamEvidence, bus.SubjectEvidence(order.EIOTCLUB, "o-1"))
	if err != nil || !found {
		t.Fatal(found, err)
	}
	ev, _, err := wire.DecodeEvidence(m.Data)
	if err != nil || ev.Actor != "mira" || ev.Reason != "why" || ev.SupplierOrderID != "4711" || ev.Certainty != order.CertainPlaced || ev.Source != order.EvidencePerson {
		t.Errorf("evidence %+v, %v", ev, err)
	}
	if diff := cmp.Diff([]string{"order_resolve o-1 console"}, audits(t, b)); diff != "" {
		t.Error(diff)
	}
}

// Of an order that is fulfilled a person brings the eSIMs that we do not know, or
// none; the audit counts them and names no card.
func TestResolveAsFulfilled(t *testing.T) {
	op, b := open(t)
	for i, c := range []struct {
		state order.State
		known []order.ESIM
		file  []byte
		want  []order.ESIM
	}{
		{order.Held, []order.ESIM{{ICCID: oneOfTwo}, {Status: "PENDING"}}, []byte(`[{"iccid":"` + twoOfTwo + `","activation_code":"LPA:1$x$y"}]`), []order.ESIM{{ICCID: twoOfTwo, ActivationCode: "LPA:1$x$y"}}},
		{order.Held, []order.ESIM{{ICCID: oneOfTwo}}, nil, nil},
		{order.Placed, nil, []byte(`[{"iccid":"` + twoOfTwo + `"},{"iccid":"` + oneOfTwo + `"}]`), []order.ESIM{{ICCID: twoOfTwo}, {ICCID: oneOfTwo}}},
	} {
		id := fmt.Sprint("p-", i)
		inPart(t, b, id, c.state, c.known...)
		if _, err := op.Resolve(t.Context(), who, id, operator.Resolution{As: operator.AsFulfilled, ESIMs: c.file}); err != nil {
			t.Fatal(err)
		}
		m, found, err := b.Last(t.Context(), bus.StreamEvidence, bus.SubjectEvidence(order.ESIMFly, id))
		if err != nil || !found {
			t.Fatal(found, err)
		}
		ev, _, err := wire.DecodeEvidence(m.Data)
		if err != nil || ev.StateThere != "fulfilled" || ev.Certainty != order.CertainPlaced || ev.Source != order.EvidencePerson || ev.Actor != "mira" {
			t.Errorf("evidence %+v, %v", ev, err)
		}
		if diff := cmp.Diff(c.want, ev.ESIMs); diff != "" {
			t.Errorf("eSIMs of %s, -want +got:\n%s", id, diff)
		}
	}
	msgs, _, err := b.Range(t.Context(), bus.StreamAudit, bus.SubjectAudit("*"), 1, 10)
	if err != nil {
		t.Fatal(err)
	}
	var details []map[string]string
	for _, m := range msgs {
		var a wire.Audit
		if _, err := wire.DecodeData(m.Data, &a); err != nil || a.Action != wire.ActOrderResolve {
			t.Error(a, err)
		}
		details = append(details, a.Detail)
	}
	want := []map[string]string{{"as": "fulfilled", "state": "held", "esims": "1"}, {"as": "fulfilled", "state": "held"}, {"as": "fulfilled", "state": "placed", "esims": "2"}}
	if diff := cmp.Diff(want, details); diff != "" {
		t.Errorf("on AUDIT, -want +got:\n%s", diff)
	}
}

// Card data is masked wherever it stands, and shown only to who asks, which is
// written down.
func TestCardDataIsMaskedUntilAskedFor(t *testing.T) {
	op, b := open(t)
	held(t, b, "o-1")
	events, err := op.Events(t.Context(), "o-1")
	if err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprintf("%+v", operator.Masked(events)); strings.Contains(s, "8988308650100524999") || strings.Contains(s, "LPA:1$") || strings.Contains(s, "https://q") {
		t.Errorf("in clear: %s", s)
	}
	if s := fmt.Sprintf("%+v", events); !strings.Contains(s, "8988308650100524999") {
		t.Error("masking changed what was handed in")
	}
	if events, err = op.Reveal(t.Context(), who, "o-1"); err != nil || events[1].ESIMs[0].ActivationCode != "LPA:1$x$y" {
		t.Errorf("revealed: %+v, %v", events, err)
	}
	if diff := cmp.Diff([]string{"order_reveal o-1 console"}, audits(t, b)); diff != "" {
		t.Error(diff)
	}
}

func TestMaskJSON(t *testing.T) {
	for in, want := range map[string]string{
		`{"iccid":"8988308650100524999","order_id":"630000198311142676"}`:              `{"iccid":"…4999","order_id":"630000198311142676"}`,
		`{"eid": "35060000000000000024000032688200", "x": 1}`:                          `{"eid": "…8200", "x": 1}`,
		`{"iccids":["8988308650100524999","8988308650100524998"],"imsi":460001234567}`: `{"iccids":"****","imsi":"****"}`,
		`{"activation_code":"LPA:1$a$b","qr_code_url":"https://x/y","lpa":"z"}`:        `{"activation_code":"****","qr_code_url":"****","lpa":"****"}`,
		`no JSON of 8988308650100524999 with LPA:1$smdp$code`:                          `no JSON of …4999 with LPA:****`,
		`{"iccid":"","note":"about \"8988308650100524999\""}`:                          `{"iccid":"","note":"about \"…4999\""}`,
	} {
		if got := string(operator.MaskJSON([]byte(in))); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

// Pages go backwards over what is left between many that are gone.
func TestNewestSkipsWhatIsGone(t *testing.T) {
	op, b := open(t)
	const n = 1200
	for i := range n {
		m := bus.NewDeadLetter(bus.DeadLetter{Stream: []string{"ORDERS", "TASKS"}[i%2], Subject: "s", Reason: []string{"schema", "conflict"}[i/2%2], Data: []byte("{}")})
		if _, err := b.JS.PublishMsgAsync(m); err != nil {
			t.Fatal(err)
		}
	}
	<-b.JS.PublishAsyncComplete()
	s, err := b.JS.Stream(t.Context(), bus.StreamDead)
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(100); seq < 1100; seq++ {
		if err := s.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []operator.DeadFilter{{}, {Stream: "ORDERS"}, {Error: "conflict"}, {Stream: "TASKS", Error: "schema"}} {
		var want []uint64
		err := op.Letters(t.Context(), f, func(l operator.Letter) error {
			want = append([]uint64{l.Seq}, want...)
			return nil
		})
		if err != nil || len(want) == 0 {
			t.Fatalf("%+v: %d letters, %v", f, len(want), err)
		}
		var got []uint64
		for before := uint64(0); ; {
			p, err := op.Newest(t.Context(), f, before, 7)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range p.Letters {
				got = append(got, l.Seq)
			}
			if before = p.Next; before == 0 {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v, oldest first turned round (-) and page by page (+):\n%s", f, diff)
		}
	}
}
