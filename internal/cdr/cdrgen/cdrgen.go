// Package cdrgen makes CDR files for benchmarks and tests: the same seed gives
// the same bytes on any machine. Nothing that runs in production imports it.
package cdrgen

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/simline/simline/internal/cdr"
)

// Window is the first window of the supplier's own example.
var Window = cdr.Name{
	Account:   "10001",
	Start:     time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC),
	End:       time.Date(2026, 1, 15, 1, 0, 0, 0, time.UTC),
	Generated: time.Date(2026, 1, 15, 1, 30, 0, 0, time.UTC),
}

// networks are mcc+mnc pairs as cards roam through them; 23401 and 234001
// would be two networks.
var networks = []string{
	"23410", "23415", "26201", "26202", "20801", "20810", "310260", "310410", "311480",
	"44010", "44020", "45005", "46000", "46001", "46011", "52501", "50501", "334020", "72405", "302720",
}

// File describes a file to generate. Zero fields get the default in brackets.
type File struct {
	Name    cdr.Name // [Window]
	Rows    int      // [1000]
	Cards   int      // [100,000]
	FirstID int64    // [1]; ids grow by 1 to 3 from row to row, as a database's key does
	Seed    uint64
	Bad     float64 // share of lines that are not good rows
}

func (f File) withDefaults() File {
	if f.Name.Account == "" {
		f.Name = Window
	}
	if f.Rows == 0 {
		f.Rows = 1000
	}
	if f.Cards == 0 {
		f.Cards = 100_000
	}
	if f.FirstID == 0 {
		f.FirstID = 1
	}
	return f
}

// Records yields the file's good records in the file's order: as they ended,
// with sessions of up to 20 minutes that may begin before the window.
func (f File) Records(yield func(cdr.Record) bool) {
	f = f.withDefaults()
	rng := rand.New(rand.NewPCG(f.Seed, 0x5eed))
	window := f.Name.End.Sub(f.Name.Start)
	id := f.FirstID
	for i := range f.Rows {
		card := rng.IntN(f.Cards)
		stop := f.Name.Start.Add(window * time.Duration(i) / time.Duration(f.Rows)).Truncate(time.Second)
		imei := ""
		if card%10 != 0 {
			imei = fmt.Sprintf("35%013d", card*7)
		}
		r := cdr.Record{
			ID:     id,
			Start:  stop.Add(-time.Duration(rng.IntN(1200)) * time.Second),
			Stop:   stop,
			ICCID:  fmt.Sprintf("89883086501%09d", card),
			IMSI:   fmt.Sprintf("454310%09d", card),
			Usage:  int64(rng.ExpFloat64() * 2e6),
			IMEI:   imei,
			MCCMNC: networks[(card+rng.IntN(2))%len(networks)],
		}
		if !yield(r) {
			return
		}
		id += 1 + int64(rng.IntN(3))
	}
}

// Write writes the whole file, header included.
func (f File) Write(w io.Writer) error {
	f = f.withDefaults()
	out := bufio.NewWriterSize(w, 1<<20)
	rng := rand.New(rand.NewPCG(f.Seed, 0xbad))
	if _, err := out.WriteString(cdr.Header + "\n"); err != nil {
		return err
	}
	var line []byte
	var err error
	f.Records(func(r cdr.Record) bool {
		if f.Bad > 0 && rng.Float64() < f.Bad {
			r.ICCID = "not-a-card"
		}
		line = r.AppendCSV(line[:0])
		_, err = out.Write(line)
		return err == nil
	})
	if err != nil {
		return err
	}
	return out.Flush()
}
