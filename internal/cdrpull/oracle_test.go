package cdrpull

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/warehouse/warehousetest"
)

// checks bounds a property that talks to the engine; rapid's own default is 100.
func checks(t *testing.T, n string) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	old := f.Value.String()
	if old != f.DefValue {
		return // asked for on the command line
	}
	if err := flag.Set("rapid.checks", n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("rapid.checks", old) })
}

// relaxed takes the fsync off the tables: tests do not cut the power.
func relaxed(t *testing.T, db *warehouse.DB) {
	t.Helper()
	for _, table := range []string{"cdr", "cdr_files", "cdr_rejects", "cdr_conflicts", "cdr_confirmed", "usage_days", "usage_rollup"} {
		if err := db.Conn().Exec(t.Context(), "ALTER TABLE simline."+table+" MODIFY SETTING fsync_after_insert = 0, fsync_part_directory = 0"); err != nil {
			t.Fatal(err)
		}
	}
}

// content is one content of one file.
type content struct {
	name cdr.Name
	rows []cdr.Record
	text string
}

// load runs the line on a content, without its directory and its queue.
func load(ctx context.Context, w *Worker, account string, c content) (warehouse.File, error) {
	j := &job{account: acctOf(account), name: c.name, file: c.name.String(), state: fileState{State: stateAnnounced}}
	s, err := stage(strings.NewReader(c.text), cdr.Rules{WindowStart: c.name.Start, WindowEnd: c.name.End, Now: now}, w.cfg.SpoolDir, int64(len(c.text)), w.tuning.blockRows)
	if err != nil {
		return warehouse.File{}, err
	}
	defer s.close()
	rec, done, err := w.open(ctx, j, s)
	if err != nil || done {
		return rec, err
	}
	if err := w.setAside(ctx, rec, s); err != nil {
		return rec, err
	}
	if err := w.insert(ctx, &rec, s); err != nil {
		return rec, err
	}
	return rec, w.mark(ctx, &rec)
}

func acctOf(name string) account { return account{name: name, number: "10001"} }

// bare is a worker without a bus: for what needs only the warehouse.
func bare(t testing.TB, db *warehouse.DB, tn tuning) *Worker {
	t.Helper()
	return &Worker{cfg: &Config{SpoolDir: t.TempDir(), MaxRejectShare: 0.2}, db: db, log: slog.New(slog.DiscardHandler), metrics: newMetrics(prometheus.NewRegistry()),
		clock: time.Now, id: "test", tuning: tn}
}

// oracle is what must be counted: for each id the record of the highest version.
type oracle struct {
	version map[int64][2]int64
	record  map[int64]cdr.Record
}

func (o *oracle) see(rows []cdr.Record, generated time.Time, ordinal int) {
	v := [2]int64{generated.Unix(), int64(ordinal)}
	for _, r := range rows {
		if have, ok := o.version[r.ID]; !ok || v[0] > have[0] || v[0] == have[0] && v[1] > have[1] {
			o.version[r.ID], o.record[r.ID] = v, r
		}
	}
}

// figures are sums by hour, day and card.
type figures struct {
	Hours, Days, Cards map[string]uint64
	Bytes, Records     uint64
}

func (o *oracle) figures() figures {
	f := figures{Hours: map[string]uint64{}, Days: map[string]uint64{}, Cards: map[string]uint64{}}
	for _, r := range o.record {
		f.Hours[r.Start.Truncate(time.Hour).Format(time.DateTime)+" "+r.ICCID+" "+r.MCCMNC] += uint64(r.Usage)
		f.Days[r.Start.Format(time.DateOnly)] += uint64(r.Usage)
		f.Cards[r.ICCID] += uint64(r.Usage)
		f.Bytes += uint64(r.Usage)
		f.Records++
	}
	return f
}

