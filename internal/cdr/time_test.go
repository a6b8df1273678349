package cdr

import (
	"testing"
	"time"
)

// Every second of some days, every day of all years, and everything near them
// that is no date, against the standard library.
func TestParseTimeAgainstTheLibrary(t *testing.T) {
	check := func(s string) {
		t.Helper()
		want, err := time.Parse(time.DateTime, s)
		ok := err == nil && want.Year() >= 2000 && want.Year() <= 2100
		got, gotOK := parseTime([]byte(s))
		if gotOK != ok || ok && int64(got) != want.Unix() {
			t.Fatalf("%s: %d %v, want %d %v", s, got, gotOK, want.Unix(), ok)
		}
	}
	for d := time.Date(1998, 1, 1, 23, 59, 59, 0, time.UTC); d.Year() < 2103; d = d.AddDate(0, 0, 1) {
		check(d.Format(time.DateTime))
	}
	for s := range 86400 {
		check(time.Date(2026, 2, 28, 0, 0, s, 0, time.UTC).Format(time.DateTime))
	}
	for _, year := range []string{"1999", "2000", "2026", "2028", "2100", "2101", "2200", "9999", "20a6", "-026"} {
		for _, month := range []string{"00", "01", "02", "11", "12", "13", "99", " 1"} {
			for _, day := range []string{"00", "01", "28", "29", "30", "31", "32", "0/", ":0"} {
				check(year + "-" + month + "-" + day + " 00:00:00")
			}
		}
	}
	base := "2026-01-15 10:20:30"
	for i := range base {
		for c := range 256 {
			b := []byte(base)
			b[i] = byte(c)
			want, err := time.Parse(time.DateTime, string(b))
			// The library takes a blank for the first digit of an hour; the document does not.
			ok := err == nil && want.Year() >= 2000 && want.Year() <= 2100 && (i != 11 || c != ' ')
			if got, gotOK := parseTime(b); gotOK != ok || ok && int64(got) != want.Unix() {
				t.Fatalf("%q: %d %v, want %d %v", b, got, gotOK, want.Unix(), ok)
			}
		}
	}
}
