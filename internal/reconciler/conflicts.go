package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/wire"
)

// Conflicts reports what orderer was told of an order and could not believe: an
// answer, a notification or a look-up that contradicts what the ledger settled,
// and that orderer therefore set aside as a dead letter.
//
// A finding stands for as long as a letter of it lies in DEAD and still contradicts
// the ledger: it closes when the order moved to what was said, or when a person
// took the letter away. It keeps its own place in DEAD.
type Conflicts struct {
	Ledger Ledger
	Book   *Book
	Settle time.Duration
}

// conflictsNotes is up to where DEAD was read.
type conflictsNotes struct {
	Epoch time.Time `json:"epoch"` // when the stream was made: another counts anew
	Next  uint64    `json:"next"`  // sequence to go on at
}

// claim is what one dead letter says of an order; the other side of a finding.
type claim struct {
	DeadLetter      uint64          `json:"dead_letter"` // its sequence in DEAD, as in `simctl dlq show`
	Source          order.Evidence  `json:"source"`
	Certainty       order.Certainty `json:"certainty"`
	State           string          `json:"state,omitempty"`
	SupplierOrderID string          `json:"supplier_order_id,omitempty"`
	Total           *order.Money    `json:"total,omitempty"`
	ObservedAt      time.Time       `json:"observed_at"`
}

// maxClaims bounds what one finding shows; the newest count.
const maxClaims = 20

// errEnough ends a reading before its end.
var errEnough = errors.New("enough")

// Look reads the letters that came since, and looks again at those that stand.
func (j *Conflicts) Look(ctx context.Context, run *Run, sitting *Sitting) error {
	var notes conflictsNotes
	if len(run.Notes) > 0 {
		if err := json.Unmarshal(run.Notes, &notes); err != nil {
			return fmt.Errorf("notes: %w", err)
		}
	}
	dead, err := j.Ledger.bus.JS.Stream(ctx, bus.StreamDead)
	if err != nil {
		return fmt.Errorf("stream %s: %w", bus.StreamDead, err)
	}
	if made := dead.CachedInfo().Created.UTC(); !made.Equal(notes.Epoch) {
		notes = conflictsNotes{Epoch: made, Next: 1}
	}
	claims, err := j.read(ctx, run, &notes)
	if err != nil {
		return err
	}
	for _, about := range sitting.Abouts() {
		stand, err := j.standing(ctx, dead, sitting, about)
		if err != nil {
			return err
		}
		claims[about] = append(stand, claims[about]...)
	}
	for _, about := range slices.Sorted(maps.Keys(claims)) {
		found, err := j.judge(ctx, about, claims[about])
		if err != nil {
			return err
		}
		if err := sitting.Looked(ctx, about, found...); err != nil {
			return err
		}
	}
	run.Notes = raw(notes)
	return nil
}

// conflictAbout names an order in this job.
func conflictAbout(supplier, account, orderID string) string {
	return supplier + "/" + account + "/" + orderID
}

// read reads the letters that came and have settled, by what they are about. A
// letter that is younger waits for a later run, and those behind it with it.
func (j *Conflicts) read(ctx context.Context, run *Run, notes *conflictsNotes) (map[string][]claim, error) {
	out := map[string][]claim{}
	err := readSince(ctx, j.Ledger.bus.JS, bus.StreamDead, startFrom(notes.Next), func(msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
		if !run.Settled(meta.Timestamp, j.Settle) {
			return errEnough
		}
		if msg.Headers().Get(bus.HeaderReason) == wire.ReasonConflict {
			for about, c := range claimsOf(msg.Headers().Get(bus.HeaderOrigin), msg.Data()) {
				c.DeadLetter = meta.Sequence.Stream
				out[about] = append(out[about], c)
			}
		}
		notes.Next = meta.Sequence.Stream + 1
		return nil
	}, bus.SubjectDead(bus.StreamEvidence), bus.SubjectDead(bus.StreamWebhooks), bus.SubjectDead(bus.StreamOrderEvents))
	if errors.Is(err, errEnough) {
		err = nil
	}
	return out, err
}

