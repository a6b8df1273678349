package feed_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/simline/simline/internal/sim/eiotclub/feed"
	"github.com/simline/simline/internal/sim/fault"
	simftp "github.com/simline/simline/internal/sim/ftp"
)

func cards(n int) func() []feed.Card {
	return func() []feed.Card {
		out := make([]feed.Card, n)
		for i := range out {
			out[i] = feed.Card{ICCID: fmt.Sprintf("898830865010%07d", i), IMSI: fmt.Sprintf("46001%010d", i), IMEI: "490154203237518"}
		}
		return out
	}
}

// got is a file as it was pushed.
type got struct {
	name string
	body []byte
}

func collect(files *[]got) func(context.Context, string, []byte, feed.How) error {
	return func(_ context.Context, name string, body []byte, _ feed.How) error {
		*files = append(*files, got{name, bytes.Clone(body)})
		return nil
	}
}

func steps(t *testing.T, f *feed.Feed, n int) {
	t.Helper()
	for range n {
		if err := f.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// load is the plainest right loader: by id, the file generated last wins; bad rows are left out.
func load(t *testing.T, files []got) (map[feed.Key]feed.Sum, int) {
	t.Helper()
	type row struct {
		key       feed.Key
		bytes     int64
		generated string
	}
	byID, bad := map[int64]row{}, 0
	for _, f := range files {
		parts := strings.Split(strings.TrimSuffix(f.name, ".csv"), "_")
		text := strings.TrimPrefix(string(f.body), "\ufeff")
		for i, line := range strings.Split(strings.ReplaceAll(strings.ReplaceAll(text, "\r", ""), `"`, ""), "\n") {
			c := strings.Split(line, ",")
			if line == "" || i == 0 && c[0] == "id" {
				continue
			}
			var bytes int64
			id, err := strconv.ParseInt(c[0], 10, 64)
			if err == nil && len(c) == 8 {
				bytes, err = strconv.ParseInt(c[5], 10, 64)
			}
			if err != nil || len(c) != 8 || bytes < 0 || c[3] == "" {
				bad++
				continue
			}
			start, err := time.Parse(time.DateTime, c[1])
			if err != nil {
				bad++
				continue
			}
			if old := byID[id]; old.generated <= parts[4] {
				byID[id] = row{feed.Key{Hour: start.Truncate(time.Hour), Account: parts[1], ICCID: c[3], MCCMNC: c[7]}, bytes, parts[4]}
			}
		}
	}
	sums := map[feed.Key]feed.Sum{}
	for _, r := range byID {
		s := sums[r.key]
		sums[r.key] = feed.Sum{Bytes: s.Bytes + r.bytes, Records: s.Records + 1}
	}
	return sums, bad
}

func TestNamesAndOverlap(t *testing.T) {
	var files []got
	f := feed.New(feed.Config{Cards: cards(5), Push: collect(&files), Seed: 1})
	steps(t, f, 3)
	var names []string
	for _, x := range files {
		names = append(names, x.name)
	}
	want := []string{ // the second is the document's example
		"cdr_10001_20260114233000_20260115003000_20260115010000.csv",
		"cdr_10001_20260115000000_20260115010000_20260115013000.csv",
		"cdr_10001_20260115003000_20260115013000_20260115020000.csv",
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
	seen := map[string]int{}
	for _, x := range files {
		for _, line := range strings.Split(string(x.body), "\n")[1:] {
			if line != "" {
				seen[line]++
			}
		}
	}
	twice := 0
	for _, n := range seen {
		if n == 2 {
			twice++
		}
	}
	if int64(len(seen)) != f.Totals().Records || twice*3 < len(seen) {
		t.Errorf("%d records, %d distinct rows, %d of them twice", f.Totals().Records, len(seen), twice)
	}
}

func TestDeterministic(t *testing.T) {
	var runs [3][]got
	for i, seed := range []uint64{5, 5, 6} {
		steps(t, feed.New(feed.Config{Cards: cards(4), Push: collect(&runs[i]), Seed: seed}), 4)
	}
	if !cmp.Equal(runs[0], runs[1], cmp.AllowUnexported(got{})) {
		t.Error("the same seed made other bytes")
	}
	if cmp.Equal(runs[0], runs[2], cmp.AllowUnexported(got{})) {
		t.Error("another seed made the same bytes")
	}
}

func TestOracleUnderEveryFault(t *testing.T) {
	for _, tc := range []struct {
		name  string
		rules []fault.Rule
		check func(t *testing.T, files []got, bad int)
	}{
		{"none", nil, func(t *testing.T, files []got, bad int) {
			if len(files) != 8 || bad != 0 {
				t.Errorf("%d files, %d bad rows", len(files), bad)
			}
		}},
		{"resent", []fault.Rule{{Kind: fault.FileResend, Times: 1}}, func(t *testing.T, files []got, _ int) {
			if len(files) != 9 || files[0].name != files[1].name || !bytes.Equal(files[0].body, files[1].body) {
				t.Errorf("%d files, %s then %s", len(files), files[0].name, files[1].name)
			}
		}},
		{"corrected", []fault.Rule{{Kind: fault.FileCorrected, After: 2, Times: 1}}, func(t *testing.T, files []got, _ int) {
			if len(files) != 9 || files[2].name >= files[3].name || bytes.Equal(files[2].body, files[3].body) {
				t.Errorf("%d files, %s then %s", len(files), files[2].name, files[3].name)
			}
		}},
		{"bad rows", []fault.Rule{{Kind: fault.FileBadRows, Count: 8, Times: 1}}, func(t *testing.T, _ []got, bad int) {
			if bad != 8 {
				t.Errorf("%d bad rows, want 8", bad)
			}
		}},
		{"late", []fault.Rule{{Kind: fault.FileLate, After: 1, Times: 1}}, func(t *testing.T, files []got, _ int) {
			if len(files) != 8 || files[1].name < files[2].name {
				t.Errorf("%d files, %s then %s", len(files), files[1].name, files[2].name)
			}
		}},
		{"one never comes", []fault.Rule{{Kind: fault.FileNever, After: 2, Times: 1}}, func(t *testing.T, files []got, _ int) {
			if len(files) != 7 {
				t.Errorf("%d files", len(files))
			}
		}},
		{"forms", []fault.Rule{{Kind: fault.FileBOM, Every: 2}, {Kind: fault.FileCRLF, Every: 3}, {Kind: fault.FileQuotes, Every: 2, After: 1},
			{Kind: fault.FileNoHeader, Every: 4}, {Kind: fault.FileNoLastEOL, Every: 5}, {Kind: fault.FileEmptyIMEIs, Every: 6}},
			func(t *testing.T, files []got, _ int) {
				if b := files[1].body; !bytes.HasPrefix(b, []byte("\ufeff"+feed.Header+"\n")) {
					t.Errorf("the second has no BOM: %.40q", b)
				}
				if b := files[2].body; !bytes.Contains(b, []byte("\"\r\n\"")) {
					t.Errorf("the third has no quotes or CRLF: %.80q", b)
				}
				if b := files[3].body; bytes.Contains(b, []byte("id,")) {
					t.Errorf("the fourth has a header: %.40q", b)
				}
				if b := files[4].body; b[len(b)-1] == '\n' {
					t.Error("the fifth ends in a line end")
				}
			}},
		{"by name", []fault.Rule{{Kind: fault.FileNever, Path: "cdr_10001_20260115010000_"}}, func(t *testing.T, files []got, _ int) {
			if len(files) != 7 {
				t.Errorf("%d files", len(files))
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var files []got
			faults := new(fault.Set)
			faults.MustAdd(tc.rules...)
			seen := map[string]int64{}
			f := feed.New(feed.Config{Cards: cards(6), Push: collect(&files), Seed: 3, Faults: faults,
				OnRecord: func(iccid string, _ time.Time, n int64) { seen[iccid] += n }})
			steps(t, f, 8)
			sums, bad := load(t, files)
			if d := cmp.Diff(f.Oracle(), sums); d != "" {
				t.Errorf("a right loader does not end up with the oracle (-oracle +loaded):\n%s", d)
			}
			tc.check(t, files, bad)
			if got := f.Totals(); got.BadRows != bad {
				t.Errorf("totals say %d bad rows, the files have %d", got.BadRows, bad)
			}
			var sum, told int64
			for _, s := range sums {
				sum += s.Bytes
			}
			for _, n := range seen {
				told += n
			}
			if sum != told || sum != f.Totals().Bytes {
				t.Errorf("oracle %d bytes, OnRecord %d, totals %d", sum, told, f.Totals().Bytes)
			}
		})
	}
}

func TestPushOverFTP(t *testing.T) {
	srv := simftp.New(simftp.Config{Root: t.TempDir()})
	u, err := srv.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	push, err := feed.ToFTP(u)
	if err != nil {
		t.Fatal(err)
	}
	faults := new(fault.Set)
	faults.MustAdd(fault.Rule{Kind: fault.FileAbort, Times: 1}, fault.Rule{Kind: fault.FileHalf, After: 1, Times: 1, Delay: fault.Duration(5 * time.Millisecond)})
	f := feed.New(feed.Config{Cards: cards(5), Push: push, Seed: 9, Faults: faults})
	if err := f.Step(t.Context()); err == nil {
		t.Error("an aborted upload reported no error")
	}
	half := onDisk(t, srv.Path())
	steps(t, f, 2)
	whole := onDisk(t, srv.Path())
	name := f.Totals().Files[0].Name
	if len(whole) != 3 || len(half[name]) >= len(whole[name]) {
		t.Errorf("%d files; %s had %d bytes after the abort and has %d now", len(whole), name, len(half[name]), len(whole[name]))
	}
	var files []got
	for n, b := range whole {
		files = append(files, got{n, b})
	}
	sums, _ := load(t, files)
	if d := cmp.Diff(f.Oracle(), sums); d != "" {
		t.Error(d)
	}
}

func TestPushIntoDirectory(t *testing.T) {
	dir := t.TempDir()
	f := feed.New(feed.Config{Cards: cards(2), Push: feed.ToDir(dir), Seed: 9})
	steps(t, f, 2)
	for name, body := range onDisk(t, dir) {
		if !regexp.MustCompile(`^cdr_10001_\d{14}_\d{14}_\d{14}\.csv$`).MatchString(name) || !bytes.HasPrefix(body, []byte(feed.Header)) {
			t.Errorf("%s: %.60q", name, body)
		}
	}
}

func onDisk(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, p := range list {
		if out[filepath.Base(p)], err = os.ReadFile(p); err != nil {
			t.Fatal(err)
		}
	}
	return out
}
