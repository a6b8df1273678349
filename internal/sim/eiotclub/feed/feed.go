// Package feed makes EIOTCLUB's call detail records (CDRs) and pushes them as files (seed 002, CDR话单FTP对接): every
// half hour the file of the past hour, so that each half hour arrives about twice.
//
// Input: the cards of the account and a seed; time is simulated, one Step is half an hour. Output: CSV files, into a
// directory or over FTP, damaged where a fault rule says so, and the oracle: what a right loader must end up with.
// It must not import simline's own file-name grammar or CSV codec: it is an independent reading of the page.
package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/simline/simline/internal/sim/fault"
)

// Card is a card that makes traffic.
type Card struct{ ICCID, IMSI, IMEI string }

// Record is one CDR. Times are UTC, to the second.
type Record struct {
	ID          int64 // unique for ever
	Start, Stop time.Time
	ICCID, IMSI string
	Bytes       int64
	IMEI        string // empty in one of ten
	MCCMNC      string
}

// Config says what is generated. The zero value of every field but Cards and Push is sound.
type Config struct {
	Account string    // the number in file names; default "10001", as in the document
	Seed    uint64    // of everything; the same seed, cards and steps give the same bytes
	Start   time.Time // the first half hour begins here; default 2026-01-15 00:00 UTC, cut to the half hour;
	// keep it in the past, a record that has not begun yet is none
	FirstID int64 // default 1_000_000_000_000

	Cards   func() []Card // asked at each step
	Records int           // records in each half hour; 0 = one to three for each card
	// Lag is between the end of a window and the file's generation: half an hour in the document's example.
	Lag time.Duration

	Push     func(ctx context.Context, name string, body []byte, how How) error // ToDir, ToFTP or a test's own
	OnRecord func(iccid string, start time.Time, bytes int64)                   // each record, and the difference that a correction makes
	Faults   *fault.Set
	Logger   *slog.Logger
}

// Key is an hour of one card in one network: a row of mart.usage_hourly.
type Key struct {
	Hour    time.Time `json:"hour"` // of start_time, UTC
	Account string    `json:"account"`
	ICCID   string    `json:"iccid"`
	MCCMNC  string    `json:"mccmnc"`
}

// Sum is what a Key must add up to.
type Sum struct {
	Bytes   int64 `json:"bytes"`
	Records int64 `json:"records"`
}

// Pushed is one file as it went out.
type Pushed struct {
	Name    string    `json:"name"`
	From    time.Time `json:"from"` // the window, end excluded
	To      time.Time `json:"to"`
	Records int       `json:"records"`
	BadRows int       `json:"bad_rows"`
	Bytes   int       `json:"bytes"` // the file's size
	Faults  []string  `json:"faults,omitempty"`
	Error   string    `json:"error,omitempty"` // of the push; the file goes out again with the next step
}

// Totals are the sums over everything generated so far.
type Totals struct {
	Steps    int      `json:"steps"`
	Records  int64    `json:"records"` // distinct ids
	Bytes    int64    `json:"bytes"`
	BadRows  int      `json:"bad_rows"` // rows in pushed files that are no records, each file counted
	Files    []Pushed `json:"files"`
	Networks int      `json:"networks"`
}

// Feed is one account's stream of files. Its methods may be called at once; steps do not overlap.
type Feed struct {
	cfg Config

	step sync.Mutex // held through a whole Step

	mu       sync.Mutex
	rng      *rand.Rand
	now      time.Time // the end of the last half hour made
	nextID   int64
	last     [2][]Record // the last two half hours, the younger second
	oracle   map[Key]Sum
	totals   Totals
	networks map[string]bool
	again    []file // to be pushed (again) with the next step
}

// New makes a feed; it pushes nothing before the first Step.
func New(cfg Config) *Feed {
	cfg.Account = cmp.Or(cfg.Account, "10001")
	cfg.FirstID = cmp.Or(cfg.FirstID, 1_000_000_000_000)
	cfg.Lag = cmp.Or(cfg.Lag, 30*time.Minute)
	if cfg.Start.IsZero() {
		cfg.Start = time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	}
	if cfg.Faults == nil {
		cfg.Faults = new(fault.Set)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Feed{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0xcd8)), now: cfg.Start.UTC().Truncate(30 * time.Minute),
		nextID: cfg.FirstID, oracle: map[Key]Sum{}, networks: map[string]bool{}}
}

// Step lets half an hour of simulated time pass: its records are made, and the file of the past hour is pushed, with
// what faults left over from the step before. The error joins those of all pushes; what failed goes out next time.
func (f *Feed) Step(ctx context.Context) error {
	f.step.Lock()
	defer f.step.Unlock()
	f.mu.Lock()
	f.generate()
	this := f.file(f.cfg.Lag)
	files := f.withFaults(this)
	f.mu.Unlock()

	var errs []error
	for _, x := range files {
		if err := f.push(ctx, x); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

const halfHour = 30 * time.Minute

// Run steps every so often in real time until the context ends, and rests once simulated time has caught up with the
// clock: no record begins in the future. Errors of pushes are logged.
func (f *Feed) Run(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if f.Now().Add(halfHour).After(time.Now()) {
				continue
			}
			if err := f.Step(ctx); err != nil && ctx.Err() == nil {
				f.cfg.Logger.Warn("CDR files not pushed", "err", err)
			}
		}
	}
}