func measured(ctx context.Context, db *warehouse.DB, account string) (figures, error) {
	f := figures{Hours: map[string]uint64{}, Days: map[string]uint64{}, Cards: map[string]uint64{}}
	for query, into := range map[string]map[string]uint64{
		"SELECT concat(toString(event_hour), ' ', iccid, ' ', mccmnc), sum(bytes) FROM mart.usage_hourly WHERE account = ? GROUP BY 1": f.Hours,
		"SELECT toString(event_date), sum(bytes) FROM mart.usage_daily WHERE account = ? GROUP BY 1":                                   f.Days,
		"SELECT iccid, sum(bytes) FROM mart.usage_daily WHERE account = ? GROUP BY 1":                                                  f.Cards,
	} {
		rows, err := db.Conn().Query(ctx, query, account)
		if err != nil {
			return f, err
		}
		for rows.Next() {
			var key string
			var sum uint64
			if err := rows.Scan(&key, &sum); err != nil {
				return f, err
			}
			into[key] = sum
		}
		if err := rows.Close(); err != nil {
			return f, err
		}
	}
	err := db.Conn().QueryRow(ctx, "SELECT sum(bytes), sum(records) FROM mart.usage_hourly WHERE account = ?", account).Scan(&f.Bytes, &f.Records)
	return f, err
}

var iteration atomic.Int64

// Any files, in any order, any number of times, with corrections that change or
// move records, with loads killed anywhere, with days sealed in between: each id
// counts once, as its latest generation has it.
func TestOracle(t *testing.T) {
	db := warehousetest.Open(t)
	relaxed(t, db)
	checks(t, "30")
	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		acct := fmt.Sprintf("oracle-%d", iteration.Add(1))
		w := bare(t, db, tuning{
			blockRows:    rapid.SampledFrom([]int{64, 3, 7}).Draw(rt, "block"),
			inserters:    2,
			knownPerPass: rapid.SampledFrom([]int64{1000, 4}).Draw(rt, "per pass"),
			wide:         rapid.SampledFrom([]int64{2, 0}).Draw(rt, "wide"),
			wideBase:     rapid.SampledFrom([]int64{1000, 0}).Draw(rt, "wide base"),
		})
		contents := drawContents(rt)
		o := oracle{version: map[int64][2]int64{}, record: map[int64]cdr.Record{}}
		ordinals := map[string][]string{} // texts by name, as one replaced the other

		steps := rapid.SliceOfN(rapid.IntRange(0, len(contents)-1), 1, 2*len(contents)).Draw(rt, "order")
		for _, i := range steps {
			c := contents[i]
			ordinal := len(ordinals[c.name.String()]) - 1
			if ordinal < 0 || ordinals[c.name.String()][ordinal] != c.text {
				ordinal++ // another content, or a former one that is back
				ordinals[c.name.String()] = append(ordinals[c.name.String()], c.text)
			}
			if rapid.IntRange(0, 2).Draw(rt, "kill") == 0 {
				// Killed at some moment, which may be before or after anything; what
				// is in flight then may be done or not.
				kctx, cancel := context.WithTimeout(ctx, time.Duration(rapid.IntRange(1, 60).Draw(rt, "after ms"))*time.Millisecond)
				_, _ = load(kctx, w, acct, c)
				cancel()
			}
			if _, err := load(ctx, w, acct, c); err != nil {
				rt.Fatalf("load %s: %v", c.name, err)
			}
			o.see(c.rows, c.name.Generated, ordinal)
			if rapid.IntRange(0, 3).Draw(rt, "seal") == 0 {
				if err := w.rollup(ctx, acctOf(acct)); err != nil {
					rt.Fatal(err)
				}
			}
			got, err := measured(ctx, db, acct)
			if err != nil {
				rt.Fatal(err)
			}
			if diff := cmp.Diff(o.figures(), got); diff != "" {
				rt.Fatalf("after %s: %s", c.name, diff)
			}
		}
	})
}

// drawContents draws files over overlapping windows. Ids, cards, times and bytes
// come from few values, so that they meet; generations differ, except between
// contents of one name.
func drawContents(rt *rapid.T) []content {
	var out []content
	pool := map[int64][]cdr.Record{} // what a record may look like: files repeat each other, and disagree
	for id := int64(-2); id <= 12; id++ {
		for range rapid.IntRange(1, 3).Draw(rt, "variants") {
			pool[id] = append(pool[id], drawRow(rt, id))
		}
	}
	files := rapid.IntRange(1, 6).Draw(rt, "files")
	for f := range files {
		from := rapid.IntRange(0, 3).Draw(rt, "from") * 30
		n := cdr.Name{Account: "10001", Start: at(from), End: at(from + 60), Generated: at(from + 90).Add(time.Duration(rapid.IntRange(0, 5).Draw(rt, "gen"))*7*time.Minute + time.Duration(f)*time.Second)}
		rows := drawRows(rt, pool)
		out = append(out, newContent(rt, n, rows))
		// The same name with other content: cut before, or corrected after.
		for range rapid.IntRange(0, 2).Draw(rt, "contents") - 1 {
			next := append([]cdr.Record{}, rows...)
			for i := range next {
				if rapid.Bool().Draw(rt, "change") {
					next[i] = rapid.SampledFrom(pool[next[i].ID]).Draw(rt, "variant")
				}
			}
			out = append(out, newContent(rt, n, next))
		}
	}
	return out
}

