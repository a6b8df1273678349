package cdr

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

const fastLine = "7001,2026-01-15 00:10:00,2026-01-15 00:20:00,8988308650100524999,454310000000001,1048576,350000000000001,46001"

// agree holds the fast path to the slow one: what it takes the slow one takes
// and reads as the same record with the same hash, whatever row came before and
// whatever bytes lie behind the line's end.
func agree(t *testing.T, before, line, behind []byte) {
	t.Helper()
	padded := func(b, tail []byte) []byte {
		buf := append(append(append(make([]byte, 0, len(b)+len(tail)+slack), b...), tail...), make([]byte, slack)...)
		return buf[:len(b)]
	}
	var p, q parser
	p.limits, q.limits = newLimits(Rules{}), newLimits(Rules{})
	var a, b Row
	p.fast(padded(before, behind), &a)
	if !p.fast(padded(line, behind), &a) {
		return
	}
	if reason := q.slow(line, &b); reason != "" {
		t.Fatalf("fast takes %q, slow says %s", line, reason)
	}
	if a.Record() != b.Record() {
		t.Fatalf("%q: fast %+v, slow %+v", line, a.Record(), b.Record())
	}
	if p.line(padded(line, behind), &a); a.Hash != b.Hash {
		t.Fatalf("%q: the hashes differ", line)
	}
}

func FuzzFastPath(f *testing.F) {
	for _, line := range fastLines() {
		f.Add([]byte(fastLine), []byte(line), []byte("0123456789,0123456789,0123456789\n"))
	}
	f.Fuzz(agree)
}

// fastLines are good and bad lines at the edges of what the fast path takes.
func fastLines() []string {
	with := func(column int, value string) string {
		f := strings.Split(fastLine, ",")
		f[column-1] = value
		return strings.Join(f, ",")
	}
	out := []string{fastLine, with(7, ""), with(5, ""), with(1, "0"), with(1, "01"), with(1, "-7"), with(6, "0"), with(8, "310260"), with(8, "3102601"), with(8, "3102")}
	for n := 1; n <= 26; n++ {
		digits := "98765432109876543210987654"[:n]
		for _, column := range []int{1, 4, 5, 6, 7, 8} {
			out = append(out, with(column, digits))
		}
	}
	for _, id := range []string{"9223372036854775807", "9223372036854775808", "922337203685477580", "99999999999999999", "9999999999999999", "99999999", "100000000"} {
		out = append(out, with(1, id), with(6, id))
	}
	for _, at := range []string{"2026-02-29 00:00:00", "2024-02-29 23:59:59", "2026-01-15 24:00:00", "2026-01-15 23:60:00", "2026-01-15 23:59:60", "2026-01-15 00:10:0a", "2026-01-15T00:10:00", "2100-12-31 23:59:59", "2101-01-01 00:00:00"} {
		out = append(out, with(2, at), with(3, at))
	}
	return out
}

// Every edge after every edge, and good lines with bytes changed at random.
func TestFastPathAgreesWithTheSlowOne(t *testing.T) {
	lines := fastLines()
	taken := 0
	for _, line := range lines {
		var p parser
		var r Row
		buf := append(make([]byte, 0, len(line)+slack), line...)
		if p.fast(buf, &r) {
			taken++
		}
		for _, before := range lines {
			for _, behind := range []string{"", "\n", ",\n", "1,2,3\n", strings.Repeat("7", slack)} {
				agree(t, []byte(before), []byte(line), []byte(behind))
			}
		}
	}
	if taken < 40 {
		t.Fatalf("the fast path takes %d of %d lines", taken, len(lines))
	}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 200_000 {
		line := []byte(lines[rng.IntN(len(lines))])
		for range 1 + rng.IntN(2) {
			line[rng.IntN(len(line))] = "0123456789,-: \"\r\x80\xff"[rng.IntN(18)]
		}
		agree(t, []byte(lines[rng.IntN(len(lines))]), line, bytes.Repeat([]byte{'0' + byte(rng.IntN(10))}, rng.IntN(slack)))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
