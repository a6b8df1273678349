package order

import "time"

// NotPlaced is proof that no call has placed an order. Whoever gives an order up,
// lets it wait for another try, or fails over needs one, and only the functions
// below make one: each asks for the facts that prove it. The zero value proves
// nothing, and what is done with it CheckMove refuses.
type NotPlaced struct {
	by     Evidence
	reason string // a person's
	valid  bool
}

// NotPlaced is what an order's own record proves: nothing was ever sent for it, or
// its last event says that what was sent placed nothing.
func (r *Record) NotPlaced() (NotPlaced, bool) {
	proven := r.State == Begin && r.FirstSentAt == nil || r.State == Waiting && r.Certainty == CertainNotPlaced
	return NotPlaced{valid: proven}, proven
}

// RefusedCall is proof by the answer to the call that intent announced: the answer
// says for certain that it placed nothing, and no earlier call is in doubt, of which
// it says nothing. answered is false where the call never left us.
func RefusedCall(intent *Record, says Certainty, answered bool) (NotPlaced, bool) {
	proven := intent.State == Intent && says == CertainNotPlaced && !intent.InDoubt
	p := NotPlaced{valid: proven}
	if answered {
		p.by = EvidenceReply
	}
	return p, proven
}

// NotFound is proof by looks: the supplier does not know the order, and has said so
// needed times, each late enough to be believed, since the last call (Record.Looks
// counts those). An intent is not judged by it: its call may still be under way.
func NotFound(r Record, needed int) (NotPlaced, bool) {
	proven := r.State == Unknown && r.Looks >= max(1, needed)
	return NotPlaced{by: EvidenceLookup, valid: proven}, proven
}

// GivenUp is proof by the supplier's own record of an order, which says that it came
// to nothing.
func GivenUp(there State, by Evidence) (NotPlaced, bool) {
	proven := there == Rejected
	return NotPlaced{by: by, valid: proven}, proven
}

// RuledOut is a person's word, with a reason, that an order was not placed.
func RuledOut(reason string) (NotPlaced, bool) {
	return NotPlaced{EvidencePerson, reason, reason != ""}, reason != ""
}

// Evidence is what the proof rests on, none where nothing was ever sent, and a
// person's reason.
func (p NotPlaced) Evidence() (Evidence, string) { return p.by, p.reason }

// mark makes r certain of what is proven, and of no more than that.
func (p NotPlaced) mark(r Record, s State) Record {
	r.State, r.Certainty, r.InDoubt = s, CertainUnknown, r.InDoubt && !p.valid
	if p.valid {
		r.Certainty = CertainNotPlaced
	}
	if p.by != EvidenceNone {
		r.Evidence = p.by
	}
	if p.reason != "" {
		r.Reason = p.reason
	}
	return r
}

// Wait is r tried again, not before until; why is Record.WaitingFor.
func (p NotPlaced) Wait(r Record, why string, until time.Time) Record {
	r = p.mark(r, Waiting)
	r.WaitingFor, r.NotBefore = why, &until
	return r
}

// Reject is r given up for e.
func (p NotPlaced) Reject(r Record, e *Error) Record {
	r = p.mark(r, Rejected)
	r.Error = e
	return r
}

// Expire is r given up because its time is over.
func (p NotPlaced) Expire(r Record) Record { return p.mark(r, Expired) }

// Cancel is r withdrawn by upstream.
func (p NotPlaced) Cancel(r Record) Record { return p.mark(r, Cancelled) }
