package cdrpull

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

// The line, from a directory to the marts: two overlapping files, the second
// with a bad row, a long session and a new record.
func TestOverlapCountsOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	long := record(5, 40, 500)
	long.Start = at(-600)
	first := csv(record(1, 5, 100), record(2, 35, 200))
	bad := strings.Replace(string(record(9, 50, 1).AppendCSV(nil)), "46001", "4600X", 1)
	second := csv(record(2, 35, 200), record(3, 65, 300), record(4, 66, 50), record(6, 67, 1), long) + bad
	r.write(fileName(0, 60, 90), first)
	r.start(r.worker(r.config()))
	r.loaded(1)
	r.write(fileName(30, 90, 120), second)
	got := r.loaded(2)

	want := []wire.CDRLoaded{
		{CDRFile: wire.CDRFile{Account: "default", File: fileName(0, 60, 90), Size: int64(len(first)), WindowStart: at(0), WindowEnd: at(60), GeneratedAt: at(90)},
			Rows: 2, Inserted: 2, Bytes: 300, LoadedAt: now},
		{CDRFile: wire.CDRFile{Account: "default", File: fileName(30, 90, 120), Size: int64(len(second)), WindowStart: at(30), WindowEnd: at(90), GeneratedAt: at(120)},
			Rows: 6, Inserted: 4, Known: 1, Rejects: 1, Bytes: 1051, LoadedAt: now},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(wire.CDRLoaded{}, "SHA256")); diff != "" {
		t.Fatal(diff)
	}
	if len(got[0].SHA256) != 64 {
		t.Errorf("sha256 %q", got[0].SHA256)
	}
	if r.usage() != 1151 || r.records() != 6 {
		t.Fatalf("%d bytes in %d records, want 1151 in 6", r.usage(), r.records())
	}
	if got := one[string](t, r.db, "SELECT concat(account, ' ', file, ' ', toString(line), ' ', reason, ' ', raw) FROM simline.cdr_rejects"); got !=
		"default "+fileName(30, 90, 120)+" 7 mccmnc "+strings.TrimSpace(bad) {
		t.Errorf("reject %q", got)
	}
	if got := one[string](t, r.db, "SELECT groupConcat(',')(state) FROM (SELECT state FROM mart.cdr_files ORDER BY file)"); got != "loaded,with_rejects" {
		t.Errorf("states %s", got)
	}
	if got := one[uint64](t, r.db, "SELECT sum(outside) FROM mart.cdr_files"); got != 1 {
		t.Errorf("%d rows outside, want 1", got)
	}
}

func TestAFileIsTakenOnlyWhole(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	whole := csv(record(1, 5, 100), record(2, 35, 200))
	name := fileName(0, 60, 90)
	r.write(name, whole[:len(whole)-40])
	r.start(r.worker(r.config()))
	r.wait(name, stateUnended)
	if r.records() != 0 {
		t.Fatal("rows of a cut file are in")
	}
	r.write(name, whole)
	r.wait(name, stateLoaded)
	if r.usage() != 300 || r.records() != 2 {
		t.Fatalf("%d bytes in %d records, want 300 in 2", r.usage(), r.records())
	}
	if n := one[uint64](t, r.db, "SELECT count() FROM simline.cdr_rejects"); n != 0 {
		t.Fatalf("%d rejects of a file that was cut", n)
	}
}

// A last row without a line end may be whole or cut in its last field: it counts
// after a long while, and what it became later replaces it.
func TestLastRowWithoutLineEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rec := record(2, 35, 200)
	rec.MCCMNC = "310260"
	whole := csv(record(1, 5, 100), rec)
	name := fileName(0, 60, 90)
	r.write(name, whole[:len(whole)-2]) // mccmnc reads 31026
	w := r.worker(r.config())
	w.clock = time.Now // patience is measured by the clock
	r.start(w)
	r.wait(name, stateUnended)
	r.wait(name, stateLoaded)
	if got := one[string](t, r.db, "SELECT mccmnc FROM simline.cdr FINAL WHERE id = 2"); got != "31026" {
		t.Fatalf("mccmnc %s", got)
	}
	r.write(name, whole)
	r.loaded(2)
	if got := one[string](t, r.db, "SELECT mccmnc FROM simline.cdr FINAL WHERE id = 2"); got != "310260" {
		t.Fatalf("mccmnc %s after the whole file came", got)
	}
	if r.usage() != 300 || r.records() != 2 {
		t.Fatalf("%d bytes in %d records, want 300 in 2", r.usage(), r.records())
	}
	if got := one[string](t, r.db, "SELECT concat(kept_mccmnc, ' ', lost_mccmnc) FROM mart.cdr_conflicts"); got != "310260 31026" {
		t.Errorf("conflict %q", got)
	}
	if got := one[uint16](t, r.db, "SELECT max(content) FROM mart.cdr_files"); got != 1 {
		t.Errorf("content %d, want 1", got)
	}
}

