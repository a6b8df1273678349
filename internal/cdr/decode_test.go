package cdr_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/cdr/cdrgen"
)

const goodLine = "7001,2026-01-15 00:10:00,2026-01-15 00:20:00,8988308650100524999,454310000000001,1048576,350000000000001,46001"

var rules = cdr.Rules{
	WindowStart: cdrgen.Window.Start,
	WindowEnd:   cdrgen.Window.End,
	Now:         cdrgen.Window.Generated,
}

// decode reads everything, in blocks of n rows.
func decode(t testing.TB, src io.Reader, n int) ([]cdr.Record, []cdr.Reject, cdr.Stats, error) {
	t.Helper()
	var rejects []cdr.Reject
	d := cdr.NewDecoder(src, rules, func(r cdr.Reject) error {
		rejects = append(rejects, r)
		return nil
	})
	var out []cdr.Record
	block := make([]cdr.Row, n)
	for {
		k, err := d.Read(block)
		for i := range block[:k] {
			out = append(out, block[i].Record())
		}
		if errors.Is(err, io.EOF) {
			return out, rejects, d.Stats(), nil
		}
		if err != nil {
			return out, rejects, d.Stats(), err
		}
	}
}

func TestRowForms(t *testing.T) {
	want := cdr.Record{
		ID: 7001, Start: time.Date(2026, 1, 15, 0, 10, 0, 0, time.UTC), Stop: time.Date(2026, 1, 15, 0, 20, 0, 0, time.UTC),
		ICCID: "8988308650100524999", IMSI: "454310000000001", Usage: 1048576, IMEI: "350000000000001", MCCMNC: "46001",
	}
	quoted := `"` + strings.ReplaceAll(goodLine, ",", `","`) + `"`
	for name, in := range map[string]string{
		"plain":             goodLine + "\n",
		"header":            cdr.Header + "\n" + goodLine + "\n",
		"quoted header":     `"` + strings.ReplaceAll(cdr.Header, ",", `","`) + `"` + "\n" + goodLine + "\n",
		"upper-case header": strings.ToUpper(cdr.Header) + "\n" + goodLine + "\n",
		"Chinese header":    "唯一key,话单开始时间,话单结束时间,卡的iccid,卡的imsi,用量,卡的imei,卡的mccmnc\n" + goodLine + "\n",
		"BOM and header":    "\xef\xbb\xbf" + cdr.Header + "\r\n" + goodLine + "\r\n",
		"BOM, no header":    "\xef\xbb\xbf" + goodLine + "\n",
		"CRLF":              goodLine + "\r\n",
		"quoted":            quoted + "\n",
		"quoted, CRLF":      quoted + "\r\n",
		"blanks":            strings.ReplaceAll(goodLine, ",", " , ") + " \n",
		"leading zero":      "000" + goodLine + "\n",
		"plus sign":         "+" + goodLine + "\n",
		"trailing blanks":   goodLine + "\n\n  \n\r\n",
		"no line end":       goodLine,
	} {
		t.Run(name, func(t *testing.T) {
			for _, chunk := range []func(io.Reader) io.Reader{
				func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader,
			} {
				rows, rejects, st, err := decode(t, chunk(strings.NewReader(in)), 3)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]cdr.Record{want}, rows); diff != "" || len(rejects) != 0 {
					t.Fatalf("rejects %v, rows: %s", rejects, diff)
				}
				if st.Header+st.Blank+st.Rows+st.Rejects != st.Lines {
					t.Fatalf("lines do not add up: %+v", st)
				}
			}
		})
	}
}

