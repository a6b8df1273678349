package reconciler

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier/eiotclub"
)

var errCutOff = errors.New("cut off")

// cutOff is a supplier that is gone after some calls.
type cutOff struct {
	PackageLists
	left  int
	asked map[string]int
}

func (c *cutOff) PackageRecords(ctx context.Context, iccid string, f eiotclub.RecordFilter) ([]eiotclub.Order, int, error) {
	if c.left--; c.left < 0 {
		return nil, 0, errCutOff
	}
	c.asked[iccid]++
	return c.PackageLists.PackageRecords(ctx, iccid, f)
}

// records replaces the job's comparison by one of the test's.
func (r *rig) records(change func(*Records)) *Records {
	j := &Records{Accounts: []Account{r.account()}, Ledger: Ledger{r.bus}, Witness: r.worker.witness, Metrics: r.worker.runner.Metrics,
		Log: r.worker.log, Settle: testSettle, Lookback: 24 * time.Hour, Slots: 1}
	if change != nil {
		change(j)
	}
	r.worker.jobs[JobRecords].Look = j.Look
	return j
}

// TestRecordsResume: a long pass that is cut off goes on at its last mark, in each
// part of a book that is compared in parts.
func TestRecordsResume(t *testing.T) {
	for name, partSize := range map[string]uint64{"whole": 0, "in parts": 90} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			const cards = 130
			for i := range cards {
				r.buy(r.packageRequest(fmt.Sprintf("o-%03d", i), fmt.Sprintf("898830865010%07d", i)))
			}
			for _, id := range []string{"o-000", "o-064", "o-129"} {
				if err := r.sim.SetPrice(id, money2(1000), false); err != nil {
					t.Fatal(err)
				}
			}
			r.sleep(testSettle + time.Minute)
			lists := &cutOff{PackageLists: r.client, left: 70, asked: map[string]int{}}
			r.records(func(j *Records) { j.Accounts[0].Packages, j.PartSize, j.Slots = lists, partSize, 0 })
			if err := r.worker.RunOnce(r.ctx, JobRecords); !errors.Is(err, errCutOff) {
				t.Fatalf("ended with %v", err)
			}
			r.sleep(time.Hour) // the span does not grow meanwhile
			lists.left = 1000
			r.run(JobRecords)
			if len(lists.asked) != cards {
				t.Fatalf("%d cards asked for, want %d", len(lists.asked), cards)
			}
			twice := 0
			for _, n := range lists.asked {
				twice += n - 1
			}
			if partSize == 0 && twice != 70-markEvery {
				t.Errorf("%d cards were asked for twice, want %d", twice, 70-markEvery)
			}
			if twice > markEvery {
				t.Errorf("%d cards were asked for twice: more than lie between two marks", twice)
			}
			want := []string{"order_price o-000 9.50 USD", "order_price o-064 9.50 USD", "order_price o-129 9.50 USD"}
			if diff := cmp.Diff(want, r.standing()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRecordsSeesAWrongZone: known orders tell what no document says.
func TestRecordsSeesAWrongZone(t *testing.T) {
	for name, c := range map[string]struct {
		zone string
		want float64 // seconds that their dates seem to be ahead
	}{
		"as documented nowhere": {"+08:00", 0}, "taken for UTC": {"UTC", 8 * 3600}, "by name": {"Asia/Shanghai", 0}, "off by minutes": {"+05:45", 2.25 * 3600},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			for i := range 8 {
				r.buy(r.packageRequest(fmt.Sprintf("o-%d", i), r.iccid(i)))
			}
			zone, err := ParseZone(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			client := eiotclub.New(eiotclub.Config{BaseURL: r.url, AppKey: r.sim.AppKey(), Secret: r.sim.Secret(), Location: zone})
			r.records(func(j *Records) { j.Accounts[0].Packages = client; j.Lookback = 48 * time.Hour })
			r.sleep(testSettle + time.Minute)
			r.run(JobRecords)
			var m dto.Metric
			if err := r.worker.runner.Metrics.zone.WithLabelValues(order.EIOTCLUB, "default").Write(&m); err != nil {
				t.Fatal(err)
			}
			if got := m.GetGauge().GetValue(); got != c.want {
				t.Errorf("dates are ahead by %v s, want %v", got, c.want)
			}
			if got := r.standing(); len(got) != 0 {
				t.Errorf("a wrong zone made findings: %v", got)
			}
		})
	}
}

func TestParseZone(t *testing.T) {
	for zone, want := range map[string]int{"+08:00": 28800, "-05:30": -19800, "UTC": 0, "+00:00": 0, "Asia/Shanghai": 28800} {
		loc, err := ParseZone(zone)
		if err != nil {
			t.Errorf("%q: %v", zone, err)
			continue
		}
		if _, off := time.Date(2026, 7, 1, 0, 0, 0, 0, loc).Zone(); off != want {
			t.Errorf("%q is %d s, want %d", zone, off, want)
		}
	}
	for _, zone := range []string{"", "Local", "Mars/Olympus", "8", "+8"} {
		if _, err := ParseZone(zone); err == nil {
			t.Errorf("%q was accepted", zone)
		}
	}
}