func TestTooManyBadRowsHoldTheFile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rows := csv(record(1, 5, 100), record(2, 35, 200), record(3, 36, 1)) + "garbage\n"
	name := fileName(0, 60, 90)
	r.write(name, rows)
	r.write(fileName(30, 90, 120), strings.Replace(csv(record(4, 70, 10)), "iccid,imsi", "imsi,iccid", 1))
	w := r.worker(r.config())
	r.start(w)
	st := r.wait(name, stateHeld)
	if !strings.Contains(st.Reason, "1 of 4 rows are bad: columns 1; the first is line 5") {
		t.Errorf("reason %q", st.Reason)
	}
	st = r.wait(fileName(30, 90, 120), stateHeld)
	if !strings.Contains(st.Reason, "header") {
		t.Errorf("reason %q", st.Reason)
	}
	if r.records() != 0 {
		t.Fatal("rows of a held file are in")
	}
	if got := one[string](t, r.db, "SELECT state FROM mart.cdr_files WHERE file = ?", name); got != "held" {
		t.Errorf("state %s", got)
	}
	// The supplier sends it again, mended.
	r.write(name, csv(record(1, 5, 100), record(2, 35, 200), record(3, 36, 1)))
	r.wait(name, stateLoaded)
	if r.usage() != 301 {
		t.Fatalf("%d bytes, want 301", r.usage())
	}
}

func TestForeignFilesAreLeftAndListed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	foreign := strings.Replace(fileName(0, 60, 90), "10001", "20002", 1)
	r.write(foreign, csv(record(1, 5, 100)))
	r.write("readme.txt", "x")
	r.write(fileName(0, 60, 90), csv(record(2, 5, 7)))
	w := r.worker(r.config())
	r.start(w)
	r.loaded(1)
	rep := w.Reports()[0]
	if !slices.Equal(rep.Foreign, []string{foreign}) || rep.Foreigns != 1 || rep.Other != 1 || rep.Files != 3 {
		t.Fatalf("report %+v", rep)
	}
	if r.usage() != 7 {
		t.Fatalf("%d bytes, want 7", r.usage())
	}
	if _, err := os.Stat(filepath.Join(r.dir, foreign)); err != nil {
		t.Fatal(err)
	}
}

func TestGaps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write(fileName(0, 60, 90), csv(record(1, 5, 100)))
	r.write(fileName(120, 180, 210), csv(record(2, 130, 100)))
	cfg := r.config()
	cfg.GapHorizon = time.Minute
	stop := r.start(r.worker(cfg))
	r.loaded(2)
	check := func(n int) {
		t.Helper()
		for i, e := range r.events(bus.SubjectCDRGap("default"), n) {
			var g wire.CDRGap
			if err := json.Unmarshal(e.Data, &g); err != nil {
				t.Fatal(err)
			}
			start := at(60 + 30*i)
			want := wire.CDRGap{Account: "default", WindowStart: start, WindowEnd: start.Add(30 * time.Minute), Since: start.Add(2 * time.Hour)}
			if diff := cmp.Diff(want, g); diff != "" || e.Type != wire.TypeCDRGap {
				t.Fatal(e.Type, diff)
			}
		}
	}
	check(2)
	stop()
	// Another replica does not say it again.
	w := r.worker(cfg)
	r.start(w)
	r.write(fileName(60, 120, 150), csv(record(3, 70, 1)))
	r.loaded(3)
	kv, err := r.bus.JS.Stream(t.Context(), bus.StreamCDREvents)
	if err != nil {
		t.Fatal(err)
	}
	if n := kv.CachedInfo().State.Msgs; n != 5 {
		t.Fatalf("%d events, want 3 loaded and 2 gaps", n)
	}
}