// claimsOf reads a dead letter by the subject that it came on. One that cannot be
// read says nothing of an order, and is seen in DEAD.
func claimsOf(origin string, data []byte) map[string]claim {
	out := map[string]claim{}
	supplierName, account, _, isNotice := bus.WebhookOf(origin)
	switch {
	case isNotice:
		env, err := wire.ParseEnvelope(data)
		if err != nil {
			return nil
		}
		n, err := eiotclub.ParseNotification(env.Data)
		if err != nil {
			return nil
		}
		at := n.Timestamp
		if at.IsZero() {
			at = env.Time
		}
		for _, o := range n.Orders() {
			if order.ValidID(o.OutTradeNo) {
				out[conflictAbout(supplierName, account, o.OutTradeNo)] = claim{Source: order.EvidenceNotification, Certainty: order.CertainPlaced,
					State: string(o.State), SupplierOrderID: o.SupplierOrderID, ObservedAt: at.UTC()}
			}
		}
	case bus.OrderOf(origin) != "": // the answer to a call, too late to become an event
		var r order.Record
		if json.Unmarshal(data, &r) == nil && order.ValidID(r.OrderID) {
			out[conflictAbout(r.Supplier, r.Account, r.OrderID)] = claim{Source: r.Evidence, Certainty: r.Certainty, State: string(r.State),
				SupplierOrderID: r.SupplierOrderID, Total: r.Total, ObservedAt: r.At.UTC()}
		}
	default:
		if ev, _, err := wire.DecodeEvidence(data); err == nil {
			out[conflictAbout(ev.Supplier, ev.Account, ev.OrderID)] = claim{Source: ev.Source, Certainty: ev.Certainty, State: ev.StateThere,
				SupplierOrderID: ev.SupplierOrderID, Total: ev.Total, ObservedAt: ev.ObservedAt.UTC()}
		}
	}
	return out
}

// standing are the claims of a finding whose letters still lie in DEAD.
func (j *Conflicts) standing(ctx context.Context, dead jetstream.Stream, sitting *Sitting, about string) ([]claim, error) {
	e, err := sitting.load(ctx, FindingID(KindConflict, about))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all, out []claim
	if err := json.Unmarshal(e.Finding.Theirs, &all); err != nil {
		return nil, fmt.Errorf("finding %s: %w", e.Finding.FindingID, err)
	}
	for _, c := range all {
		switch _, err := dead.GetMsg(ctx, c.DeadLetter); {
		case errors.Is(err, jetstream.ErrMsgNotFound): // a person dealt with it
		case err != nil:
			return nil, fmt.Errorf("dead letter %d: %w", c.DeadLetter, err)
		default:
			out = append(out, c)
		}
	}
	return out, nil
}

// judge holds claims about one order against the ledger as it is now.
func (j *Conflicts) judge(ctx context.Context, about string, claims []claim) ([]wire.Finding, error) {
	supplier, rest, _ := strings.Cut(about, "/")
	account, id, _ := strings.Cut(rest, "/")
	r, found, err := j.Ledger.Get(ctx, id)
	if err != nil || !found || r.Supplier != supplier || r.Account != account {
		return nil, err
	}
	listed, err := j.listed(ctx, r)
	if err != nil {
		return nil, err
	}
	seen := map[uint64]bool{} // a run that was cut off reads its letters again
	claims = slices.DeleteFunc(claims, func(c claim) bool {
		twice := seen[c.DeadLetter]
		seen[c.DeadLetter] = true
		return twice || !contradicts(r, c) || listed && otherOrder(r, c)
	})
	if len(claims) == 0 {
		return nil, nil
	}
	claims = claims[max(0, len(claims)-maxClaims):]
	amount := r.Total
	for _, c := range claims {
		if amount == nil {
			amount = c.Total
		}
	}
	if amount == nil {
		amount = r.Request.MaxTotal
	}
	ours := struct {
		State           order.State     `json:"state"`
		Certainty       order.Certainty `json:"certainty"`
		Evidence        order.Evidence  `json:"evidence,omitempty"`
		SupplierOrderID string          `json:"supplier_order_id,omitempty"`
		At              time.Time       `json:"at"`
	}{r.State, r.Certainty, r.Evidence, r.SupplierOrderID, r.At.UTC()}
	return []wire.Finding{{Kind: KindConflict, OrderID: id, Supplier: supplier, Account: account, SupplierOrderID: claims[len(claims)-1].SupplierOrderID,
		ICCID: r.Request.ICCID, EID: r.Request.EID, Amount: amount, Ours: raw(ours), Theirs: raw(claims),
		Evidence: "the ledger against dead letters that orderer set aside"}}, nil
}

// listed says whether records reports already, from the lists, that the supplier
// has another order under our id.
func (j *Conflicts) listed(ctx context.Context, r order.Record) (bool, error) {
	obj, ok := objectOf(r)
	if !ok {
		return false, nil
	}
	about := aboutOf(r.Supplier+"/"+r.Account+"/", obj, r.OrderID)
	return j.Book.Stands(ctx, JobRecords, FindingID(KindConflict, about))
}

func otherOrder(r order.Record, c claim) bool {
	return r.SupplierOrderID != "" && c.SupplierOrderID != "" && r.SupplierOrderID != c.SupplierOrderID
}

// contradicts says whether the ledger, as it is now, and a claim cannot both be
// true. It is how orderer weighs evidence, without what it may still believe.
func contradicts(r order.Record, c claim) bool {
	switch {
	case otherOrder(r, c):
		return true
	case c.State == string(order.Rejected):
		return r.State == order.Fulfilled
	case c.Certainty == order.CertainPlaced:
		return r.State == order.Rejected || r.State == order.Expired || r.State == order.Cancelled
	case c.Certainty == order.CertainNotPlaced:
		return r.State == order.Placed || r.State == order.Fulfilled
	}
	return false
}
