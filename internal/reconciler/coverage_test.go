package reconciler

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/warehouse/warehousetest"
	"github.com/simline/simline/internal/wire"
)

func TestHoles(t *testing.T) {
	day := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	at := func(hm string) time.Time {
		c, err := time.Parse("15:04", hm)
		if err != nil {
			t.Fatal(err)
		}
		return day.Add(time.Duration(c.Hour())*time.Hour + time.Duration(c.Minute())*time.Minute)
	}
	for name, c := range map[string]struct {
		windows, until string
		want           string
	}{
		"none loaded":           {"", "09:00", ""},
		"whole":                 {"00:00-01:00 00:30-01:30 01:00-02:00", "02:00", ""},
		"one half hour between": {"00:00-01:00 01:30-02:30", "02:30", "01:00-01:30"},
		"the overlap covers":    {"00:00-01:00 00:30-01:30 01:30-02:30", "02:30", ""},
		"silence since":         {"00:00-01:00", "02:45", "01:00-02:30"},
		"not ended yet":         {"00:00-01:00", "01:29", ""},
		"contained":             {"00:00-04:00 01:00-02:00", "05:00", "04:00-05:00"},
		"two holes":             {"00:00-01:00 02:00-03:00 04:00-05:00", "05:00", "01:00-02:00 03:00-04:00"},
		"odd edges":             {"00:00-01:10 02:20-03:00", "03:00", "01:30-02:00"},
		"ends after until":      {"00:00-01:00 03:00-04:00", "02:00", "01:00-02:00"},
	} {
		t.Run(name, func(t *testing.T) {
			var windows []warehouse.Window
			for _, w := range strings.Fields(c.windows) {
				from, to, _ := strings.Cut(w, "-")
				windows = append(windows, warehouse.Window{Start: at(from), End: at(to)})
			}
			var got []string
			for _, h := range Holes(windows, at(c.until)) {
				got = append(got, h.From.Format("15:04")+"-"+h.To.Format("15:04"))
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("holes %q, want %q", s, c.want)
			}
		})
	}
}

// booksRig is a rig with a ClickHouse.
func booksRig(t *testing.T) (*rig, *warehouse.DB) {
	db, dsn := warehousetest.OpenDSN(t)
	r := newRig(t, func(c *Config) {
		c.ClickHouseDSN = dsn
	})
	return r, db
}

// file records a loaded file.
func (r *rig) file(db *warehouse.DB, from, to, loaded time.Time, state string) {
	r.t.Helper()
	f := warehouse.File{Account: "default", File: fmt.Sprintf("cdr_10001_%s_%s_%s.csv", from.Format("20060102150405"), to.Format("20060102150405"), loaded.Format("20060102150405")),
		SHA256: "00", State: state, Size: 1, WindowStart: from, WindowEnd: to, GeneratedAt: to, FirstHour: from.Truncate(time.Hour), LastHour: to.Add(-time.Second).Truncate(time.Hour),
		FirstLoaded: loaded, LoadedAt: loaded, UpdatedAt: loaded}
	if state == warehouse.FileHeld {
		f.FirstLoaded, f.LoadedAt = time.Time{}, time.Time{}
	}
	if err := db.PutFile(r.ctx, f); err != nil {
		r.t.Fatal(err)
	}
}

func TestCoverage(t *testing.T) {
	r, db := booksRig(t)
	begin := r.clock().Truncate(time.Hour).Add(-4 * time.Hour)
	half := 30 * time.Minute
	load := func(i int, loaded time.Time) {
		from := begin.Add(time.Duration(i) * half)
		r.file(db, from, from.Add(time.Hour), loaded, warehouse.FileLoaded)
	}
	for _, i := range []int{0, 1, 4, 5} { // 00:00-01:30, 02:00-03:30
		load(i, begin.Add(time.Duration(i)*half+65*time.Minute))
	}
	r.mu.Lock()
	r.now = begin.Add(4 * time.Hour)
	r.mu.Unlock()
	r.run(JobCoverage)
	hole := "cdr_window_missing " + Span{begin.Add(90 * time.Minute), begin.Add(120 * time.Minute)}.String()
	if diff := cmp.Diff([]string{hole}, r.standing()); diff != "" {
		t.Fatalf("findings (-want +got):\n%s", diff)
	}
	load(2, r.clock()) // brings 01:30-02:00, late by 90 minutes and more
	r.sleep(half)
	r.run(JobCoverage)
	late := "cdr_window_late " + Span{begin.Add(60 * time.Minute), begin.Add(120 * time.Minute)}.String()
	if diff := cmp.Diff([]string{late}, r.standing()); diff != "" {
		t.Fatalf("after the late file (-want +got):\n%s", diff)
	}
	r.sleep(25 * time.Hour)
	r.run(JobCoverage)
	silence := "cdr_window_missing " + Span{begin.Add(210 * time.Minute), r.clock().Add(-90 * time.Minute).Truncate(half)}.String()
	if diff := cmp.Diff([]string{silence}, r.standing()); diff != "" {
		t.Fatalf("a day later (-want +got):\n%s", diff)
	}
}

