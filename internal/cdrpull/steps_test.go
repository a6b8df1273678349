package cdrpull

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/warehouse/warehousetest"
)

// mortal stands before the engine and lets a process die at its nth durable
// write: before the engine has it, or after, but before the process hears so.
type mortal struct {
	proxy *httputil.ReverseProxy

	mu     sync.Mutex
	writes []string // what was written so far
	dieAt  int      // 0: never
	after  bool
	dead   bool
}

func (m *mortal) live(dieAt int, after bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes, m.dieAt, m.after, m.dead = nil, dieAt, after, false
}

// written tells what was written, and whether death came.
func (m *mortal) written() ([]string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes, m.dead
}

func (m *mortal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	sql := r.URL.Query().Get("query")
	if sql == "" {
		sql = string(body)
	}
	m.mu.Lock()
	now := false
	if strings.HasPrefix(strings.TrimSpace(sql), "INSERT") && !m.dead {
		m.writes = append(m.writes, strings.Join(strings.Fields(sql)[:3], " "))
		now = len(m.writes) == m.dieAt
	}
	dead, after := m.dead, m.after
	m.dead = dead || now
	m.mu.Unlock()
	switch {
	case now && after:
		m.proxy.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler) // closes the connection
	case now, dead:
		panic(http.ErrAbortHandler)
	}
	m.proxy.ServeHTTP(w, r)
}

// A file that brings all there is (new, known, corrected, moved and bad rows, on
// two days) is loaded by a process that dies at each of its durable writes in
// turn, and then by another: sums, rejects, conflicts and the file's figures are
// always those of a load that nobody disturbed.
func TestDeathAtEachDurableStep(t *testing.T) {
	t.Parallel()
	db, dsn := warehousetest.OpenDSN(t)
	relaxed(t, db)
	target, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	m := &mortal{proxy: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: target.Host})}
	m.proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	front := httptest.NewUnstartedServer(m)
	front.Config.ErrorLog = nil
	front.Start()
	defer front.Close()
	frontDB, err := warehouse.Open(front.URL + "/default")
	if err != nil {
		t.Fatal(err)
	}
	defer frontDB.Close()

	sizes := tuning{blockRows: 4, inserters: 1, knownPerPass: 1000, wide: 2, wideBase: 1000}
	whole, doomed := bare(t, db, sizes), bare(t, frontDB, sizes)
	moved, changed := record(3, 8, 30), record(4, 9, 444)
	moved.ICCID, moved.Start = "89883086501005299999", moved.Start.AddDate(0, 0, -1)
	first := content{name: cdr.Name{Account: "10001", Start: at(0), End: at(60), Generated: at(90)},
		rows: []cdr.Record{record(1, 5, 1), record(2, 6, 2), record(3, 7, 3), record(4, 9, 4)}}
	second := content{name: cdr.Name{Account: "10001", Start: at(30), End: at(90), Generated: at(120)},
		rows: []cdr.Record{record(2, 6, 2), moved, changed, record(5, 40, 5), record(6, 41, 6), record(7, 42, 7)}}
	first.text, second.text = csv(first.rows...), csv(second.rows...)+"bad\n"
	o := oracle{version: map[int64][2]int64{}, record: map[int64]cdr.Record{}}
	o.see(first.rows, first.name.Generated, 0)
	o.see(second.rows, second.name.Generated, 0)
	want := o.figures()

	loadAndSeal := func(w *Worker, acct string, c content) (warehouse.File, error) {
		rec, err := load(t.Context(), w, acct, c)
		if err == nil {
			err = w.rollup(t.Context(), acctOf(acct))
		}
		return rec, err
	}
	steps := 0
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			acct := fmt.Sprintf("step-%d-%v", n, after)
			m.live(0, false)
			if _, err := load(t.Context(), whole, acct, first); err != nil {
				t.Fatal(err)
			}
			m.live(n, after)
			_, err := loadAndSeal(doomed, acct, second)
			writes, died := m.written()
			if died == (err == nil) {
				t.Fatalf("death at write %d: %v, but %v", n, died, err)
			}
			rec, err := loadAndSeal(whole, acct, second)
			if err != nil {
				t.Fatalf("after death at %v: %v", writes, err)
			}
			got, err := measured(t.Context(), db, acct)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("death at %v (done although it was not heard: %v): %s", writes, after, diff)
			}
			if rec.State != warehouse.FileWithRejects || rec.Rows != 6 || rec.Inserted != 5 || rec.Known != 1 || rec.Rejects != 1 || rec.Conflicts != 2 {
				t.Errorf("death at %v (%v): %+v", writes, after, rec)
			}
			for table, n := range map[string]uint64{"cdr_rejects": 1, "cdr_conflicts": 2, "cdr_files": 2} {
				if got := one[uint64](t, db, "SELECT count() FROM mart."+table+" WHERE account = ?", acct); got != n {
					t.Errorf("death at %v (%v): %d rows in mart.%s, want %d", writes, after, got, table, n)
				}
			}
			if !died {
				break
			}
			steps++
		}
	}
	if steps < 20 {
		t.Fatalf("died at %d writes only", steps)
	}
}
