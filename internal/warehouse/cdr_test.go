package warehouse_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/cdr/cdrgen"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/warehouse/warehousetest"
)

func rowsOf(t *testing.T, f cdrgen.File) []cdr.Row {
	t.Helper()
	var file bytes.Buffer
	if err := f.Write(&file); err != nil {
		t.Fatal(err)
	}
	d := cdr.NewDecoder(&file, cdr.Rules{}, func(r cdr.Reject) error { return fmt.Errorf("reject %v", r) })
	rows := make([]cdr.Row, f.Rows)
	if n, err := d.Read(rows); err != nil || n != f.Rows {
		t.Fatal(n, err)
	}
	var s cdr.Sorter
	return s.Sort(rows)
}

func one[T any](t *testing.T, db *warehouse.DB, query string, args ...any) T {
	t.Helper()
	var v T
	if err := db.Conn().QueryRow(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

func TestSchemaIsDocumented(t *testing.T) {
	db := warehousetest.Open(t)
	// A dictionary's columns cannot carry comments.
	const ours = "database IN ('simline', 'mart') AND table != 'network'"
	if got := one[string](t, db, "SELECT arrayStringConcat(groupArray(database || '.' || table || '.' || name), ' ') FROM system.columns WHERE comment = '' AND "+ours); got != "" {
		t.Errorf("columns without a comment: %s", got)
	}
	if got := one[string](t, db, "SELECT arrayStringConcat(groupArray(database || '.' || name), ' ') FROM system.tables WHERE comment = '' AND database IN ('simline', 'mart')"); got != "" {
		t.Errorf("tables without a comment: %s", got)
	}
	if got := one[string](t, db, "SELECT arrayStringConcat(groupArray(table || '.' || name), ' ') FROM system.columns WHERE type LIKE '%Nullable%' AND "+ours); got != "" {
		t.Errorf("Nullable columns: %s", got)
	}
	if got := one[string](t, db, "SELECT arrayStringConcat(groupArray(table || '.' || name), ' ') FROM system.columns WHERE type LIKE 'DateTime%' AND type NOT LIKE '%UTC%' AND "+ours+" AND table != 'schema_versions'"); got != "" {
		t.Errorf("times that are not UTC: %s", got)
	}
}

// Both ways of inserting and both ways of reading must say the same.
func TestInsertAndRead(t *testing.T) {
	db := warehousetest.Open(t)
	rows := rowsOf(t, cdrgen.File{Rows: 40_000, Cards: 500})
	half := len(rows) / 2
	version := warehouse.Version(cdrgen.Window.Generated, 3)
	b := warehouse.Batch{Account: "default", File: "a.csv", Version: version, Token: "1"}
	for range 2 { // a repeat changes nothing, not even before a merge
		if err := db.InsertCDR(t.Context(), b, rows[:half]); err != nil {
			t.Fatal(err)
		}
	}
	columns := db.OverColumns()
	b.Token = "2"
	for range 2 {
		if err := columns.InsertCDR(t.Context(), b, rows[half:]); err != nil {
			t.Fatal(err)
		}
	}
	if n := one[uint64](t, db, "SELECT count() FROM simline.cdr"); n != uint64(len(rows)) {
		t.Fatalf("%d rows, want %d", n, len(rows))
	}

	var want int64
	ids := make([]int64, len(rows))
	byID := map[int64]cdr.Row{}
	for i := range rows {
		want += rows[i].Usage
		ids[i] = rows[i].ID
		byID[rows[i].ID] = rows[i]
	}
	if sum := one[uint64](t, db, "SELECT sum(bytes) FROM mart.usage_hourly"); sum != uint64(want) {
		t.Fatalf("SUM(bytes) = %d, want %d", sum, want)
	}
	live, err := db.LiveRecords(t.Context(), "default", ids)
	if err != nil {
		t.Fatal(err)
	}
	for id, row := range byID {
		got := live[id][0]
		if got.File != "a.csv" || got.Version != version || got.Row != row {
			t.Fatalf("id %d: %+v, want %+v", id, got.Row.Record(), row.Record())
		}
	}

	all := warehouse.StoredRange{Account: "default", MinID: ids[0], MaxID: ids[0]}
	for _, id := range ids {
		all.MinID, all.MaxID = min(all.MinID, id), max(all.MaxID, id)
	}
	read := func(db *warehouse.DB, r warehouse.StoredRange) map[int64]warehouse.Stored {
		out := map[int64]warehouse.Stored{}
		if err := db.ReadStored(t.Context(), r, func(s warehouse.Stored) { out[s.ID] = s }); err != nil {
			t.Fatal(err)
		}
		return out
	}
	raw := read(db, all)
	if len(raw) != len(rows) || raw[ids[7]] != (warehouse.Stored{ID: ids[7], Hash: byID[ids[7]].Hash, Version: version}) {
		t.Fatalf("%d read, %+v", len(raw), raw[ids[7]])
	}
	if diff := cmp.Diff(raw, read(columns, all)); diff != "" {
		t.Fatal(diff)
	}
	classes := 0
	for c := range 3 {
		all.Class, all.Of = c, 3
		for id := range read(db, all) {
			if warehouse.Class(id, 3) != c {
				t.Fatalf("id %d in class %d", id, c)
			}
			classes++
		}
	}
	if classes != len(rows) {
		t.Fatalf("three classes hold %d of %d", classes, len(rows))
	}
	all.Of = 0
	if n, err := db.CountStored(t.Context(), all); err != nil || n != int64(len(rows)) {
		t.Fatal(n, err)
	}

	chunks := [][]int64{ids[:10], ids[10:15], nil}
	named := 0
	err = db.ReadNamed(t.Context(), "load-1", all, func() ([]int64, error) {
		c := chunks[0]
		chunks = chunks[1:]
		return c, nil
	}, func(warehouse.Stored) { named++ })
	if err != nil || named != 15 {
		t.Fatalf("%d of 15 named ids, %v", named, err)
	}
	if n := one[uint64](t, db, "SELECT count() FROM simline.cdr_probe"); n != 0 {
		t.Fatalf("%d ids left in the scratch table", n)
	}
}

// A correction that moves a record to another hour or card takes effect in one
// insert, and what lies beneath never shows.
func TestTombstone(t *testing.T) {
	db := warehousetest.Open(t)
	old := cdrgen.Window.Start
	r := cdr.Record{ID: 1, Start: old, Stop: old.Add(time.Minute), ICCID: "8988308650100524999", Usage: 100, MCCMNC: "46001"}
	moved := r
	moved.Start, moved.Usage = old.Add(-26*time.Hour), 70
	insert := func(version int64, rows ...cdr.Row) {
		t.Helper()
		if err := db.InsertCDR(t.Context(), warehouse.Batch{Account: "default", File: "f", Version: version, Token: fmt.Sprint(version)}, rows); err != nil {
			t.Fatal(err)
		}
	}
	check := func(wantBytes, wantRecords uint64) {
		t.Helper()
		if b, n := one[uint64](t, db, "SELECT sum(bytes) FROM mart.usage_hourly"), one[uint64](t, db, "SELECT sum(records) FROM mart.usage_daily"); b != wantBytes || n != wantRecords {
			t.Fatalf("bytes %d, records %d; want %d, %d", b, n, wantBytes, wantRecords)
		}
	}
	insert(1000, r.Row(1))
	check(100, 1)
	gone := r.Row(1)
	gone.Deleted = true
	insert(2000, moved.Row(2), gone)
	check(70, 1)
	insert(1000, r.Row(1)) // the old file again
	check(70, 1)
	back := moved.Row(2)
	back.Deleted = true
	insert(3000, back, r.Row(1))
	check(100, 1)
	live, err := db.LiveRecords(t.Context(), "default", []int64{1, 2})
	if err != nil || len(live) != 1 || len(live[1]) != 1 || live[1][0].Version != 3000 || live[1][0].Row.Hash != 1 {
		t.Fatalf("live %+v, %v", live, err)
	}
}

// A day that was sealed by a node whose clock is ahead is opened all the same.
func TestDaySealedWithTheClockAhead(t *testing.T) {
	t.Parallel()
	db := warehousetest.Open(t)
	day := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	if err := db.Conn().Exec(t.Context(), "INSERT INTO simline.usage_days (account, day, open, version) SELECT 'ahead', '2026-01-15', 0, now64(6, 'UTC') + INTERVAL 3 MINUTE"); err != nil {
		t.Fatal(err)
	}
	if err := db.OpenDays(t.Context(), "ahead", []time.Time{day, day.AddDate(0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	if got := one[string](t, db, "SELECT arrayStringConcat(arraySort(groupArray(concat(toString(day), ' ', toString(open), ' ', toString(version > now64(6, 'UTC'))))), ', ') FROM simline.usage_days FINAL WHERE account = 'ahead'"); got !=
		"2026-01-15 1 1, 2026-01-16 1 0" {
		t.Errorf("days %q, want both open, the second as of now", got)
	}
}

// The daily marts say the same while a day is open, sealed, and open again.
func TestSealedDaysSayTheSame(t *testing.T) {
	db := warehousetest.Open(t)
	day1 := cdrgen.Window
	day0 := day1
	day0.Start, day0.End = day1.Start.AddDate(0, 0, -1), day1.End.AddDate(0, 0, -1)
	var want uint64
	load := func(account string, f cdrgen.File, token string) {
		t.Helper()
		rows := rowsOf(t, f)
		var days []time.Time
		for i := range rows {
			want += uint64(rows[i].Usage)
			days = append(days, time.Unix(int64(rows[i].Start), 0).UTC().Truncate(24*time.Hour))
		}
		if err := db.OpenDays(t.Context(), account, days[:1]); err != nil {
			t.Fatal(err)
		}
		if err := db.OpenDays(t.Context(), account, days[len(days)-1:]); err != nil {
			t.Fatal(err)
		}
		if err := db.InsertCDR(t.Context(), warehouse.Batch{Account: account, File: "f", Version: 5, Token: token}, rows); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		t.Helper()
		for _, mart := range []string{"usage_hourly", "usage_daily", "usage_monthly", "usage_by_country_daily", "usage_by_operator_daily", "session_quality", "card_last_seen"} {
			if got := one[uint64](t, db, "SELECT sum(bytes) FROM mart."+mart); got != want {
				t.Fatalf("%s: SUM(bytes) of %s = %d, want %d", when, mart, got, want)
			}
		}
	}
	load("default", cdrgen.File{Rows: 500, Cards: 50, Name: day0}, "a")
	load("second", cdrgen.File{Rows: 500, Cards: 50, Name: day0, FirstID: 5000, Seed: 1}, "b")
	load("default", cdrgen.File{Rows: 500, Cards: 50, Name: day1, FirstID: 9000}, "c")
	check("all open")
	days, err := db.QuietDays(t.Context(), "default", 0)
	if err != nil || len(days) != 3 { // records of the window began the day before it, too
		t.Fatalf("quiet days %v, %v", days, err)
	}
	if later, err := db.QuietDays(t.Context(), "default", time.Hour); err != nil || len(later) != 0 {
		t.Fatalf("days quiet for an hour: %v, %v", later, err)
	}
	for _, d := range days {
		if err := db.SealDay(t.Context(), "default", d); err != nil {
			t.Fatal(err)
		}
	}
	check("one account sealed")
	if n := one[uint64](t, db, "SELECT count() FROM simline.usage_days FINAL WHERE open = 0"); n != 3 {
		t.Fatalf("%d days sealed, want 3", n)
	}
	load("default", cdrgen.File{Rows: 100, Cards: 50, Name: day1, FirstID: 20_000, Seed: 2}, "d")
	check("opened again")
	days, err = db.QuietDays(t.Context(), "default", 0)
	if err != nil || len(days) == 0 {
		t.Fatal(days, err)
	}
	for _, d := range days {
		if err := db.SealDay(t.Context(), "default", d); err != nil {
			t.Fatal(err)
		}
	}
	check("sealed again")
	if got := one[uint64](t, db, "SELECT count() FROM mart.usage_by_country_daily WHERE country_code = '' OR country = ''"); got != 0 {
		t.Errorf("%d rows without a country", got)
	}
	// All cards of the day fit: together they are the day, in order of their bytes.
	if got := one[string](t, db, "SELECT concat(toString(max(place) = count() AND count() = uniqExact(iccid, account)), ' ', toString(arraySort(x -> -x, groupArray(bytes)) = arrayMap(x -> x.2, arraySort(groupArray((place, bytes))))), ' ', "+
		"toString(sum(bytes) = (SELECT sum(bytes) FROM mart.usage_daily WHERE event_date = '2026-01-15'))) FROM mart.top_cards_daily WHERE event_date = '2026-01-15'"); got != "1 1 1" {
		t.Errorf("the heaviest cards of a day: numbered, in order, whole: %s", got)
	}
	// A condition on the day reaches the tables through every view.
	for _, mart := range []string{"usage_hourly", "usage_daily", "usage_by_country_daily", "usage_by_operator_daily", "top_cards_daily", "session_quality"} {
		plan, err := db.Conn().Query(t.Context(), "EXPLAIN indexes = 1 SELECT * FROM mart."+mart+" WHERE event_date = '2026-01-15'")
		if err != nil {
			t.Fatal(err)
		}
		reads, reached := 0, 0
		for plan.Next() {
			var line string
			if err := plan.Scan(&line); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(line, "ReadFromMergeTree") {
				reads++
			}
			if strings.Contains(line, "Condition:") && strings.Contains(line, "in [20468, 20468]") && !strings.Contains(line, "toYYYYMM") {
				reached = max(reached, reads)
			}
		}
		if reads == 0 || reached < reads {
			t.Errorf("mart.%s: the day reaches %d of %d tables", mart, reached, reads)
		}
	}
}

func TestFilesAndCoverage(t *testing.T) {
	db := warehousetest.Open(t)
	base := cdrgen.Window
	at := func(minutes int) time.Time { return base.Start.Add(time.Duration(minutes) * time.Minute) }
	put := func(from, to, loaded int, state string) warehouse.File {
		t.Helper()
		n := cdr.Name{Account: "10001", Start: at(from), End: at(to), Generated: at(to + 30)}
		f := warehouse.File{Account: "default", File: n.String(), SHA256: fmt.Sprintf("%064d", from), State: state, Size: 123, WindowStart: n.Start, WindowEnd: n.End,
			GeneratedAt: n.Generated, Lines: 11, Rows: 10, Inserted: 7, Known: 2, Rejects: 1, Conflicts: 1, Outside: 3, Bytes: 1 << 40,
			FirstHour: at(0), LastHour: at(60), FirstLoaded: at(loaded), LoadedAt: at(loaded), UpdatedAt: at(loaded)}
		for range 2 {
			if err := db.PutFile(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
		return f
	}
	first := put(0, 60, 95, warehouse.FileLoaded) // 0-30 only overlapped, 30-60 on time
	put(30, 90, 500, warehouse.FileWithRejects)   // 60-90 late
	put(120, 180, 200, warehouse.FileLoaded)      // 90-120 missing, 120-150 only overlapped
	put(180, 240, 0, warehouse.FileHeld)          // covers nothing
	put(200, 210, 215, warehouse.FileLoaded)      // less than half an hour: covers nothing
	got, err := db.FilesNamed(t.Context(), "default", first.File)
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	if diff := cmp.Diff(first, got[0]); diff != "" {
		t.Fatal(diff)
	}
	windows, err := db.LoadedWindows(t.Context(), "default")
	if err != nil || len(windows) != 4 || !windows[0].Start.Equal(at(0)) || !windows[0].End.Equal(at(60)) {
		t.Fatal(windows, err)
	}
	rows, err := db.Conn().Query(t.Context(), "SELECT status, files, with_rejects FROM mart.cdr_coverage WHERE account = 'default' ORDER BY event_time LIMIT 7")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var status string
		var files uint64
		var bad uint8
		if err := rows.Scan(&status, &files, &bad); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprint(status, files, bad))
	}
	want := []string{"only_overlapped 1 0", "on_time 2 1", "late 1 1", "missing 0 0", "only_overlapped 1 0", "on_time 1 0", "missing 0 0"}
	for i := range want {
		want[i] = fmt.Sprint(split3(want[i])...)
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Fatal(diff)
	}
	// A worker that allows more than 90 minutes says so, once.
	for range 2 {
		if err := db.SayLateAfter(t.Context(), 7*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if got := one[string](t, db, "SELECT arrayStringConcat(groupArray(status), ' ') FROM (SELECT status FROM mart.cdr_coverage ORDER BY event_time LIMIT 4)"); got != "only_overlapped on_time on_time missing" {
		t.Fatalf("with CDR_LATE_AFTER=7h: %s", got)
	}
	if n := one[uint64](t, db, "SELECT count() FROM simline.cdr_terms"); n != 1 {
		t.Fatalf("said %d times", n)
	}
	if got := one[time.Time](t, db, "SELECT event_time FROM mart.data_freshness WHERE account = 'default'"); !got.Equal(at(90)) {
		t.Fatalf("complete up to %s, want %s", got, at(90))
	}
	if got := one[uint64](t, db, "SELECT gaps FROM mart.data_freshness WHERE account = 'default'"); got != 1 {
		t.Fatalf("%d gaps, want 1", got)
	}
}

func split3(s string) []any {
	var a string
	var b uint64
	var c uint8
	if _, err := fmt.Sscan(s, &a, &b, &c); err != nil {
		panic(err)
	}
	return []any{a, b, c}
}

func TestConfirmedAndConflicts(t *testing.T) {
	db := warehousetest.Open(t)
	for i, v := range []int64{2000, 3000} {
		ids := []int64{5, -7, 5, 900_000 + int64(i)}
		if err := db.InsertConfirmed(t.Context(), warehouse.Batch{Account: "default", File: "f", Version: v, Token: fmt.Sprint(v)}, 0, ids); err != nil {
			t.Fatal(err)
		}
	}
	// Files of any age may be backfilled: what was noted of them today does not expire.
	if err := db.Conn().Exec(t.Context(), "OPTIMIZE TABLE simline.cdr_confirmed FINAL"); err != nil {
		t.Fatal(err)
	}
	got, err := db.ConfirmedSince(t.Context(), "default", 2500, []int64{5, -7, 900_000, 6})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int64]int64{5: 3000, -7: 3000}, got); diff != "" {
		t.Fatal(diff)
	}
	rows := rowsOf(t, cdrgen.File{Rows: 2})
	c := warehouse.Conflict{Kept: warehouse.Versioned{Row: rows[0], File: "new", Version: 2}, Lost: warehouse.Versioned{Row: rows[1], File: "old", Version: 1}}
	for range 2 {
		if err := db.InsertConflicts(t.Context(), "default", "t", []warehouse.Conflict{c}, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := db.InsertRejects(t.Context(), warehouse.File{Account: "default", File: "f", SHA256: "s"}, 0, []cdr.Reject{{Line: 2, Raw: "x'\\", Reason: cdr.ReasonID}}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if n := one[uint64](t, db, "SELECT count() FROM simline.cdr_conflicts WHERE kept_file = 'new' AND lost_file = 'old'"); n != 1 {
		t.Fatalf("%d conflicts, want 1", n)
	}
	if raw := one[string](t, db, "SELECT raw FROM simline.cdr_rejects WHERE line = 2 AND reason = 'id'"); raw != "x'\\" {
		t.Fatalf("raw %q", raw)
	}
	if n := one[uint64](t, db, "SELECT count() FROM mart.cdr_rejects WHERE line = 2"); n != 1 {
		t.Fatalf("%d rejects, want 1", n)
	}
}

func TestPackedIDs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ids := rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(-20, 200), rapid.Int64()), 1, 100).Draw(rt, "ids")
		want := map[int64]bool{}
		for _, id := range ids {
			want[id] = true
		}
		got := map[int64]bool{}
		last := int64(0)
		if err := warehouse.UnpackIDs(warehouse.PackIDs(ids), func(id int64) {
			if len(got) > 0 && id <= last {
				rt.Fatalf("%d after %d", id, last)
			}
			got[id], last = true, id
		}); err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func TestStoredEndsWithinARow(t *testing.T) {
	err := warehouse.DecodeStored(bytes.NewReader(make([]byte, 2*warehouse.StoredWidth+3)), func(warehouse.Stored) {})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("error %v", err)
	}
}

func TestDSN(t *testing.T) {
	for _, dsn := range []string{"", "localhost:9000", "postgres://h/x", "http://", "clickhouse://u:secret@h:9000/?dial_timeout=x"} {
		if _, err := warehouse.Open(dsn); !errors.Is(err, warehouse.ErrDSN) || bytes.Contains([]byte(err.Error()), []byte("secret")) {
			t.Errorf("Open(%q): %v", dsn, err)
		}
	}
	if db, err := warehouse.Open("clickhouse://u:p@127.0.0.1:9000/x"); err != nil || db.HTTP() {
		t.Errorf("native: %v", err)
	}
}
