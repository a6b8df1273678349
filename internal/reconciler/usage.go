package reconciler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

// Usage compares the bytes that our CDRs add up to with the supplier's own sums,
// by card, day and month. A day is compared once it is over, and again whenever a
// file with records of it was loaded since. Of a day that differs, the files that may
// explain it are read again, each once.
type Usage struct {
	Accounts  []Account
	Books     UsageBooks
	Bus       Publisher
	Metrics   *Metrics
	Cost      *Cost
	Zone      *time.Location // of the supplier's days
	Tolerance int64          // bytes by which a card's sums may differ
}

// UsageBooks are our sums.
type UsageBooks interface {
	CardUsage(ctx context.Context, supplier, account string, from, to, known time.Time, each func(iccid string, bytes int64) error) error
	UsageOf(ctx context.Context, account string, iccids []string, from, to time.Time) (map[string]int64, error)
	FilesLoadedSince(ctx context.Context, account string, since time.Time) ([]warehouse.File, error)
	FilesSince(ctx context.Context, account string, since time.Time) ([]warehouse.File, error)
}

// knownFor is for how long after its last record or order a card is asked about:
// longer than the longest package.
const knownFor = 400 * 24 * time.Hour

// Look compares the days that ended in the span, those that were loaded anew in
// it, and those that have findings.
func (j *Usage) Look(ctx context.Context, run *Run, sitting *Sitting) error {
	wishes, err := readWishes(run.Notes)
	if err != nil {
		return err
	}
	for _, a := range j.Accounts {
		if a.Usage == nil {
			continue
		}
		p := &usagePass{Usage: j, run: run, sitting: sitting, account: a, looked: map[string]bool{}, wishes: wishes}
		if err := p.look(ctx); err != nil {
			return fmt.Errorf("account %s: %w", a.Name, err)
		}
	}
	run.Notes = raw(wishes.standing(sitting))
	return nil
}

type usagePass struct {
	*Usage
	run     *Run
	sitting *Sitting
	account Account
	looked  map[string]bool // abouts with a finding
	wishes  wishes
}

// stretch is a day or a month in the supplier's zone.
type stretch struct {
	from, to time.Time // to excluded
	month    bool
}

// monthLayout sorts a month behind its days.
const monthLayout = "2006-01-month"

func (s stretch) name() string {
	if s.month {
		return s.from.Format(monthLayout)
	}
	return s.from.Format(time.DateOnly)
}

func (p *usagePass) look(ctx context.Context) error {
	stretches, err := p.stretches(ctx)
	if err != nil {
		return err
	}
	for _, s := range stretches {
		at := p.account.Name + " " + s.name()
		if p.run.Cursor != "" && at <= p.run.Cursor {
			continue
		}
		if err := p.compare(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.name(), err)
		}
		p.run.Notes = raw(p.wishes)
		if err := p.run.Mark(ctx, at); err != nil {
			return err
		}
	}
	return p.again(ctx)
}

// stretches lists what to compare, in order: days before their month.
func (p *usagePass) stretches(ctx context.Context) ([]stretch, error) {
	set := map[string]stretch{}
	add := func(s stretch) { set[s.name()] = s }
	for d := p.day(p.run.From); !d.to.After(p.run.To); d = p.day(d.to) {
		if d.to.After(p.run.From) {
			add(d)
			if d.to.Day() == 1 {
				y, m, _ := d.to.Date()
				add(stretch{midnight(y, m-1, 1, p.Zone), d.to, true})
			}
		}
	}
	files, err := p.Books.FilesLoadedSince(ctx, p.account.Name, p.run.From)
	if err != nil {
		return nil, err
	}
	last := map[string]time.Time{} // of each day: when a file of it was loaded last
	days := map[string]stretch{}
	for _, f := range files {
		if f.FirstHour.IsZero() {
			continue // it has no rows
		}
		for d := p.day(f.FirstHour); !d.from.After(f.LastHour); d = p.day(d.to) {
			days[d.name()] = d
			if f.LoadedAt.After(last[d.name()]) {
				last[d.name()] = f.LoadedAt
			}
		}
	}
	for name, d := range days {
		// Loading goes on after the span: then the day is a later run's.
		if p.run.Holds(last[name]) && !d.to.After(p.run.To) {
			add(d)
		}
	}
	var out []stretch
	for _, name := range slices.Sorted(maps.Keys(set)) {
		out = append(out, set[name])
	}
	return out, nil
}

func (p *usagePass) day(t time.Time) stretch { return dayOf(t, p.Zone) }

// dayOf is the day that t lies in, in a zone whose days may have any length: where
// a clock change skips midnight the day begins at the change.
func dayOf(t time.Time, zone *time.Location) stretch {
	y, m, d := t.In(zone).Date()
	return stretch{from: midnight(y, m, d, zone), to: midnight(y, m, d+1, zone)}
}

// midnight is the first moment of a date. time.Date leaves open on which side of a
// gap it falls: what comes out before the date is moved to the change, and where
// the clock shows midnight twice the first counts.
func midnight(y int, m time.Month, d int, zone *time.Location) time.Time {
	at := time.Date(y, m, d, 0, 0, 0, 0, zone)
	date := time.Date(y, m, d, 0, 0, 0, 0, time.UTC) // normalized
	if start, end := at.ZoneBounds(); before(at, date) {
		return end
	} else if !start.IsZero() {
		_, now := at.Zone()
		_, earlierZone := start.Add(-1).Zone()
		if first := at.Add(time.Duration(now-earlierZone) * time.Second); first.Before(start) && !before(first, date) {
			return first
		}
		if at.After(start) && !before(start, date) && before(start.Add(-1), date) {
			return start // midnight itself was skipped
		}
	}
	return at
}

