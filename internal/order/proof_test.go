package order_test

import (
	"testing"
	"time"

	"github.com/simline/simline/internal/order"
)

// What proves that an order was not placed, and what does not.
func TestNotPlacedNeedsItsFacts(t *testing.T) {
	at := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	intent := order.Record{State: order.Intent, Certainty: order.CertainUnknown, FirstSentAt: &at}
	doubted := intent
	doubted.InDoubt = true
	unknown := order.Record{State: order.Unknown, Certainty: order.CertainUnknown, FirstSentAt: &at, InDoubt: true, Looks: 3}
	in := func(s order.State, c order.Certainty) order.Record { return order.Record{State: s, Certainty: c} }
	own := func(r order.Record) func() (order.NotPlaced, bool) { return (&r).NotPlaced }
	refused := func(r order.Record, c order.Certainty) func() (order.NotPlaced, bool) {
		return func() (order.NotPlaced, bool) { return order.RefusedCall(&r, c, true) }
	}
	looked := func(r order.Record, needed int) func() (order.NotPlaced, bool) {
		return func() (order.NotPlaced, bool) { return order.NotFound(r, needed) }
	}
	for _, c := range []struct {
		name   string
		prove  func() (order.NotPlaced, bool)
		proven bool
		by     order.Evidence
	}{
		{"nothing was ever sent", own(order.Record{}), true, ""},
		{"waiting", own(in(order.Waiting, order.CertainNotPlaced)), true, ""},
		{"an intent", own(intent), false, ""},
		{"unknown", own(unknown), false, ""},
		{"placed", own(in(order.Placed, order.CertainPlaced)), false, ""},
		{"held, whatever it says", own(in(order.Held, order.CertainNotPlaced)), false, ""},
		{"refused", refused(intent, order.CertainNotPlaced), true, order.EvidenceReply},
		{"no answer", refused(intent, order.CertainUnknown), false, ""},
		{"a duplicate", refused(intent, order.CertainPlaced), false, ""},
		{"a repeat in doubt is refused", refused(doubted, order.CertainNotPlaced), false, ""},
		{"a refusal without a call", refused(unknown, order.CertainNotPlaced), false, ""},
		{"not dialled", func() (order.NotPlaced, bool) { return order.RefusedCall(&intent, order.CertainNotPlaced, false) }, true, ""},
		{"looked for often enough", looked(unknown, 3), true, order.EvidenceLookup},
		{"looked for once too few", looked(unknown, 4), false, ""},
		{"no look is enough", looked(in(order.Unknown, order.CertainUnknown), 0), false, ""},
		{"an intent is not judged by looks", looked(order.Record{State: order.Intent, Looks: 9}, 1), false, ""},
		{"the supplier gave it up", func() (order.NotPlaced, bool) { return order.GivenUp(order.Rejected, order.EvidenceNotification) }, true, order.EvidenceNotification},
		{"the supplier has it", func() (order.NotPlaced, bool) { return order.GivenUp(order.Placed, order.EvidenceLookup) }, false, ""},
		{"a person says so", func() (order.NotPlaced, bool) { return order.RuledOut("ann: asked them") }, true, order.EvidencePerson},
		{"a person without a reason", func() (order.NotPlaced, bool) { return order.RuledOut("") }, false, ""},
		{"out of thin air", func() (order.NotPlaced, bool) { return order.NotPlaced{}, false }, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			proof, proven := c.prove()
			if by, _ := proof.Evidence(); proven != c.proven || proven && by != c.by {
				t.Fatalf("proven: %t by %q, want %t by %q", proven, by, c.proven, c.by)
			}
			// What is done with it stands or falls with it.
			for _, next := range []order.Record{proof.Wait(unknown, "no_funds", at), proof.Reject(unknown, &order.Error{Kind: "refused"}), proof.Expire(unknown), proof.Cancel(unknown)} {
				err := order.CheckMove(order.Unknown, &next)
				if (err == nil) != c.proven || next.InDoubt == c.proven {
					t.Errorf("%s: %v, in doubt %t", next.State, err, next.InDoubt)
				}
			}
		})
	}
}
