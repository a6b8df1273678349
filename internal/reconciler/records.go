package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/supplier"
)

// Records compares our orders with the suppliers' lists, both ways: what is ours
// only, theirs only, bought twice, or told differently.
//
// For each SIM, cloud eSIM and pool that was active in the span it asks for its
// orders of the last Lookback, and takes our side of them from the ledger. What
// the first look does not find is looked up by its id on the side where it is
// missing before anything is said.
type Records struct {
	Accounts []Account
	Ledger   Ledger
	Witness  *Witness
	Metrics  *Metrics
	Cost     *Cost
	Log      *slog.Logger
	Settle   time.Duration
	Lookback time.Duration
	// Slots spreads the cards that were quiet over this many runs.
	Slots int
	// PartSize is how many of the ledger's events are held at a time, about; 0 is
	// half a million.
	PartSize uint64
}

// markEvery is how many objects are looked at between two marks of the cursor.
const markEvery = 50

// recordsNotes is what one run leaves for the next.
type recordsNotes struct {
	// Young are differences that were too young to count, by what they are about.
	Young map[string]young `json:"young,omitempty"`
	// Skipped are the objects that could not be asked for, by account and object.
	Skipped map[string]bool `json:"skipped,omitempty"`
}

// young is where and when a difference was first met.
type young struct {
	Object string    `json:"object"`
	Since  time.Time `json:"since"`
}

// maxNotes bounds the notes; what falls out is met again when its card is.
const maxNotes = 2000

// maxFailures is how many objects in a row may fail before the supplier itself is
// taken as failing, and the pass waits.
const maxFailures = 5

// Look does one span.
func (j *Records) Look(ctx context.Context, run *Run, sitting *Sitting) error {
	var notes recordsNotes
	if len(run.Notes) > 0 {
		if err := json.Unmarshal(run.Notes, &notes); err != nil {
			return fmt.Errorf("notes: %w", err)
		}
	}
	next := recordsNotes{Young: map[string]young{}, Skipped: map[string]bool{}}
	for _, account := range j.Accounts {
		if account.Packages == nil {
			continue
		}
		p := &recordsPass{Records: j, run: run, sitting: sitting, account: account, before: notes, next: next, looked: map[string]bool{}}
		if err := p.look(ctx); err != nil {
			return fmt.Errorf("account %s: %w", account.Name, err)
		}
	}
	run.Notes = raw(next)
	return nil
}

// recordsPass is one span of one account.
type recordsPass struct {
	*Records
	run     *Run
	sitting *Sitting
	account Account
	since   time.Time
	book    *ourBook
	before  recordsNotes
	next    recordsNotes
	failed  int             // objects in a row
	looked  map[string]bool // abouts that were looked at whole
	offsets []time.Duration // between their dates and ours, of known orders
	missing []Line          // ours that their lists did not show; to be asked for by id
}

func (p *recordsPass) look(ctx context.Context) error {
	p.since = p.run.To.Add(-max(p.Lookback, p.run.To.Sub(p.run.From)))
	events, err := p.Ledger.CountSince(ctx, p.account.Supplier, p.since)
	if err != nil {
		return err
	}
	parts := partsOf(events, p.PartSize)
	for number := range parts {
		if err := p.compare(ctx, part{number, parts}); err != nil {
			return err
		}
	}
	p.checkZone()
	return p.again(ctx)
}

// compare compares one part of the objects.
func (p *recordsPass) compare(ctx context.Context, part part) error {
	stopped, err := p.stopped()
	if err != nil {
		return err
	}
	if stopped.beyond(p.account.Name, part) {
		return nil
	}
	book, err := readBook(ctx, p.Ledger, p.account, part, p.run.Span, p.since)
	if err != nil {
		return err
	}
	p.book = book
	for i, obj := range book.visit(p.run.Number, p.Slots, p.alsoVisit()) {
		if stopped.in(p.account.Name, part) && obj.String() <= stopped.Object {
			continue
		}
		if err := p.object(ctx, obj, p.since); p.skip(obj, err) {
			if len(p.next.Skipped) < maxNotes {
				p.next.Skipped[p.account.Name+" "+obj.String()] = true
			}
		} else if err != nil {
			return fmt.Errorf("%s %s: %w", obj.product, service.Tail(obj.key), err)
		}
		if i%markEvery == markEvery-1 {
			if err := p.verify(ctx); err != nil {
				return err
			}
			at := place{p.account.Name, part.number, part.of, obj.String()}
			if err := p.run.Mark(ctx, string(raw(at))); err != nil {
				return err
			}
		}
	}
	if err := p.verify(ctx); err != nil || part.number == part.of-1 {
		return err
	}
	return p.run.Mark(ctx, string(raw(place{p.account.Name, part.number + 1, part.of, ""})))
}