func newContent(rt *rapid.T, n cdr.Name, rows []cdr.Record) content {
	text := cdr.Header + "\n"
	for _, r := range rows {
		text += string(r.AppendCSV(nil))
		if rapid.IntRange(0, 9).Draw(rt, "twice") == 0 {
			text += string(r.AppendCSV(nil)) // the same row again within the file
		}
	}
	return content{name: n, rows: rows, text: text}
}

func drawRows(rt *rapid.T, pool map[int64][]cdr.Record) []cdr.Record {
	ids := rapid.SliceOfNDistinct(rapid.Int64Range(-2, 12), 1, 12, rapid.ID).Draw(rt, "ids")
	var rows []cdr.Record
	for _, id := range ids {
		rows = append(rows, rapid.SampledFrom(pool[id]).Draw(rt, "variant"))
	}
	return rows
}

func drawRow(rt *rapid.T, id int64) cdr.Record {
	start := at(rapid.SampledFrom([]int{0, 10, 59, 60, 90, -1, -1500}).Draw(rt, "start"))
	return cdr.Record{
		ID: id, Start: start, Stop: start.Add(time.Duration(rapid.IntRange(0, 2).Draw(rt, "long")) * 45 * time.Second),
		ICCID:  fmt.Sprintf("898830865010052%04d", rapid.IntRange(0, 2).Draw(rt, "card")),
		Usage:  rapid.Int64Range(0, 3).Draw(rt, "bytes"),
		MCCMNC: rapid.SampledFrom([]string{"46001", "310260"}).Draw(rt, "net"),
	}
}

// A small file is cut at each byte, loaded if it counts as whole, and then comes
// whole under the same name: it ends whole, every time.
func TestCutAtEachByteEndsWhole(t *testing.T) {
	t.Parallel()
	db := warehousetest.Open(t)
	relaxed(t, db)
	w := bare(t, db, defaultTuning)
	rec := record(2, 35, 200)
	rec.MCCMNC = "310260"
	rows := []cdr.Record{record(1, 5, 100), rec}
	whole := content{name: cdr.Name{Account: "10001", Start: at(0), End: at(60), Generated: at(90)}, rows: rows, text: csv(rows...)}
	o := oracle{version: map[int64][2]int64{}, record: map[int64]cdr.Record{}}
	o.see(rows, at(90), 0)
	want := o.figures()
	// Only cuts that can be taken for a whole file are loaded; all others are
	// refused, which TestTailOfAFileCutAtEachByte (internal/cdr) shows.
	loads := 0
	for cut := range len(whole.text) {
		c := whole
		c.text = whole.text[:cut]
		s, err := stage(strings.NewReader(c.text), cdr.Rules{WindowStart: at(0), WindowEnd: at(60), Now: now}, w.cfg.SpoolDir, int64(cut), 100)
		if err != nil {
			t.Fatal(err)
		}
		tail := s.stats.Tail
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		if tail == cdr.TailBroken {
			continue
		}
		loads++
		acct := fmt.Sprintf("cut-%d", cut)
		for _, c := range []content{c, whole} {
			if _, err := load(t.Context(), w, acct, c); err != nil {
				t.Fatal(err)
			}
		}
		got, err := measured(t.Context(), db, acct)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("cut at %d: %s", cut, diff)
		}
	}
	if loads < 4 {
		t.Fatalf("only %d cuts were loaded", loads)
	}
}