// before says whether the clock shows an earlier date than date's, which is UTC.
func before(t, date time.Time) bool {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Before(date)
}

// compare asks for every card that may have used anything, a batch at a time.
func (p *usagePass) compare(ctx context.Context, s stretch) error {
	files, err := p.files(ctx, s)
	if err != nil {
		return err
	}
	var cards []string
	ours := map[string]int64{}
	flush := func() error {
		err := p.batch(ctx, s, cards, ours, files)
		cards = cards[:0]
		clear(ours)
		return err
	}
	err = p.Books.CardUsage(ctx, p.account.Supplier, p.account.Name, s.from, s.to, s.to.Add(-knownFor), func(iccid string, bytes int64) error {
		cards = append(cards, iccid)
		ours[iccid] = bytes
		if len(cards) < eiotclub.MaxTrafficCards {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	return p.reread(ctx, s, files)
}

// batch compares some cards' sums over one stretch.
func (p *usagePass) batch(ctx context.Context, s stretch, cards []string, ours map[string]int64, files *filesOf) error {
	if len(cards) == 0 {
		return nil
	}
	theirs, err := p.ask(ctx, cards, s)
	p.Cost.could("cdr/traffic/query", 1)
	if err != nil {
		return err
	}
	p.Metrics.rows.WithLabelValues(JobUsage).Add(float64(len(theirs)))
	for _, card := range cards {
		about := p.about(s.name(), card)
		if s.month && p.daysStand(s, card) {
			p.looked[about] = true
			continue // its days say it already
		}
		var found []wire.Finding
		if d := theirs[card] - ours[card]; d > p.Tolerance {
			files.missing = true
			found = append(found, p.finding(KindUsageMissing, s, card, ours[card], theirs[card], files.explain()))
		} else if -d > p.Tolerance {
			files.surplus = true
			found = append(found, p.finding(KindUsageSurplus, s, card, ours[card], theirs[card], files.explain()))
		}
		if err := p.sitting.Looked(ctx, about, found...); err != nil {
			return err
		}
		if p.sitting.Stands(about) {
			p.looked[about] = true
		}
	}
	return nil
}

func (p *usagePass) ask(ctx context.Context, cards []string, s stretch) (map[string]int64, error) {
	if s.month {
		return p.account.Usage.TrafficMonth(ctx, cards, s.from)
	}
	return p.account.Usage.Traffic(ctx, cards, s.from, s.from)
}

func (p *usagePass) about(name, card string) string {
	return p.account.Supplier + "/" + p.account.Name + "/" + name + "/" + card
}

func (p *usagePass) daysStand(month stretch, card string) bool {
	for d := p.day(month.from); d.from.Before(month.to); d = p.day(d.to) {
		if p.sitting.Stands(p.about(d.name(), card)) {
			return true
		}
	}
	return false
}

func (p *usagePass) finding(kind string, s stretch, card string, ours, theirs int64, explain string) wire.Finding {
	sum := func(bytes int64) []byte {
		return raw(struct {
			Bytes int64 `json:"bytes"`
		}{bytes})
	}
	return wire.Finding{Kind: kind, Supplier: p.account.Supplier, Account: p.account.Name, ICCID: card,
		Window: Span{s.from, s.to}.String(), Ours: sum(ours), Theirs: sum(theirs), Evidence: explain}
}

// again compares the cards and stretches that have findings and were not met.
func (p *usagePass) again(ctx context.Context) error {
	byStretch := map[string][]string{}
	for _, about := range p.sitting.Abouts() {
		rest, ours := strings.CutPrefix(about, p.account.Supplier+"/"+p.account.Name+"/")
		name, card, ok := strings.Cut(rest, "/")
		if ours && ok && !p.looked[about] {
			byStretch[name] = append(byStretch[name], card)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byStretch)) {
		s, err := p.parse(name)
		if err != nil {
			return err
		}
		files, err := p.files(ctx, s)
		if err != nil {
			return err
		}
		for cards := range slices.Chunk(slices.Sorted(slices.Values(byStretch[name])), eiotclub.MaxTrafficCards) {
			ours, err := p.Books.UsageOf(ctx, p.account.Name, cards, s.from, s.to)
			if err != nil {
				return err
			}
			if err := p.batch(ctx, s, cards, ours, files); err != nil {
				return err
			}
		}
		if err := p.reread(ctx, s, files); err != nil {
			return err
		}
	}
	return nil
}

func (p *usagePass) parse(name string) (stretch, error) {
	if first, err := time.Parse(monthLayout, name); err == nil {
		y, m, _ := first.Date()
		return stretch{midnight(y, m, 1, p.Zone), midnight(y, m+1, 1, p.Zone), true}, nil
	}
	date, err := time.Parse(time.DateOnly, name)
	y, m, d := date.Date()
	return stretch{from: midnight(y, m, d, p.Zone), to: midnight(y, m, d+1, p.Zone)}, err
}