func TestFindGaps(t *testing.T) {
	win := func(from, to int) warehouse.Window { return warehouse.Window{Start: at(from), End: at(to)} }
	for name, tc := range map[string]struct {
		windows  []warehouse.Window
		now      int
		horizon  time.Duration
		want     []int
		complete int
	}{
		"no file ever":        {nil, 600, time.Hour, nil, -1},
		"all there":           {[]warehouse.Window{win(0, 60), win(60, 120)}, 200, time.Hour, nil, 120},
		"overlap":             {[]warehouse.Window{win(0, 60), win(30, 90)}, 170, time.Hour, nil, 90},
		"hole":                {[]warehouse.Window{win(0, 60), win(120, 180)}, 260, time.Minute, []int{60, 90}, 60},
		"hole not late yet":   {[]warehouse.Window{win(0, 60), win(90, 120)}, 179, time.Hour, nil, 60},
		"hole just late":      {[]warehouse.Window{win(0, 60), win(90, 120)}, 180, time.Hour, []int{60}, 60},
		"silence":             {[]warehouse.Window{win(0, 60)}, 210, 10 * time.Hour, []int{60, 90}, 60},
		"silence, horizon":    {[]warehouse.Window{win(0, 60)}, 600, 3 * time.Hour, []int{420, 450, 480}, 60},
		"odd windows":         {[]warehouse.Window{win(0, 50), win(50, 110)}, 240, time.Minute, []int{30, 90}, 30},
		"starts within":       {[]warehouse.Window{win(10, 60)}, 240, time.Minute, []int{0}, 0},
		"inside another":      {[]warehouse.Window{win(0, 120), win(30, 60)}, 240, time.Minute, nil, 120},
		"a long window first": {[]warehouse.Window{win(0, 1440)}, 1441, time.Hour, nil, 1440},
	} {
		t.Run(name, func(t *testing.T) {
			missing, complete := findGaps(tc.windows, at(tc.now), 90*time.Minute, tc.horizon)
			var want []time.Time
			for _, m := range tc.want {
				want = append(want, at(m))
			}
			if diff := cmp.Diff(want, missing); diff != "" {
				t.Error(diff)
			}
			if tc.complete < 0 != complete.IsZero() || tc.complete >= 0 && !complete.Equal(at(tc.complete)) {
				t.Errorf("complete up to %s, want minute %d", complete, tc.complete)
			}
		})
	}
}

func TestAfterLoad(t *testing.T) {
	for _, after := range []string{afterMove, afterDelete} {
		t.Run(after, func(t *testing.T) {
			r := newRig(t)
			if err := os.Mkdir(filepath.Join(r.dir, "loaded"), 0o755); err != nil {
				t.Fatal(err)
			}
			name := fileName(0, 60, 90)
			r.write(name, csv(record(1, 5, 100)))
			cfg := r.config()
			cfg.AfterLoad = after
			stop := r.start(r.worker(cfg))
			r.wait(name, stateLoaded)
			stop()
			if _, err := os.Stat(filepath.Join(r.dir, name)); !os.IsNotExist(err) {
				t.Error("the file is still there")
			}
			if _, err := os.Stat(filepath.Join(r.dir, "loaded", name)); (err == nil) != (after == afterMove) {
				t.Errorf("moved: %v", err)
			}
		})
	}
}

func TestTwoReplicasShareTheWork(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var want uint64
	id := int64(0)
	for i := range 12 {
		var recs []cdr.Record
		// Each half hour comes twice; the second time with one correction.
		for j := range 20 {
			id++
			recs = append(recs, record(id, i*30+35, int64(j)))
			want += uint64(j)
		}
		if i > 0 {
			for k := range int64(20) {
				recs = append(recs, record(id-39+k, i*30+5, k))
			}
		}
		r.write(fileName(i*30, i*30+60, i*30+90), csv(recs...))
	}
	a, b := r.worker(r.config()), r.worker(r.config())
	r.start(a)
	r.start(b)
	r.loaded(12)
	if r.usage() != want || r.records() != uint64(id) {
		t.Fatalf("%d bytes in %d records, want %d in %d", r.usage(), r.records(), want, id)
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.worker(r.config())
	r.start(w)
	name := fileName(0, 60, 90)
	good := wire.CDRFile{Account: "default", File: name, Size: 10, WindowStart: at(0), WindowEnd: at(60), GeneratedAt: at(90)}
	other := good
	other.Account = "other"
	foreign := good
	foreign.File = strings.Replace(name, "10001", "20002", 1)
	notes := good
	notes.File = "notes.txt"
	body := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var want []string
	for _, c := range []struct {
		subject string
		data    []byte
		reason  string
	}{
		{"default", []byte("{"), wire.ReasonMalformed},
		{"default", []byte(`{"what":1}`), wire.ReasonSchema},
		{"default", body(notes), wire.ReasonSchema},
		{"default", body(other), wire.ReasonMismatch},
		{"other", body(other), wire.ReasonUnknownAccount},
		{"default", body(foreign), wire.ReasonUnknownAccount},
	} {
		if _, err := r.bus.Publish(t.Context(), bus.NewMsg(bus.SubjectCDRFile(c.subject), "", c.data)); err != nil {
			t.Fatal(err)
		}
		want = append(want, c.reason)
	}
	cons, err := r.bus.JS.CreateOrUpdateConsumer(t.Context(), bus.StreamDead, consumerAll)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) < len(want) {
		msg, err := cons.Next()
		if err != nil {
			t.Fatalf("%v: %v", got, err)
		}
		got = append(got, msg.Headers().Get(bus.HeaderReason))
		if err := msg.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}
