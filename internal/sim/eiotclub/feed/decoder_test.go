package feed_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/sim/eiotclub/feed"
	"github.com/simline/simline/internal/sim/fault"
)

// TestOurDecoderReadsIt holds two independent readings of the page against each other: what this package writes and
// what simline's decoder reads.
func TestOurDecoderReadsIt(t *testing.T) {
	var files []got
	faults := new(fault.Set)
	faults.MustAdd(fault.Rule{Kind: fault.FileBadRows, Every: 2, Count: 8}, fault.Rule{Kind: fault.FileBOM, Every: 3},
		fault.Rule{Kind: fault.FileQuotes, Every: 2, After: 1}, fault.Rule{Kind: fault.FileCRLF, Every: 3, After: 1}, fault.Rule{Kind: fault.FileNoHeader, Every: 4})
	f := feed.New(feed.Config{Cards: cards(30), Push: collect(&files), Seed: 11, Faults: faults})
	steps(t, f, 12)
	for i, x := range files {
		pushed := f.Totals().Files[i]
		name, err := cdr.ParseName(x.name)
		if err != nil {
			t.Fatal(err)
		}
		if !name.Start.Equal(pushed.From) || !name.End.Equal(pushed.To) || name.Account != "10001" {
			t.Errorf("%s reads as %+v", x.name, name)
		}
		rejects := 0
		d := cdr.NewDecoder(bytes.NewReader(x.body), cdr.Rules{WindowStart: name.Start, WindowEnd: name.End},
			func(r cdr.Reject) error { rejects++; return nil })
		rows, n := make([]cdr.Row, 64), 0
		for {
			k, err := d.Read(rows)
			n += k
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", x.name, err)
			}
		}
		if n != pushed.Records || rejects != pushed.BadRows {
			t.Errorf("%s %s: %d rows and %d rejects, want %d and %d", x.name, strings.Join(pushed.Faults, ","), n, rejects, pushed.Records, pushed.BadRows)
		}
	}
}