// place is the cursor of a run: the last object that was compared.
type place struct {
	Account string `json:"account"`
	Part    int    `json:"part"`
	Of      int    `json:"of"`
	Object  string `json:"object"`
}

// stopped is where a run that was cut off goes on; the zero place is the beginning.
func (p *recordsPass) stopped() (at place, err error) {
	if p.run.Cursor == "" {
		return at, nil
	}
	if err := json.Unmarshal([]byte(p.run.Cursor), &at); err != nil {
		return at, fmt.Errorf("cursor %.80q: %w", p.run.Cursor, err)
	}
	return at, nil
}

// in says whether a run stopped within this part; were the parts cut differently
// since, its account begins anew.
func (c place) in(account string, part part) bool {
	return c.Account == account && c.Of == part.of && c.Part == part.number
}

// beyond says whether a run stopped behind all of this part.
func (c place) beyond(account string, part part) bool {
	return c.Account > account || c.Account == account && c.Of == part.of && c.Part > part.number
}

// alsoVisit names the objects that the last run left for this one.
func (p *recordsPass) alsoVisit() map[string]bool {
	also := map[string]bool{}
	for about, y := range p.before.Young {
		if strings.HasPrefix(about, p.about("")) {
			also[y.Object] = true
		}
	}
	for name := range p.before.Skipped {
		if obj, ours := strings.CutPrefix(name, p.account.Name+" "); ours {
			also[obj] = true
		}
	}
	return also
}

// born notes how far apart both sides put the making of one order.
func (p *recordsPass) born(ours, theirs Line) {
	if !ours.Born.IsZero() && !theirs.Born.IsZero() && len(p.offsets) < 1000 {
		p.offsets = append(p.offsets, theirs.Born.Sub(ours.Born))
	}
}

// checkZone compares the zone that we take their dates to be in, which no document
// names, with what known orders show.
func (p *recordsPass) checkZone() {
	if len(p.offsets) < 5 {
		return
	}
	slices.Sort(p.offsets)
	off := p.offsets[len(p.offsets)/2].Round(15 * time.Minute)
	p.Metrics.zone.WithLabelValues(p.account.Supplier, p.account.Name).Set(off.Seconds())
	if off != 0 {
		p.Log.Error("the supplier's dates are not in RECON_SUPPLIER_ZONE: by known orders they are ahead of it by this much", "account", p.account.Name, "offset", off)
	}
}

// skip says whether the pass may go on without an object: one card that cannot be
// asked for must not hide all others. It is asked for again in the next run.
func (p *recordsPass) skip(obj object, err error) bool {
	if err == nil {
		p.failed = 0
		return false
	}
	var e *supplier.Error
	if !errors.As(err, &e) || e.Kind == supplier.Busy || e.Kind == supplier.Setup {
		return false // our side, or all of theirs
	}
	if e.Kind != supplier.Refused {
		if p.failed++; p.failed >= maxFailures {
			return false
		}
	}
	p.Metrics.failures.WithLabelValues(JobRecords, "object").Inc()
	p.Log.Warn("could not be compared, will be in the next run", "product", obj.product, "object", service.Tail(obj.key), "account", p.account.Name, "error", err)
	return true
}

func (p *recordsPass) about(rest string) string {
	return p.account.Supplier + "/" + p.account.Name + "/" + rest
}

func (p *recordsPass) aboutOf(obj object, id string) string { return aboutOf(p.about(""), obj, id) }

// aboutOf names one order. Orders of cloud eSIMs and pools are found again only
// through their object, so it stands in the name.
func aboutOf(account string, obj object, id string) string {
	if lookupByID(obj.product) {
		return account + obj.product + "/" + id
	}
	return account + obj.product + "/" + obj.key + "/" + id
}

// raw is v as JSON, for what marshals always.
func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}
