package reconciler

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
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
	Settle   time.Duration
	Lookback time.Duration
	// Slots spreads the cards that were quiet over this many runs.
	Slots int
}

// markEvery is how many objects are looked at between two marks of the cursor.
const markEvery = 50

// recordsNotes is what one run leaves for the next: differences that were too
// young to count, by what they are about, with where and when they were first met.
type recordsNotes struct {
	Young map[string]young `json:"young,omitempty"`
}

type young struct {
	Object string    `json:"object"`
	Since  time.Time `json:"since"`
}

// maxYoung bounds the notes; what falls out is met again when its card is.
const maxYoung = 2000

// Look does one span.
func (j *Records) Look(ctx context.Context, run *Run, sitting *Sitting) error {
	var notes recordsNotes
	if len(run.Notes) > 0 {
		if err := json.Unmarshal(run.Notes, &notes); err != nil {
			return fmt.Errorf("notes: %w", err)
		}
	}
	next := recordsNotes{Young: map[string]young{}}
	for _, account := range j.Accounts {
		if account.Packages == nil {
			continue
		}
		p := &recordsPass{Records: j, run: run, sitting: sitting, account: account, before: notes.Young, young: next.Young, looked: map[string]bool{}}
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
	before  map[string]young
	young   map[string]young
	looked  map[string]bool // abouts that were looked at whole
	missing []Line          // ours that their lists did not show; to be asked for by id
}

func (p *recordsPass) look(ctx context.Context) error {
	p.since = p.run.To.Add(-max(p.Lookback, p.run.To.Sub(p.run.From)))
	book, err := readBook(ctx, p.Ledger, p.account, p.run.Span, p.since)
	if err != nil {
		return err
	}
	p.book = book
	also := map[string]bool{}
	for about, y := range p.before {
		if strings.HasPrefix(about, p.about("")) {
			also[y.Object] = true
		}
	}
	for i, obj := range book.visit(p.run.Number, p.Slots, also) {
		at := p.account.Name + " " + obj.String()
		if p.run.Cursor != "" && at <= p.run.Cursor {
			continue
		}
		if err := p.object(ctx, obj, p.since); err != nil {
			return fmt.Errorf("%s …%s: %w", obj.product, obj.key[max(0, len(obj.key)-4):], err)
		}
		if i%markEvery == markEvery-1 {
			if err := p.verify(ctx); err != nil {
				return err
			}
			if err := p.run.Mark(ctx, at); err != nil {
				return err
			}
		}
	}
	if err := p.verify(ctx); err != nil {
		return err
	}
	return p.again(ctx)
}

func (p *recordsPass) about(rest string) string {
	return p.account.Supplier + "/" + p.account.Name + "/" + rest
}

// aboutOf names one order. Orders of cloud eSIMs and pools are found again only
// through their object, so it stands in the name.
func (p *recordsPass) aboutOf(obj object, id string) string {
	if lookupByID(obj.product) {
		return p.about(obj.product + "/" + id)
	}
	return p.about(obj.product + "/" + obj.key + "/" + id)
}

func (p *recordsPass) asked(endpoint string, cost tally) {
	p.Metrics.asked(JobRecords, endpoint, cost)
}

// raw is v as JSON, for what marshals always.
func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}
