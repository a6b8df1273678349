package order

import (
	"fmt"
	"slices"
)

// State is where an order stands. Its text is the last token of the subject
// of the order's event.
type State string

// The states. ARCHITECTURE.md draws them; transitions below is the law.
const (
	// Intent: the call to the supplier is about to be made, or was being made
	// when its worker died. Durable before the call.
	Intent State = "intent"
	// Placed: the supplier accepted the order and we know its id there.
	Placed State = "placed"
	// Fulfilled: what was bought is there.
	Fulfilled State = "fulfilled"
	// Rejected: it was not placed and will not be, or the supplier gave it up.
	Rejected State = "rejected"
	// Unknown: it may have been placed. Nobody reports that as a failure.
	Unknown State = "unknown"
	// Waiting: it was certainly not placed and is tried again later.
	Waiting State = "waiting"
	// Held: a person decides.
	Held State = "held"
	// Expired: not placed by expires_at, and not tried again.
	Expired State = "expired"
	// Cancelled: withdrawn by upstream before money moved.
	Cancelled State = "cancelled"
	// Refunded: the supplier gave the money back.
	Refunded State = "refunded"
)

// States lists every state in the order in which a reader meets them.
var States = []State{Intent, Waiting, Unknown, Placed, Held, Fulfilled, Rejected, Expired, Cancelled, Refunded}

// Begin is the state before the first event.
const Begin State = ""

// transitions is the whole law of an order's life. A state that may follow
// itself is listed under itself: another attempt, another look, or a note that
// evidence contradicts it.
var transitions = map[State][]State{
	Begin:     {Intent, Waiting, Rejected, Expired},
	Intent:    {Placed, Fulfilled, Rejected, Unknown, Waiting, Held},
	Waiting:   {Intent, Waiting, Expired, Cancelled, Rejected, Held, Placed, Fulfilled},
	Unknown:   {Unknown, Placed, Fulfilled, Intent, Waiting, Rejected, Expired, Cancelled, Held},
	Placed:    {Placed, Fulfilled, Refunded, Rejected, Held},
	Held:      {Held, Placed, Fulfilled, Rejected, Intent, Waiting, Refunded, Cancelled, Expired},
	Fulfilled: {Fulfilled, Refunded},
	Rejected:  {Rejected},
	Expired:   {Expired},
	Cancelled: {Cancelled},
	Refunded:  {Refunded},
}

// Valid says whether s is one of the states.
func (s State) Valid() bool { return slices.Contains(States, s) }

// Settled says that no worker moves the order on by itself any more.
// A fulfilled order may still become refunded.
func (s State) Settled() bool {
	switch s {
	case Fulfilled, Rejected, Expired, Cancelled, Refunded:
		return true
	}
	return false
}

// CanMove says whether an order in state from may go to state to.
func CanMove(from, to State) bool { return slices.Contains(transitions[from], to) }

// Next lists the states that may follow from.
func Next(from State) []State { return slices.Clone(transitions[from]) }

// Certainty is what we know of the money: was the order placed?
type Certainty string

// The certainties. There is no fourth: a guess is unknown.
const (
	CertainPlaced    Certainty = "placed"
	CertainNotPlaced Certainty = "not_placed"
	CertainUnknown   Certainty = "unknown"
)

// Evidence is what decided an order's present state.
type Evidence string

// The five pieces of evidence, and none for what was decided before any call.
const (
	EvidenceNone         Evidence = ""
	EvidenceReply        Evidence = "reply"
	EvidenceDuplicate    Evidence = "duplicate_refusal"
	EvidenceLookup       Evidence = "lookup"
	EvidenceNotification Evidence = "notification"
	EvidencePerson       Evidence = "person"
)

// allowedCertainty says which certainties a state may carry. Held may carry any:
// that is why a person has to look.
var allowedCertainty = map[State][]Certainty{
	Intent:    {CertainUnknown},
	Waiting:   {CertainNotPlaced},
	Unknown:   {CertainUnknown},
	Placed:    {CertainPlaced},
	Held:      {CertainUnknown, CertainPlaced, CertainNotPlaced},
	Fulfilled: {CertainPlaced},
	Rejected:  {CertainNotPlaced},
	Expired:   {CertainNotPlaced},
	Cancelled: {CertainNotPlaced},
	Refunded:  {CertainPlaced},
}

// CheckMove says why an order may not go from one record to the next, or nil.
func CheckMove(from State, next *Record) error {
	if !CanMove(from, next.State) {
		return fmt.Errorf("order %s: %q may not become %q", next.OrderID, from, next.State)
	}
	if from == next.State && len(next.Conflicts) == 0 && (from.Settled() || from == Placed) {
		return fmt.Errorf("order %s: %q repeats only with evidence that contradicts it", next.OrderID, from)
	}
	if !slices.Contains(allowedCertainty[next.State], next.Certainty) {
		return fmt.Errorf("order %s: state %q cannot be of certainty %q", next.OrderID, next.State, next.Certainty)
	}
	if (next.State == Placed || next.State == Fulfilled) && next.SupplierOrderID == "" {
		return fmt.Errorf("order %s: %q without the supplier's order id", next.OrderID, next.State)
	}
	return nil
}
