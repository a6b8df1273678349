package reconciler

import (
	"testing"
	"time"
)

// TestDaysOfEveryZone: whatever a zone does to its clock, at midnight as well, its
// days follow each other without a gap or an overlap, each under one name, and are
// found again by it; ten years and some of the oddest moments before them.
func TestDaysOfEveryZone(t *testing.T) {
	type span struct{ from, to time.Time }
	odd := map[string]span{
		"Pacific/Apia":      {time.Date(2011, 12, 1, 0, 0, 0, 0, time.UTC), time.Date(2012, 1, 31, 0, 0, 0, 0, time.UTC)}, // a day that was not
		"America/Sao_Paulo": {time.Date(2017, 9, 1, 0, 0, 0, 0, time.UTC), time.Date(2019, 3, 1, 0, 0, 0, 0, time.UTC)},   // no midnight
		"Asia/Shanghai":     {time.Date(1986, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1992, 1, 1, 0, 0, 0, 0, time.UTC)},
		"America/Havana":    {time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2014, 1, 1, 0, 0, 0, 0, time.UTC)}, // midnight skipped, and twice
	}
	checked := 0
	for _, name := range zones(t) {
		loc, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		spans := []span{}
		if s, ok := odd[name]; ok {
			spans = append(spans, s)
		}
		// Only days near a change can be odd.
		end := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		for _, change := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).In(loc).ZoneBounds(); !change.IsZero() && change.Before(end); _, change = change.ZoneBounds() {
			spans = append(spans, span{change.Add(-72 * time.Hour), change.Add(72 * time.Hour)})
		}
		p := &usagePass{Usage: &Usage{Zone: loc}}
		for _, s := range spans {
			seen := map[string]bool{}
			for d := p.day(s.from); d.from.Before(s.to); {
				checked++
				next := p.day(d.to)
				if !next.from.Equal(d.to) || !d.to.After(d.from) {
					t.Fatalf("%s: after %s to %s comes the day from %s", name, d.from, d.to, next.from)
				}
				if seen[d.name()] {
					t.Fatalf("%s: two days are called %s", name, d.name())
				}
				seen[d.name()] = true
				for _, at := range []time.Time{d.from, d.to.Add(-time.Nanosecond)} {
					if in := p.day(at); !in.from.Equal(d.from) || !in.to.Equal(d.to) || at.In(loc).Format(time.DateOnly) != d.name() {
						t.Fatalf("%s: %s lies in %s to %s, not in the day %s to %s", name, at, in.from, in.to, d.from, d.to)
					}
				}
				again, err := p.parse(d.name())
				if err != nil || !again.from.Equal(d.from) || !again.to.Equal(d.to) {
					t.Fatalf("%s: %s is %s to %s, not %s to %s (%v)", name, d.name(), again.from, again.to, d.from, d.to, err)
				}
				d = next
			}
		}
	}
	if checked < 1000 {
		t.Fatalf("only %d days were checked", checked)
	}
	t.Log(checked, "days")
}