func TestUsage(t *testing.T) {
	r, db := booksRig(t)
	today := r.clock().Truncate(24 * time.Hour)
	r.mu.Lock()
	r.now = today.Add(-12 * time.Hour)
	r.mu.Unlock()
	yesterday := today.Add(-24 * time.Hour)
	id := 0
	record := func(card int, at time.Time, ours, theirs int64) {
		t.Helper()
		id++
		if ours > 0 {
			err := db.Conn().Exec(r.ctx, "INSERT INTO simline.cdr (id, start_time, stop_time, iccid, imsi, data_usage, imei, mccmnc, account, file, row_hash) VALUES (?, ?, ?, ?, '', ?, '', '31026', 'default', 'f', ?)",
				int64(id), at, at.Add(time.Minute), r.iccid(card), uint64(ours), uint64(id))
			if err != nil {
				t.Fatal(err)
			}
		}
		if theirs > 0 {
			r.sim.RecordUsage(r.iccid(card), at, theirs)
		}
	}
	for i := range 15 {
		record(i, yesterday.Add(time.Duration(i)*time.Hour), 1000, 1000)
	}
	record(3, yesterday.Add(5*time.Hour), 500, 700)      // missing here
	record(4, yesterday.Add(-time.Minute), 100, 0)       // surplus, the day before
	record(5, yesterday.Add(24*time.Hour), 9, 0)         // today: not over yet
	record(6, yesterday.Add(24*time.Hour-1), 1<<40, 0)   // the day's last moment; surplus
	record(16, yesterday.Add(-40*24*time.Hour), 100, 90) // long ago: not in the span, no file loaded anew
	r.file(db, yesterday.Add(4*time.Hour), yesterday.Add(5*time.Hour), yesterday.Add(6*time.Hour), warehouse.FileHeld)
	r.file(db, yesterday.Add(-time.Hour), yesterday, r.clock(), warehouse.FileLoaded) // touches the day before

	r.mu.Lock()
	r.now = today.Add(testSettle + time.Minute)
	r.mu.Unlock()
	r.run(JobUsage)
	span := func(from time.Time) string { return Span{from, from.Add(24 * time.Hour)}.String() }
	want := []string{"usage_missing " + span(yesterday), "usage_surplus " + span(yesterday), "usage_surplus " + span(yesterday.Add(-24*time.Hour))}
	slices.Sort(want)
	if diff := cmp.Diff(want, r.standing()); diff != "" {
		t.Fatalf("findings (-want +got):\n%s", diff)
	}
	entries, err := r.worker.book.List(r.ctx, JobUsage)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Finding.Kind == KindUsageMissing && (!strings.Contains(e.Finding.Evidence, "(held)") || string(e.Finding.Ours) != `{"bytes":1500}` || string(e.Finding.Theirs) != `{"bytes":1700}`) {
			t.Errorf("finding says %s against %s, %s", e.Finding.Ours, e.Finding.Theirs, e.Finding.Evidence)
		}
	}
	if diff := cmp.Diff(map[string]int{"held": 1, "whole": 0}, r.rereads()); diff != "" {
		t.Errorf("files to be read again (-want +got):\n%s", diff)
	}
	r.sleep(time.Hour)
	r.run(JobUsage) // what did not help is not asked for twice
	if diff := cmp.Diff(map[string]int{"held": 1, "whole": 0}, r.rereads()); diff != "" {
		t.Errorf("files to be read again, an hour later (-want +got):\n%s", diff)
	}
	record(3, yesterday.Add(5*time.Hour+time.Second), 200, 0) // what was missing came
	r.sleep(time.Hour)
	r.run(JobUsage)
	if diff := cmp.Diff(slices.DeleteFunc(want, func(s string) bool { return strings.HasPrefix(s, "usage_missing") }), r.standing()); diff != "" {
		t.Fatalf("after it came (-want +got):\n%s", diff)
	}
}