// Rows of one file that share an id but not their content: one counts, the same
// one however often the file is read, and the others are kept as conflicts.
func TestSameIDTwiceInAFile(t *testing.T) {
	t.Parallel()
	db := warehousetest.Open(t)
	relaxed(t, db)
	for _, block := range []int{100, 2} {
		acct := fmt.Sprintf("twice-%d", block)
		w := bare(t, db, tuning{blockRows: block, inserters: 2, knownPerPass: 1000, wide: 2, wideBase: 1000})
		a, b := record(3, 5, 10), record(3, 50, 20)
		b.ICCID = "89883086501005299999"
		c := content{name: cdr.Name{Account: "10001", Start: at(0), End: at(60), Generated: at(90)}, text: csv(record(9, 1, 1), a, record(8, 2, 2), record(7, 2, 4), b)}
		j := content{name: c.name, text: c.text}
		var first figures
		for i := range 3 {
			rec, err := load(t.Context(), w, acct, j)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 && (rec.Inserted != 4 || rec.Conflicts != 1) {
				t.Fatalf("%+v", rec)
			}
			got, err := measured(t.Context(), db, acct)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = got
			}
			if diff := cmp.Diff(first, got); diff != "" || got.Records != 4 || got.Bytes != 7+10 {
				t.Fatalf("%+v %s", got, diff)
			}
		}
		if n := one[uint64](t, db, "SELECT count() FROM mart.cdr_conflicts WHERE account = ? AND id = 3 AND kept_bytes = 10 AND lost_bytes = 20", acct); n != 1 {
			t.Fatalf("%d conflicts, want 1", n)
		}
	}
}

// A replica whose clock is ahead dies within a load, and one whose clock is right
// does it again: the file is loaded, not still loading.
func TestDeadReplicaWithItsClockAhead(t *testing.T) {
	t.Parallel()
	db := warehousetest.Open(t)
	c := content{name: cdr.Name{Account: "10001", Start: at(0), End: at(60), Generated: at(90)}, text: csv(record(1, 5, 10))}
	ahead, right := bare(t, db, defaultTuning), bare(t, db, defaultTuning)
	ahead.clock = func() time.Time { return time.Now().Add(3 * time.Minute) }
	j := &job{account: acctOf("ahead"), name: c.name, file: c.name.String(), state: fileState{State: stateAnnounced}}
	s, err := stage(strings.NewReader(c.text), cdr.Rules{}, "", int64(len(c.text)), 64)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if _, _, err := ahead.open(t.Context(), j, s); err != nil {
		t.Fatal(err)
	}
	if _, err := load(t.Context(), right, "ahead", c); err != nil {
		t.Fatal(err)
	}
	if got := one[string](t, db, "SELECT state FROM mart.cdr_files WHERE account = 'ahead'"); got != "loaded" {
		t.Errorf("the file is %s, want loaded", got)
	}
	windows, err := db.LoadedWindows(t.Context(), "ahead")
	if err != nil || len(windows) != 1 {
		t.Errorf("windows loaded %v, %v, want one", windows, err)
	}
}

// Two replicas that load overlapping files at the same moment, without the claim
// that keeps them apart: rows that agree still count once.
func TestRaceWithoutTheClaim(t *testing.T) {
	t.Parallel()
	db := warehousetest.Open(t)
	relaxed(t, db)
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 4 {
		acct := fmt.Sprintf("race-%d", round)
		var files [2]content
		var rows []cdr.Record
		for id := range int64(2000) {
			rows = append(rows, record(id, int(id%60), rng.Int64N(100)))
		}
		var want uint64
		for _, r := range rows {
			want += uint64(r.Usage)
		}
		for i := range files {
			n := cdr.Name{Account: "10001", Start: at(30 * i), End: at(30*i + 60), Generated: at(90 + 30*i)}
			files[i] = content{name: n, text: csv(rows...)}
		}
		errs := make(chan error, 2)
		for i := range files {
			w := bare(t, db, tuning{blockRows: 300, inserters: 2, knownPerPass: 1e6, wide: 2, wideBase: 1e6})
			go func() {
				_, err := load(context.Background(), w, acct, files[i])
				errs <- err
			}()
		}
		for range files {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		got, err := measured(t.Context(), db, acct)
		if err != nil {
			t.Fatal(err)
		}
		if got.Bytes != want || got.Records != 2000 {
			t.Fatalf("%d bytes in %d records, want %d in 2000", got.Bytes, got.Records, want)
		}
	}
}
