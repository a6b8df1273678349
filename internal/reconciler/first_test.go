package reconciler

import (
	"testing"
	"time"
)

// TestAJobThatNeverRanIsDueAtOnce: whatever its interval, settle time and
// lookback, and at whatever moment it is asked.
func TestAJobThatNeverRanIsDueAtOnce(t *testing.T) {
	for _, spec := range []string{"@every 1s", "@every 2s", "@every 5m", "@hourly", "@daily", "17 3 * * *", "0 4 1 * *"} {
		s, err := ParseSchedule(spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, settle := range []time.Duration{0, time.Second, 3 * time.Second, time.Hour, 26 * time.Hour} {
			for _, lookback := range []time.Duration{0, time.Minute, 48 * time.Hour} {
				j := &Job{Name: "j", Schedule: s, Settle: settle, Lookback: lookback}
				for _, now := range []time.Time{time.Date(2026, 3, 29, 1, 0, 0, 1, time.UTC), time.Date(2026, 11, 23, 2, 50, 46, 5e8, time.UTC)} {
					span, ok := j.due(Progress{}, now)
					if !ok || !span.To.After(span.From) || span.To.After(now.Add(-settle)) {
						t.Errorf("%s settle %s lookback %s at %s: %v %v", spec, settle, lookback, now, span, ok)
					}
				}
			}
		}
	}
}
