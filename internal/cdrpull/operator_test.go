package cdrpull

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/wire"
)

// Read again after a fix, verify, and list: what a person does.
func TestOperator(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.worker(r.config())
	r.start(w)
	accounts, err := w.cfg.Load()
	if err != nil {
		t.Fatal(err)
	}
	good, held := fileName(0, 60, 90), fileName(30, 90, 120)
	r.write(good, csv(record(1, 5, 100), record(2, 6, 1), record(3, 7, 1), record(4, 8, 1), record(5, 9, 1))+"bad\n")
	r.write(held, csv(record(6, 70, 10))+"bad\n")
	r.write(strings.Replace(good, "10001", "20002", 1), csv(record(9, 5, 1)))
	r.wait(good, stateRejects)
	r.wait(held, stateHeld)
	// Asked for now, as simctl does: one that was there before follows the states in its own time.
	op, err := NewOperator(t.Context(), r.bus, r.db, accounts)
	if err != nil {
		t.Fatal(err)
	}

	list, err := op.List(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, f := range list {
		states[f.File] = f.State
	}
	if len(states) != 3 || states[good] != stateRejects || states[held] != stateHeld || states[strings.Replace(good, "10001", "20002", 1)] != "foreign" {
		t.Fatalf("states %v", states)
	}

	v, err := op.Verify(t.Context(), "default", good)
	if err != nil || !v.OK() || v.Present != 5 || v.Rejects != 1 {
		t.Fatalf("%+v, %v", v, err)
	}
	if err := r.db.Conn().Exec(t.Context(), "DELETE FROM simline.cdr WHERE id = 3"); err != nil {
		t.Fatal(err)
	}
	if v, err = op.Verify(t.Context(), "default", good); err != nil || v.OK() || v.Missing != 1 {
		t.Fatalf("after a row went missing: %+v, %v", v, err)
	}

	settle := func(file string, force bool) string {
		t.Helper()
		wish, err := op.Reread(t.Context(), "default", file, "a test", force)
		if err != nil {
			t.Fatal(err)
		}
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(enough); time.Now().Before(deadline); {
			<-tick.C
			if state, _, done := op.Settled("default", file, wish); done {
				return state
			}
		}
		t.Fatalf("%s does not settle", file)
		return ""
	}
	if got := settle(good, false); got != stateRejects {
		t.Fatalf("read again: %s", got)
	}
	if v, err = op.Verify(t.Context(), "default", good); err != nil || !v.OK() {
		t.Fatalf("after reading again: %+v, %v", v, err)
	}
	if n := one[uint64](t, r.db, "SELECT count() FROM mart.cdr_rejects"); n != 1 {
		t.Fatalf("%d rejects, want 1", n)
	}
	if got := settle(held, false); got != stateHeld {
		t.Fatalf("held, read again: %s", got)
	}
	if got := settle(held, true); got != stateRejects {
		t.Fatalf("held, forced: %s", got)
	}
	if got := settle(held, false); got != stateRejects {
		t.Fatalf("what a person had loaded, read again: %s", got)
	}
	if r.usage() != 114 || r.records() != 6 {
		t.Fatalf("%d bytes in %d records, want 114 in 6", r.usage(), r.records())
	}
	if a, err := op.AccountOf(good); err != nil || a != "default" {
		t.Fatal(a, err)
	}
	if _, err := op.AccountOf(strings.Replace(good, "10001", "20002", 1)); err == nil {
		t.Fatal("a foreign file has an account")
	}
}

// What reconciler does: it knows a file from simline.cdr_files and publishes the
// wish that it be read again. The file is read although it counts as loaded; one
// that has another size by now is taken as it is; an answered wish that is
// delivered once more changes nothing.
func TestReadAgainByMessage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.worker(r.config())
	w.clock = time.Now // a loading is told from another by its moment
	r.start(w)
	name := fileName(0, 60, 90)
	text := csv(record(1, 5, 100), record(2, 6, 20))
	r.write(name, text)
	first := r.loaded(1)[0]
	r.wait(name, stateLoaded)
	if err := r.db.Conn().Exec(t.Context(), "DELETE FROM simline.cdr WHERE id = 2"); err != nil {
		t.Fatal(err)
	}

	wish := func(f wire.CDRFile) uint64 {
		t.Helper()
		b, err := json.Marshal(wire.CDRToRead{CDRFile: f, Reread: "usage_missing of a card"})
		if err != nil {
			t.Fatal(err)
		}
		ack, err := r.bus.Publish(t.Context(), bus.NewMsg(bus.SubjectCDRFile(f.Account), "", b))
		if err != nil {
			t.Fatal(err)
		}
		return ack.Sequence
	}
	seq := wish(first.CDRFile)
	second := r.loaded(2)[1]
	if second.Inserted != 1 || second.Known != 1 || r.usage() != 120 {
		t.Fatalf("%+v, %d bytes, want 120", second, r.usage())
	}
	if st := r.wait(name, stateLoaded); st.Asked != seq || st.SHA256 != first.SHA256 {
		t.Fatalf("state %+v, wish %d", st, seq)
	}

	stale := first.CDRFile
	stale.Size--
	r.write(name, text+string(record(3, 7, 3).AppendCSV(nil)))
	seq = wish(stale)
	if third := r.loaded(3)[2]; third.Inserted != 1 || r.usage() != 123 {
		t.Fatalf("%+v, %d bytes, want 123", third, r.usage())
	}
	// The directory may have been looked at before the wish was there.
	r.waitFor(name, fmt.Sprint("loaded, with wish ", seq, " answered"), func(st fileState) bool { return st.State == stateLoaded && st.Asked == seq })
}

func TestWishesAreTold(t *testing.T) {
	st := fileState{State: stateLoaded, Asked: 500, At: at(60)}
	for name, c := range map[string]struct {
		wish uint64
		at   time.Time
		news bool
	}{
		"a later one":                            {501, at(61), true},
		"the same, delivered again":              {500, at(59), false},
		"an earlier one, delivered late":         {499, at(58), false},
		"the third of a stream that is new":      {3, at(70), true},
		"the same place in a stream that is new": {500, at(70), false},
	} {
		if got := st.news(c.wish, c.at); got != c.news {
			t.Errorf("%s: news is %v", name, got)
		}
	}
}