// Now is the simulated time: the end of the last half hour that was made.
func (f *Feed) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Oracle is what the records made so far add up to, whatever of them was pushed how often. A correction counts with
// its later bytes.
func (f *Feed) Oracle() map[Key]Sum {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[Key]Sum, len(f.oracle))
	for k, v := range f.oracle {
		out[k] = v
	}
	return out
}

// Totals returns the sums so far and the files pushed.
func (f *Feed) Totals() Totals {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.totals
	t.Files = slices.Clone(t.Files)
	t.Networks = len(f.networks)
	return t
}

// networks with two-digit and three-digit MNCs, zeros in front among them: 01 is not 001.
var networks = []string{"26201", "26202", "310410", "310260", "46000", "46001", "44010", "24405", "20810", "302720", "23415", "334020"}

// generate makes one half hour: records that end in it. They last up to an hour, so some began in the hour, or the
// day, before. The caller holds the lock.
func (f *Feed) generate() {
	from := f.now
	f.now = f.now.Add(30 * time.Minute)
	cards := f.cfg.Cards()
	n := f.cfg.Records
	var owner []int
	if n == 0 {
		for i := range cards {
			for range 1 + f.rng.IntN(3) {
				owner = append(owner, i)
			}
		}
		n = len(owner)
	}
	records := make([]Record, 0, n)
	for i := range n {
		if len(cards) == 0 {
			break
		}
		card := cards[f.rng.IntN(len(cards))]
		if owner != nil {
			card = cards[owner[i]]
		}
		records = append(records, f.record(card, from))
	}
	f.last[0], f.last[1] = f.last[1], records
	f.totals.Steps++
	for _, r := range records {
		f.count(r, r.Bytes, 1)
	}
}

func (f *Feed) record(card Card, from time.Time) Record {
	stop := from.Add(time.Duration(f.rng.IntN(1800)) * time.Second)
	r := Record{ID: f.nextID, Start: stop.Add(-time.Duration(1+f.rng.IntN(3600)) * time.Second), Stop: stop,
		ICCID: card.ICCID, IMSI: card.IMSI, IMEI: card.IMEI, MCCMNC: networks[f.rng.IntN(len(networks))]}
	f.nextID += 1 + f.rng.Int64N(9)
	switch f.rng.IntN(20) {
	case 0:
		r.Bytes = 0
	case 1:
		r.Bytes = 1<<32 + f.rng.Int64N(1<<32) // more than 32 bits hold
	default:
		r.Bytes = 1 + f.rng.Int64N(5<<20)
	}
	if f.rng.IntN(10) == 0 {
		r.IMEI = ""
	}
	return r
}

// count enters bytes (a record's, or the difference of a correction) into the oracle.
func (f *Feed) count(r Record, bytes, records int64) {
	k := Key{r.Start.Truncate(time.Hour), f.cfg.Account, r.ICCID, r.MCCMNC}
	s := f.oracle[k]
	s.Bytes += bytes
	s.Records += records
	f.oracle[k] = s
	f.totals.Bytes += bytes
	f.totals.Records += records
	f.networks[r.MCCMNC] = true
	if f.cfg.OnRecord != nil {
		f.cfg.OnRecord(r.ICCID, r.Start, bytes)
	}
}

// withFaults decides what goes out in this step: leftovers, the new file, its copies and corrections.
func (f *Feed) withFaults(x file) []file {
	left := f.again
	f.again = nil
	rules := f.cfg.Faults.Take(fault.File, x.name, f.cfg.Account)
	x.apply(rules)
	has := func(k fault.Kind) bool { _, ok := fault.Has(rules, k); return ok }
	switch {
	case has(fault.FileNever):
		return left
	case has(fault.FileLate):
		f.again = append(f.again, x)
		return left
	}
	out := []file{x}
	if has(fault.FileResend) {
		out = append(out, file{name: x.name, from: x.from, to: x.to, body: x.body, records: x.records, bad: x.bad, faults: []string{string(fault.FileResend)}})
	}
	if has(fault.FileCorrected) {
		f.correct()
		y := f.file(f.cfg.Lag + time.Minute)
		y.apply(nil)
		y.faults = []string{string(fault.FileCorrected)}
		out = append(out, y)
	}
	return append(out, left...) // late files come after this one
}

// correct changes the bytes of each third record of the last hour: same ids, other usage.
func (f *Feed) correct() {
	for _, half := range f.last {
		for i := range half {
			if half[i].ID%3 == 0 {
				by := 1 + f.rng.Int64N(1<<20)
				half[i].Bytes += by
				f.count(half[i], by, 0)
			}
		}
	}
}

func (f *Feed) push(ctx context.Context, x file) error {
	err := f.cfg.Push(ctx, x.name, x.body, x.how)
	p := Pushed{Name: x.name, From: x.from, To: x.to, Records: x.records, BadRows: x.bad, Bytes: len(x.body), Faults: x.faults}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		p.Error = err.Error()
		x.how, x.faults = How{}, nil
		f.again = append(f.again, x)
	}
	f.totals.Files = append(f.totals.Files, p)
	f.totals.BadRows += x.bad
	if err != nil {
		return fmt.Errorf("pushing %s: %w", x.name, err)
	}
	return nil
}

// stampName writes a time as it stands in a file's name.
func stampName(t time.Time) string { return t.UTC().Format("20060102150405") }

func fileName(account string, from, to, generated time.Time) string {
	return strings.Join([]string{"cdr", account, stampName(from), stampName(to), stampName(generated)}, "_") + ".csv"
}