// A row that is written differently but says the same must not be a new row.
func TestHashIsOfContent(t *testing.T) {
	hash := func(line string) uint64 {
		var rows [1]cdr.Row
		d := cdr.NewDecoder(strings.NewReader(line+"\n"), rules, func(r cdr.Reject) error { return fmt.Errorf("reject %v", r) })
		if _, err := d.Read(rows[:]); err != nil {
			t.Fatal(err)
		}
		return rows[0].Hash
	}
	base := hash(goodLine)
	for _, same := range []string{`"` + strings.ReplaceAll(goodLine, ",", `","`) + `"`, "+" + goodLine, goodLine + "  ", goodLine + "\r"} {
		if hash(same) != base {
			t.Errorf("%q has another hash", same)
		}
	}
	for i, other := range []string{
		"7002,2026-01-15 00:10:00,2026-01-15 00:20:00,8988308650100524999,454310000000001,1048576,350000000000001,46001",
		"7001,2026-01-15 00:10:01,2026-01-15 00:20:00,8988308650100524999,454310000000001,1048576,350000000000001,46001",
		"7001,2026-01-15 00:10:00,2026-01-15 00:20:01,8988308650100524999,454310000000001,1048576,350000000000001,46001",
		"7001,2026-01-15 00:10:00,2026-01-15 00:20:00,8988308650100524998,454310000000001,1048576,350000000000001,46001",
		"7001,2026-01-15 00:10:00,2026-01-15 00:20:00,8988308650100524999,454310000000002,1048576,350000000000001,46001",
		"7001,2026-01-15 00:10:00,2026-01-15 00:20:00,8988308650100524999,454310000000001,1048577,350000000000001,46001",
		"7001,2026-01-15 00:10:00,2026-01-15 00:20:00,8988308650100524999,454310000000001,1048576,,46001",
		"7001,2026-01-15 00:10:00,2026-01-15 00:20:00,8988308650100524999,454310000000001,1048576,350000000000001,460001",
	} {
		if hash(other) == base {
			t.Errorf("change of column %d is not seen", i+1)
		}
	}
}

func TestRejects(t *testing.T) {
	with := func(column int, value string) string {
		f := strings.Split(goodLine, ",")
		f[column-1] = value
		return strings.Join(f, ",")
	}
	for name, tc := range map[string]struct {
		line string
		want cdr.Reason
	}{
		"seven columns":        {goodLine[:strings.LastIndex(goodLine, ",")], cdr.ReasonColumns},
		"nine columns":         {goodLine + ",", cdr.ReasonColumns},
		"garbage":              {"\x00\x01garbage", cdr.ReasonColumns},
		"open quote":           {`"` + goodLine, cdr.ReasonQuotes},
		"text after quote":     {`"7001"x` + goodLine[4:], cdr.ReasonQuotes},
		"id not a number":      {with(1, "7001x"), cdr.ReasonID},
		"id empty":             {with(1, ""), cdr.ReasonID},
		"id past int64":        {with(1, "9223372036854775808"), cdr.ReasonID},
		"id a float":           {with(1, "7001.0"), cdr.ReasonID},
		"30 February":          {with(2, "2026-02-30 00:00:00"), cdr.ReasonStartTime},
		"hour 24":              {with(2, "2026-01-15 24:00:00"), cdr.ReasonStartTime},
		"minute 60":            {with(2, "2026-01-15 00:60:00"), cdr.ReasonStartTime},
		"date with T":          {with(2, "2026-01-15T00:10:00"), cdr.ReasonStartTime},
		"date with zone":       {with(2, "2026-01-15 00:10:00Z"), cdr.ReasonStartTime},
		"no date":              {with(2, ""), cdr.ReasonStartTime},
		"stop not a date":      {with(3, "soon"), cdr.ReasonStopTime},
		"year 1970":            {with(3, "1970-01-01 00:00:00"), cdr.ReasonStopTime},
		"iccid 17 digits":      {with(4, "89883086501005249"), cdr.ReasonICCID},
		"iccid 23 digits":      {with(4, "89883086501005249990000"), cdr.ReasonICCID},
		"iccid with letter":    {with(4, "898830865010052499F"), cdr.ReasonICCID},
		"iccid as a float":     {with(4, "8.98831E+18"), cdr.ReasonICCID},
		"imsi letters":         {with(5, "imsi00000000001"), cdr.ReasonIMSI},
		"usage negative":       {with(6, "-1"), cdr.ReasonDataUsage},
		"usage float":          {with(6, "1.5"), cdr.ReasonDataUsage},
		"usage empty":          {with(6, ""), cdr.ReasonDataUsage},
		"usage past int64":     {with(6, "9223372036854775808"), cdr.ReasonDataUsage},
		"usage absurd":         {with(6, "9223372036854775807"), cdr.ReasonUsageAbsurd},
		"imei letters":         {with(7, "35000000000000X"), cdr.ReasonIMEI},
		"imei not UTF-8":       {with(7, "\xff\xfe"), cdr.ReasonIMEI},
		"mccmnc 4 digits":      {with(8, "4600"), cdr.ReasonMCCMNC},
		"mccmnc 7 digits":      {with(8, "4600100"), cdr.ReasonMCCMNC},
		"mccmnc empty":         {with(8, ""), cdr.ReasonMCCMNC},
		"stop before start":    {with(3, "2026-01-15 00:09:59"), cdr.ReasonStopBeforeStart},
		"starts in the future": {with(2, "2026-01-15 01:30:01")[:25] + "2026-01-15 01:40:00" + goodLine[44:], cdr.ReasonFuture},
		"starts 32 days ago":   {with(2, "2025-12-14 23:59:59"), cdr.ReasonTooOld},
		"too long":             {strings.Repeat("9", cdr.MaxLine+1), cdr.ReasonTooLong},
		"far too long":         {strings.Repeat("9,", 1<<20), cdr.ReasonTooLong},
		"repeated header":      {cdr.Header, cdr.ReasonID},
	} {
		t.Run(name, func(t *testing.T) {
			// The bad line stands between good ones: it must cost nothing but itself.
			in := cdr.Header + "\n" + goodLine + "\n" + tc.line + "\r\n" + with(1, "7002") + "\n"
			for _, chunk := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.HalfReader} {
				rows, rejects, st, err := decode(t, chunk(strings.NewReader(in)), 10)
				if err != nil {
					t.Fatal(err)
				}
				if len(rows) != 2 || len(rejects) != 1 {
					t.Fatalf("%d rows, rejects %+v", len(rows), rejects)
				}
				got := rejects[0]
				if got.Reason != tc.want || got.Line != 3 {
					t.Fatalf("reject %+v, want %s at line 3", got, tc.want)
				}
				if raw := strings.ToValidUTF8(tc.line, "\uFFFD"); tc.want != cdr.ReasonTooLong && got.Raw != raw {
					t.Fatalf("raw %q, want %q", got.Raw, raw)
				}
				if st.Lines != 4 || st.Tail != cdr.TailWhole {
					t.Fatalf("stats %+v", st)
				}
			}
		})
	}
}

