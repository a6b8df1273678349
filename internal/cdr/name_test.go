package cdr

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// documented is the supplier's own example (seed 002, "CDR话单FTP对接").
const documented = "cdr_10001_20260115000000_20260115010000_20260115013000.csv"

func TestParseNameDocumented(t *testing.T) {
	got, err := ParseName(documented)
	if err != nil {
		t.Fatal(err)
	}
	want := Name{
		Account:   "10001",
		Start:     time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC),
		End:       time.Date(2026, 1, 15, 1, 0, 0, 0, time.UTC),
		Generated: time.Date(2026, 1, 15, 1, 30, 0, 0, time.UTC),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	if got.String() != documented {
		t.Fatalf("String() = %q", got.String())
	}
}

func TestParseNameRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":              "",
		"prefix":             "CDR_10001_20260115000000_20260115010000_20260115013000.csv",
		"suffix":             "cdr_10001_20260115000000_20260115010000_20260115013000.csv.tmp",
		"upper suffix":       "cdr_10001_20260115000000_20260115010000_20260115013000.CSV",
		"path":               "upload/" + documented,
		"account not digits": "cdr_1000a_20260115000000_20260115010000_20260115013000.csv",
		"account empty":      "cdr__20260115000000_20260115010000_20260115013000.csv",
		"account too long":   "cdr_100010000000000000001_20260115000000_20260115010000_20260115013000.csv",
		"unicode digits":     "cdr_１０００１_20260115000000_20260115010000_20260115013000.csv",
		"30 February":        "cdr_10001_20260230000000_20260301010000_20260301013000.csv",
		"hour 24":            "cdr_10001_20260115240000_20260116010000_20260116013000.csv",
		"second 60":          "cdr_10001_20260115000060_20260115010000_20260115013000.csv",
		"end before start":   "cdr_10001_20260115010000_20260115000000_20260115013000.csv",
		"empty window":       "cdr_10001_20260115010000_20260115010000_20260115013000.csv",
		"years long":         "cdr_10001_20200115010000_20260115010000_20260115013000.csv",
		"three parts":        "cdr_10001_20260115000000_20260115010000.csv",
		"five parts":         "cdr_10001_20260115000000_20260115010000_20260115013000_1.csv",
		"short time":         "cdr_10001_2026011500000_20260115010000_20260115013000.csv",
		"year 0000":          "cdr_10001_00000115000000_00000115010000_00000115013000.csv",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseName(in); !errors.Is(err, ErrName) {
				t.Fatalf("ParseName(%q) = %v, %v; want ErrName", in, got, err)
			}
		})
	}
}

func FuzzParseName(f *testing.F) {
	f.Add(documented)
	f.Add("cdr_00001_20240229000000_20240229003000_20240229010000.csv")
	f.Add("cdr_1_20260115000000_20260115010000_20260115013000.csv.filepart")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			return
		}
		if n.String() != s {
			t.Fatalf("%q reads as %q", s, n.String())
		}
		if !n.End.After(n.Start) {
			t.Fatalf("%q: end is not after start", s)
		}
	})
}
