package supplier

import (
	"time"

	"github.com/simline/simline/internal/order"
)

// Permit is leave to make one call that may spend money. There are two ways to it:
// proof that nothing was placed so far, and a table that says that a repeat in doubt
// cannot buy twice. The zero value permits nothing.
type Permit struct {
	proof  order.NotPlaced
	repeat bool
	valid  bool
}

// PermitNew permits the call of an order that was certainly not placed.
func PermitNew(proof order.NotPlaced) Permit { return Permit{proof: proof, valid: true} }

// PermitRepeat permits the same call again for an order in doubt, where its answer
// tells what no look can and it cannot buy twice: under the same request id, within
// the supplier's memory, and as often as its table has looks.
func (r Rules) PermitRepeat(cur order.Record, now time.Time) (Permit, bool) {
	safe := r.Repeat.Safe() && cur.FirstSentAt != nil && cur.Resends < max(1, r.Looks) &&
		(r.RepeatWindow == 0 || now.Before(cur.FirstSentAt.Add(r.RepeatWindow)))
	return Permit{repeat: safe, valid: safe}, safe
}

// NotPlaced is the proof that a permit rests on; false for a repeat in doubt.
func (p Permit) NotPlaced() (order.NotPlaced, bool) { return p.proof, p.valid && !p.repeat }

// Valid says whether the permit permits anything.
func (p Permit) Valid() bool { return p.valid }