func TestBadFirstLineIsNoHeader(t *testing.T) {
	for _, first := range []string{"x" + goodLine, "garbage", `"id,start_time`} {
		_, rejects, st, err := decode(t, strings.NewReader(first+"\n"+goodLine+"\n"), 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(rejects) != 1 || rejects[0].Line != 1 || st.Header != 0 {
			t.Errorf("%q: rejects %+v, header %d", first, rejects, st.Header)
		}
	}
}

func TestSwappedHeaderIsRefused(t *testing.T) {
	in := strings.Replace(cdr.Header, "iccid,imsi", "imsi,iccid", 1) + "\n" + goodLine + "\n"
	if rows, _, _, err := decode(t, strings.NewReader(in), 10); !errors.Is(err, cdr.ErrHeader) || len(rows) != 0 {
		t.Fatalf("rows %v, error %v; want ErrHeader", rows, err)
	}
}

func TestOutsideTheWindowIsGoodAndCounted(t *testing.T) {
	long := "1,2026-01-10 00:00:00,2026-01-15 00:30:00,8988308650100524999,,5,,46001\n"
	late := "2,2026-01-15 00:50:00,2026-01-15 01:00:00,8988308650100524999,,5,,46001\n"
	in := "3,2026-01-15 00:50:00,2026-01-15 00:59:59,8988308650100524999,,5,,46001\n"
	rows, _, st, err := decode(t, strings.NewReader(long+late+in), 10)
	if err != nil || len(rows) != 3 || st.Outside != 2 {
		t.Fatalf("%d rows, %d outside, %v; want 3, 2", len(rows), st.Outside, err)
	}
}

// A file is cut at each byte: never may the decoder call it whole unless what
// it read is a prefix of lines, and never may it make a row that is not there,
// except the one case that cannot be told: a cut inside the last field.
func TestTailOfAFileCutAtEachByte(t *testing.T) {
	file := cdr.Header + "\n" + goodLine + "\n" + strings.Replace(goodLine, "7001", "7002", 1)[:len(goodLine)-5] + "310260\n"
	for cut := range len(file) + 1 {
		_, _, st, err := decode(t, strings.NewReader(file[:cut]), 10)
		if err != nil {
			t.Fatal(err)
		}
		want := cdr.TailBroken
		switch {
		case cut == 0 || file[cut-1] == '\n':
			want = cdr.TailWhole
		case cut == len(file)-1 || cut == len(file)-2 || file[cut] == '\n' && cut >= len(cdr.Header):
			want = cdr.TailRow
		}
		if st.Tail != want {
			t.Fatalf("cut at %d (%q): tail %d, want %d", cut, file[max(0, cut-10):cut], st.Tail, want)
		}
	}
}

func TestReadErrorIsNotTheEnd(t *testing.T) {
	broken := io.MultiReader(strings.NewReader(goodLine+"\n"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, _, _, err := decode(t, broken, 10); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("error %v, want the stream's own", err)
	}
}

// TestAgainstGenerator reads a generated file back, in blocks of any size and
// in chunks of any size.
func TestAgainstGenerator(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := cdrgen.File{Rows: rapid.IntRange(1, 300).Draw(rt, "rows"), Cards: 50, Seed: rapid.Uint64().Draw(rt, "seed")}
		var file bytes.Buffer
		if err := f.Write(&file); err != nil {
			rt.Fatal(err)
		}
		var want []cdr.Record
		var usage int64
		f.Records(func(r cdr.Record) bool {
			want = append(want, r)
			usage += r.Usage
			return true
		})
		got, rejects, st, err := decode(t, &file, rapid.IntRange(1, 400).Draw(rt, "block"))
		if err != nil || len(rejects) > 0 {
			rt.Fatal(err, rejects)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatal(diff)
		}
		if st.Usage != usage || !st.Ascending || st.MinID != want[0].ID || st.MaxID != want[len(want)-1].ID {
			rt.Fatalf("stats %+v", st)
		}
	})
}

func TestSortIsTheWarehousesOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var file []byte
		n := rapid.IntRange(1, 200).Draw(rt, "n")
		for range n {
			start := cdrgen.Window.Start.Add(-time.Duration(rapid.IntRange(0, 30*86400).Draw(rt, "ago")) * time.Second)
			digits := rapid.SampledFrom([]string{"898830865010052499", "8988308650100524999", "89440000000000000000", "1000000000000000000000"}).Draw(rt, "iccid")
			b := []byte(digits)
			b[rapid.IntRange(0, len(b)-1).Draw(rt, "pos")] = byte('0' + rapid.IntRange(0, 9).Draw(rt, "digit"))
			file = cdr.Record{ID: rapid.Int64Range(-3, 3).Draw(rt, "id"), Start: start, Stop: start.Add(time.Second), ICCID: string(b), MCCMNC: "46001"}.AppendCSV(file)
		}
		rows := make([]cdr.Row, n)
		d := cdr.NewDecoder(bytes.NewReader(file), rules, func(r cdr.Reject) error { return fmt.Errorf("reject %v", r) })
		if k, err := d.Read(rows); err != nil || k != n {
			rt.Fatal(k, err)
		}
		want := slices.Clone(rows)
		slices.SortStableFunc(want, func(a, b cdr.Row) int { return cdr.Compare(&a, &b) })
		var s cdr.Sorter
		for range 2 { // the second time in used memory
			got := s.Sort(rows)
			for i := range want {
				if cdr.Compare(&want[i], &got[i]) != 0 {
					rt.Fatalf("place %d: %+v, want %+v", i, got[i].Record(), want[i].Record())
				}
			}
		}
	})
}

