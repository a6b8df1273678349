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
	"github.com/simline/simline/internal/ftpdir/ftptest"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/warehouse/warehousetest"
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
			Rows: 5, Inserted: 4, Known: 1, Rejects: 1, Bytes: 1051, LoadedAt: now},
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
	if st := r.wait(name, stateLoaded); st.Try < 2 {
		t.Fatal("it counts at first sight: it was not read, found without its end, and announced again")
	}
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

// A file that was replaced, and then replaced by what it was before, counts as it
// is now: what it said in between does not.
func TestFormerContentComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	name := fileName(0, 60, 90)
	first := csv(record(1, 5, 100), record(2, 35, 200))
	moved := record(2, 95, 200) // another hour
	r.write(name, first)
	w := r.worker(r.config())
	w.clock = time.Now // the third load is told as one of its own by its time
	r.start(w)
	r.loaded(1)
	second := csv(record(1, 5, 1000), moved, record(3, 36, 7))
	r.write(name, second)
	r.loaded(2)
	r.waitFor(name, "loaded as it is now", func(st fileState) bool { return st.State == stateLoaded && st.Size == int64(len(second)) }) // it is told before that is noted
	if r.usage() != 1207 || r.records() != 3 {
		t.Fatalf("%d bytes in %d records, want 1207 in 3", r.usage(), r.records())
	}
	r.write(name, first)
	r.loaded(3)
	// The third record is one that nothing has taken back.
	if r.usage() != 307 || r.records() != 3 {
		t.Fatalf("%d bytes in %d records, want 307 in 3", r.usage(), r.records())
	}
	if got := one[string](t, r.db, "SELECT groupConcat(' ')(concat(toString(content), ':', state)) FROM (SELECT content, state FROM mart.cdr_files ORDER BY content)"); got != "1:loaded 2:loaded" {
		t.Errorf("contents %q", got)
	}
	if n := one[uint64](t, r.db, "SELECT count() FROM simline.cdr FINAL WHERE id = 2 AND hour = '2026-01-15 00:00:00'"); n != 1 {
		t.Errorf("%d records in the hour where it is again, want 1", n)
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
	for _, file := range []string{name, fileName(30, 90, 120)} {
		if got := one[string](t, r.db, "SELECT concat(state, ' ', toString(length(sha256)), ' ', toString(size > 0)) FROM mart.cdr_files WHERE file = ?", file); got != "held 64 1" {
			t.Errorf("%s: %s", file, got)
		}
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
			w := r.worker(cfg)
			w.tuning.minuteOver = 0
			stop := r.start(w)
			r.wait(name, stateLoaded)
			away := map[string]string{afterMove: filepath.Join("loaded", name), afterDelete: ""}[after]
			eventually(t, "the file is put away", func() bool {
				_, err := os.Stat(filepath.Join(r.dir, name))
				left, _ := filepath.Glob(filepath.Join(r.dir, ".cdr*"))
				return os.IsNotExist(err) && len(left) == 0 && (away == "" || exists(filepath.Join(r.dir, away)))
			})
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

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// eventually waits for what the worker does on its own.
func eventually(t *testing.T, what string, true func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(enough); !true(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// A file without a single line may be one whose upload failed: it covers nothing.
// One with a header alone is a window without use.
func TestEmptyFileCoversNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.worker(r.config())
	r.start(w)
	r.write(fileName(0, 60, 90), "")
	r.write(fileName(60, 120, 150), "\xef\xbb\xbf\r\n\n")
	r.write(fileName(120, 180, 210), cdr.Header+"\n")
	r.loaded(1)
	for _, file := range []string{fileName(0, 60, 90), fileName(60, 120, 150)} {
		if st := r.wait(file, stateUnended); st.Reason != "the file is empty" {
			t.Errorf("%s: %q", file, st.Reason)
		}
	}
	if n := one[uint64](t, r.db, "SELECT count() FROM mart.cdr_files"); n != 1 {
		t.Fatalf("%d files recorded, want the one with a header", n)
	}
	eventually(t, "both wait", func() bool { return len(w.Reports()[0].Waiting) == 2 })
	r.write(fileName(0, 60, 90), csv(record(1, 5, 100)))
	r.wait(fileName(0, 60, 90), stateLoaded)
}

// A file of the same name, size and minute as one that is loaded is told from it
// by its second or, on a server that does not tell seconds, by its content.
func TestReplacedWithinItsMinute(t *testing.T) {
	for name, o := range map[string]*ftptest.Options{"embedded": nil, "vsftpd": {}, "vsftpd without MDTM": {Extra: "cmds_denied=FEAT,MDTM"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if o != nil {
				v := ftptest.Start(t, *o)
				r.url, r.dir = v.URL, v.Path
			}
			file, minute := fileName(0, 60, 90), time.Now().Add(-10*time.Minute).Truncate(time.Minute)
			put := func(text string, second int) {
				t.Helper()
				r.write("incoming", text)
				at := minute.Add(time.Duration(second) * time.Second)
				if err := os.Chtimes(filepath.Join(r.dir, "incoming"), at, at); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(filepath.Join(r.dir, "incoming"), filepath.Join(r.dir, file)); err != nil {
					t.Fatal(err)
				}
			}
			put(csv(record(1, 5, 100)), 7)
			stop := r.start(r.worker(r.config()))
			r.wait(file, stateLoaded)
			stop() // a minute passes, in which it is replaced
			put(csv(record(1, 5, 999)), 47)
			w := r.worker(r.config())
			w.clock, w.tuning.minuteOver = time.Now, 0
			r.start(w)
			eventually(t, "the second content counts", func() bool { return r.usage() == 999 })
			eventually(t, "and is looked at once more", func() bool { return r.wait(file, stateLoaded).Checked })
		})
	}
}

// A load that died counts as the same load when it is done again: what it had
// inserted is inserted, not known.
func TestFiguresAfterADeadAttempt(t *testing.T) {
	t.Parallel()
	db := warehousetest.Open(t)
	w := bare(t, db, tuning{blockRows: 2, inserters: 1, knownPerPass: 1000, wide: 2, wideBase: 1000})
	moved := record(2, 8, 20)
	moved.ICCID = "89883086501005299999"
	before := content{name: cdr.Name{Account: "10001", Start: at(0), End: at(60), Generated: at(90)}, text: csv(record(1, 5, 1), record(2, 6, 2))}
	if _, err := load(t.Context(), w, "default", before); err != nil {
		t.Fatal(err)
	}
	c := content{name: cdr.Name{Account: "10001", Start: at(30), End: at(90), Generated: at(120)},
		text: csv(record(9, 40, 9), record(9, 40, 9), record(1, 5, 1), moved, record(3, 7, 3), record(4, 7, 4))}
	for attempt := range 3 {
		j := &job{account: acctOf("default"), name: c.name, file: c.name.String(), state: fileState{State: stateAnnounced}}
		s, err := stage(strings.NewReader(c.text), cdr.Rules{}, w.cfg.SpoolDir, int64(len(c.text)), w.tuning.blockRows)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		rec, done, err := w.open(t.Context(), j, s)
		if err != nil || done {
			t.Fatal(done, err)
		}
		if err := w.insert(t.Context(), &rec, s); err != nil { // and dies before its mark
			t.Fatal(err)
		}
		if rec.Rows != 6 || rec.Inserted != 4 || rec.Known != 2 || rec.Conflicts != 1 {
			t.Fatalf("attempt %d: %d rows, %d inserted, %d known, %d in conflict; want 6, 4, 2, 1", attempt, rec.Rows, rec.Inserted, rec.Known, rec.Conflicts)
		}
	}
}
