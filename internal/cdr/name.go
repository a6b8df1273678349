package cdr

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// nameTime is the layout of the three times in a file name: yyyyMMddHHmmss, UTC.
const nameTime = "20060102150405"

// maxWindow bounds what a name may claim. The supplier documents one hour; a
// re-send after an outage may cover a day or a month, never years.
const maxWindow = 62 * 24 * time.Hour

// ErrName says that a file's name is not that of a CDR file. Such a file is
// somebody else's and is left alone.
var ErrName = errors.New("not a CDR file name")

// Name is what a CDR file's name says:
//
//	cdr_10001_20260115000000_20260115010000_20260115013000.csv
//	    account   window start     window end       generated
//
// The window holds the records that *ended* in it; they may have started
// before it. All times are UTC.
type Name struct {
	Account   string    // the supplier's account number, 1 to 20 digits, as written
	Start     time.Time // inclusive
	End       time.Time // exclusive, after Start
	Generated time.Time // when the supplier wrote the file; a later one wins
}

// ParseName reads a file's base name. The error wraps ErrName and says which
// part is wrong. Leading zeros of the account are kept; every date must be a
// real one and the name must be exactly what String gives back.
func ParseName(s string) (Name, error) {
	bad := func(why string) (Name, error) {
		return Name{}, fmt.Errorf("%w: %s", ErrName, why)
	}
	body, ok := strings.CutPrefix(s, "cdr_")
	if !ok {
		return bad("does not begin with cdr_")
	}
	body, ok = strings.CutSuffix(body, ".csv")
	if !ok {
		return bad("does not end with .csv")
	}
	// The longest legal body is 20 + 3×15 bytes: bound the work on hostile names.
	if len(body) > 65 {
		return bad("too long")
	}
	parts := strings.Split(body, "_")
	if len(parts) != 4 {
		return bad("needs account, start, end and generation time")
	}
	n := Name{Account: parts[0]}
	if len(n.Account) == 0 || len(n.Account) > 20 || !digits(n.Account) {
		return bad("account is not a number")
	}
	for i, dst := range []*time.Time{&n.Start, &n.End, &n.Generated} {
		t, err := parseNameTime(parts[i+1])
		if err != nil {
			return bad([]string{"start", "end", "generation time"}[i] + " is not a date yyyyMMddHHmmss")
		}
		*dst = t
	}
	if !n.End.After(n.Start) {
		return bad("end is not after start")
	}
	if n.End.Sub(n.Start) > maxWindow {
		return bad("window is longer than 62 days")
	}
	return n, nil
}

// String is the file name.
func (n Name) String() string {
	return "cdr_" + n.Account + "_" + n.Start.UTC().Format(nameTime) + "_" +
		n.End.UTC().Format(nameTime) + "_" + n.Generated.UTC().Format(nameTime) + ".csv"
}

func parseNameTime(s string) (time.Time, error) {
	if len(s) != len(nameTime) || !digits(s) {
		return time.Time{}, ErrName
	}
	// time.Parse refuses 30 February and hour 24 by itself.
	t, err := time.Parse(nameTime, s)
	if err != nil {
		return time.Time{}, err
	}
	// The table's DateTime ends in 2106; no CDR is older than the format.
	if t.Year() < 2000 || t.Year() > 2100 {
		return time.Time{}, ErrName
	}
	return t, nil
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i]-'0' > 9 {
			return false
		}
	}
	return true
}