func TestNoAllocationPerRow(t *testing.T) {
	var file bytes.Buffer
	if err := (cdrgen.File{Rows: 20_000}).Write(&file); err != nil {
		t.Fatal(err)
	}
	block := make([]cdr.Row, 4096)
	allocs := testing.AllocsPerRun(3, func() {
		d := cdr.NewDecoder(bytes.NewReader(file.Bytes()), rules, func(cdr.Reject) error { return nil })
		for {
			if _, err := d.Read(block); err != nil {
				break
			}
		}
	})
	if allocs > 100 {
		t.Fatalf("%.0f allocations for 20,000 rows", allocs)
	}
}

// FuzzDecode holds for any bytes: every line is accounted for, the numbers of
// the rejects are right, what is accepted reads back as itself, and how the
// stream is cut into reads and blocks changes nothing.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(cdr.Header + "\n" + goodLine + "\n"))
	f.Add([]byte("\xef\xbb\xbf" + goodLine + "\r\n\r\n" + `"` + goodLine))
	f.Add([]byte("1,2026-01-15 00:00:00,2026-01-15 01:00:00,898600000000000000,,0,,46000"))
	f.Fuzz(func(t *testing.T, in []byte) {
		rows, rejects, st, err := decode(t, bytes.NewReader(in), 1+len(in)%7)
		if errors.Is(err, cdr.ErrHeader) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if st.Header+st.Blank+st.Rows+st.Rejects != st.Lines || int(st.Rows) != len(rows) || int(st.Rejects) != len(rejects) {
			t.Fatalf("lines do not add up: %+v", st)
		}
		last := int64(0)
		for _, r := range rejects {
			if r.Line <= last || r.Line > st.Lines || r.Reason == "" {
				t.Fatalf("reject %+v after line %d", r, last)
			}
			last = r.Line
		}
		rows2, rejects2, st2, err := decode(t, iotest.HalfReader(bytes.NewReader(in)), 100)
		if err != nil || !cmp.Equal(rows, rows2) || !cmp.Equal(rejects, rejects2) || st != st2 {
			t.Fatalf("another way of reading gives another result: %v", err)
		}
		var canon []byte
		for _, r := range rows {
			canon = r.AppendCSV(canon)
		}
		again, rejects3, _, err := decode(t, bytes.NewReader(canon), 100)
		if err != nil || len(rejects3) > 0 || !cmp.Equal(rows, again) {
			t.Fatalf("%q does not read back: %v %v", canon, err, rejects3)
		}
	})
}

var benchFile = func() []byte {
	var b bytes.Buffer
	if err := (cdrgen.File{Rows: 200_000, Seed: rand.Uint64()}).Write(&b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func BenchmarkDecode(b *testing.B) {
	file := benchFile()
	block := make([]cdr.Row, 1<<16)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		d := cdr.NewDecoder(bytes.NewReader(file), rules, func(cdr.Reject) error { return nil })
		for {
			if _, err := d.Read(block); err != nil {
				break
			}
		}
	}
	b.ReportMetric(200_000*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkDecodeAndSort(b *testing.B) {
	file := benchFile()
	block := make([]cdr.Row, 1<<16)
	var s cdr.Sorter
	for b.Loop() {
		d := cdr.NewDecoder(bytes.NewReader(file), rules, func(cdr.Reject) error { return nil })
		for {
			n, err := d.Read(block)
			if err != nil {
				break
			}
			s.Sort(block[:n])
		}
	}
	b.ReportMetric(200_000*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkEncodingCSV is the floor: the standard library, numbers and dates
// parsed, nothing else checked.
func BenchmarkEncodingCSV(b *testing.B) {
	file := benchFile()
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		r := csv.NewReader(bytes.NewReader(file))
		r.ReuseRecord = true
		for {
			f, err := r.Read()
			if err != nil {
				break
			}
			_, _ = strconv.ParseInt(f[0], 10, 64)
			_, _ = strconv.ParseInt(f[5], 10, 64)
			_, _ = time.Parse(time.DateTime, f[1])
			_, _ = time.Parse(time.DateTime, f[2])
		}
	}
	b.ReportMetric(200_000*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