// rereads counts the wishes for files, those of a whole hour and the others.
func (r *rig) rereads() map[string]int {
	out := map[string]int{"held": 0, "whole": 0}
	for _, w := range messages[wire.CDRToRead](r, bus.StreamCDR, bus.SubjectCDRFile("*")) {
		if !strings.HasPrefix(w.Reread, "reconciler: usage_") {
			r.t.Errorf("%s is to be read again for %q", w.File, w.Reread)
		}
		if w.WindowEnd.Sub(w.WindowStart) == heldWindow {
			out["held"]++
		} else {
			out["whole"]++
		}
	}
	return out
}

// heldWindow tells the files of these tests that were not loaded whole.
const heldWindow = time.Hour

// TestUsageAsksForFiles: files that may explain a difference are read again, each
// once for a day however many cards differ, after a death as well; anew when the
// difference went and came again.
func TestUsageAsksForFiles(t *testing.T) {
	r, db := booksRig(t)
	today := r.clock().Truncate(24 * time.Hour)
	yesterday := today.Add(-24 * time.Hour)
	r.mu.Lock()
	r.now = today.Add(testSettle + time.Minute)
	r.mu.Unlock()
	for i := range 48 { // all whole
		from := yesterday.Add(time.Duration(i) * 30 * time.Minute)
		r.file(db, from, from.Add(30*time.Minute), from.Add(time.Hour), warehouse.FileLoaded)
	}
	cards := map[string]bool{}
	for i := range 150 {
		cards[r.iccid(i)] = true
	}
	bytes := func(n int64) {
		for card := range cards {
			r.sim.RecordUsage(card, yesterday.Add(3*time.Hour), n)
		}
	}
	var values []string // the cards are known
	for card := range cards {
		at := yesterday.Add(time.Hour).Format(time.DateTime)
		values = append(values, fmt.Sprintf("(%d, '%s', '%s', '%s', '', 0, '', '31026', 'default', 'f', %d)", len(values), at, at, card, len(values)))
	}
	if err := db.Conn().Exec(r.ctx, "INSERT INTO simline.cdr (id, start_time, stop_time, iccid, imsi, data_usage, imei, mccmnc, account, file, row_hash) VALUES "+strings.Join(values, ", ")); err != nil {
		t.Fatal(err)
	}
	bytes(5)
	l := &life{left: 2 + 3*len(cards) + 20} // a finding is three writes: it dies among the wishes
	w := mortal(r.newWorker(r.bus, func(c *Config) { c.ClickHouseDSN = r.worker.cfg.ClickHouseDSN }), l)
	if err := w.RunOnce(r.ctx, JobUsage); !errors.Is(err, errDead) {
		t.Fatalf("ended with %v", err)
	}
	r.run(JobUsage)
	if got := r.rereads(); got["held"] != 0 || got["whole"] != 48 {
		t.Fatalf("%v files are to be read again, want all 48 of the day once", got)
	}
	if n := len(r.standing()); n != len(cards) {
		t.Fatalf("%d findings of %d cards", n, len(cards))
	}
	for range 2 {
		r.sleep(time.Hour)
		r.run(JobUsage)
	}
	if got := r.rereads(); got["whole"] != 48 {
		t.Fatalf("%v files after more runs: it loops", got)
	}
	bytes(-5) // agrees
	r.sleep(time.Hour)
	r.run(JobUsage)
	if got := r.standing(); len(got) != 0 {
		t.Fatalf("findings %v", got)
	}
	err := db.Conn().Exec(r.ctx, "INSERT INTO simline.cdr (id, start_time, stop_time, iccid, imsi, data_usage, imei, mccmnc, account, file, row_hash) VALUES (9999, ?, ?, ?, '', 7, '', '31026', 'default', 'f', 1)",
		yesterday.Add(2*time.Hour), yesterday.Add(2*time.Hour), r.iccid(0)) // only what is not whole can explain a surplus
	if err != nil {
		t.Fatal(err)
	}
	from := yesterday.Add(4 * time.Hour)
	r.file(db, from, from.Add(heldWindow), r.clock(), warehouse.FileWithRejects)
	r.sleep(time.Hour)
	r.run(JobUsage)
	if got := r.rereads(); got["whole"] != 48 || got["held"] != 1 {
		t.Fatalf("%v files for a surplus, want the one that is not whole", got)
	}
}
