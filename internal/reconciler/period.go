package reconciler

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule cuts time into periods: Next is the first boundary after t, and a
// period lies between two boundaries, its end included.
type Schedule interface {
	Next(t time.Time) time.Time
}

// ParseSchedule reads a cron spec of five fields or a descriptor such as @daily
// or @every 5m; all in UTC, whatever the machine's zone is. With @every the
// boundaries are multiples of the interval since 1970, so that every replica,
// and every start of one, cuts alike.
func ParseSchedule(spec string) (Schedule, error) {
	spec = strings.TrimSpace(spec)
	switch {
	case spec == "":
		return nil, fmt.Errorf("schedule is empty")
	case strings.HasPrefix(spec, "TZ=") || strings.HasPrefix(spec, "CRON_TZ="):
		return nil, fmt.Errorf("schedule %q: zones are not accepted, all schedules are in UTC", spec)
	}
	if every, ok := strings.CutPrefix(spec, "@every "); ok {
		d, err := time.ParseDuration(strings.TrimSpace(every))
		if err != nil {
			return nil, fmt.Errorf("schedule %q: %w", spec, err)
		}
		if d < time.Second || d > 366*24*time.Hour {
			return nil, fmt.Errorf("schedule %q: the interval is not 1s to a year", spec)
		}
		return aligned(d), nil
	}
	s, err := cron.ParseStandard(spec)
	if err != nil {
		return nil, fmt.Errorf("schedule %q: %w", spec, err)
	}
	u := utc{s}
	if u.Next(time.Unix(0, 0)).IsZero() {
		return nil, fmt.Errorf("schedule %q never comes", spec)
	}
	return u, nil
}

type aligned time.Duration

func (d aligned) Next(t time.Time) time.Time {
	step := int64(d)
	ns := t.UnixNano()
	r := ns % step
	if r < 0 {
		r += step
	}
	return time.Unix(0, ns-r+step).UTC()
}

// utc keeps a cron schedule out of the local zone and its days of 23 and 25 hours.
type utc struct{ s cron.Schedule }

func (u utc) Next(t time.Time) time.Time { return u.s.Next(t.UTC()) }

// delayed fires a schedule's boundaries later: a period can be compared only
// when both sides had time to settle.
type delayed struct {
	Schedule
	by time.Duration
}

func (d delayed) Next(t time.Time) time.Time { return d.Schedule.Next(t.Add(-d.by)).Add(d.by) }

// Span is a stretch of time, From excluded, To included.
type Span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Holds says whether t lies in the span.
func (s Span) Holds(t time.Time) bool { return t.After(s.From) && !t.After(s.To) }

func (s Span) String() string {
	return s.From.UTC().Format(time.RFC3339) + "/" + s.To.UTC().Format(time.RFC3339)
}

// Due is the span that a run at now has to cover when everything up to done is
// done: from done to the last boundary that lies settle before now, but no more
// whole periods than fit into most (0: all that were missed at once). It is
// false while no period has ended and settled.
func Due(s Schedule, done, now time.Time, settle, most time.Duration) (Span, bool) {
	limit := now.Add(-settle)
	to := s.Next(done)
	if to.IsZero() || to.After(limit) {
		return Span{}, false
	}
	if most == 0 {
		to = last(s, to, limit)
	} else {
		for next := s.Next(to); !next.IsZero() && !next.After(limit) && next.Sub(done) <= most; next = s.Next(to) {
			to = next
		}
	}
	return Span{From: done.UTC(), To: to.UTC()}, true
}

// last is the last boundary not after limit, to being one. After long downtime
// there may be millions of boundaries between: it does not visit each.
func last(s Schedule, to, limit time.Time) time.Time {
	if d, ok := s.(aligned); ok {
		b := d.Next(limit).Add(-time.Duration(d))
		if b.After(to) {
			return b
		}
		return to
	}
	// Look back from the limit, farther each time, until a boundary is found.
	for back := time.Minute; ; back *= 2 {
		from := limit.Add(-back)
		if !from.After(to) {
			from = to
		}
		found := from
		for next := s.Next(found); !next.IsZero() && !next.After(limit); next = s.Next(found) {
			found = next
		}
		if found.After(from) || from.Equal(to) {
			return found
		}
	}
}

// Start is where the first run ever begins: the last boundary before now less
// lookback.
func Start(s Schedule, now time.Time, lookback time.Duration) time.Time {
	at := now.Add(-lookback)
	for back := time.Minute; back < 800*24*time.Hour; back *= 2 {
		b := s.Next(at.Add(-back))
		if !b.IsZero() && !b.After(at) {
			return last(s, b, at).UTC()
		}
	}
	return at.UTC()
}
