package cdrpull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/ftpdir"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

// Operator is what a person may do with CDR files: look, have them read again,
// and check them against what was loaded. It loads nothing itself.
type Operator struct {
	bus      *bus.Bus
	db       *warehouse.DB
	accounts map[string]account
	states   *states
	listed   map[string]listed // by account; one command looks at many files
}

type listed struct {
	at   time.Time
	list ftpdir.Listing
}

// listedFor is how long a listing stands in for the directory.
const listedFor = 30 * time.Second

// NewOperator binds to the bucket of file states, until ctx ends.
func NewOperator(ctx context.Context, b *bus.Bus, db *warehouse.DB, accounts service.Accounts) (*Operator, error) {
	known, err := accountsOf(accounts)
	if err != nil {
		return nil, err
	}
	st, err := openStates(ctx, b)
	if err != nil {
		return nil, err
	}
	return &Operator{bus: b, db: db, accounts: known, states: st, listed: map[string]listed{}}, nil
}

// Accounts are the names of those with CDR files.
func (o *Operator) Accounts() []string {
	var names []string
	for name := range o.accounts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// FileStatus is a file in a directory and what is known of it.
type FileStatus struct {
	Account string     `json:"account"`
	Name    cdr.Name   `json:"-"`
	File    string     `json:"file"`
	Size    int64      `json:"size"`
	State   string     `json:"state"` // new, foreign, or as cdrpull left it
	Reason  string     `json:"reason,omitempty"`
	At      *time.Time `json:"at,omitempty"` // of the state
}

// List looks into an account's directory, by name.
func (o *Operator) List(ctx context.Context, name string) ([]FileStatus, error) {
	a, ok := o.accounts[name]
	if !ok {
		return nil, fmt.Errorf("account %q has no CDR directory in the configuration", name)
	}
	list, err := a.dir.List(ctx)
	if err != nil {
		return nil, err
	}
	if len(list.Unread) > 0 {
		return nil, fmt.Errorf("the server's listing of %d names cannot be read, the first is %s", len(list.Unread), list.Unread[0])
	}
	var out []FileStatus
	for _, e := range list.Files {
		n, err := cdr.ParseName(e.Name)
		if err != nil {
			continue
		}
		f := FileStatus{Account: name, Name: n, File: e.Name, Size: e.Size, State: "foreign"}
		if n.Account == a.number {
			st := o.states.seen(fileKey(name, e.Name))
			f.State, f.Reason = st.State, st.Reason
			if st.revision == 0 {
				f.State = "new"
			} else {
				f.At = &st.At
			}
		}
		out = append(out, f)
	}
	return out, nil
}

// Reread has a replica read a file again, whatever became of it before; why says
// who asks, and for what. With force it is loaded whatever it looks like: too
// many bad rows, or no last line end. It returns the wish's number, for Settled.
func (o *Operator) Reread(ctx context.Context, account, file, why string, force bool) (wish uint64, err error) {
	a, ok := o.accounts[account]
	if !ok {
		return 0, fmt.Errorf("account %q has no CDR directory in the configuration", account)
	}
	name, err := cdr.ParseName(file)
	if err != nil {
		return 0, err
	}
	if name.Account != a.number {
		return 0, fmt.Errorf("%s belongs to number %s, account %s is %s", file, name.Account, account, a.number)
	}
	entry, err := o.look(ctx, a, file)
	if err != nil {
		return 0, err
	}
	f := wire.CDRToRead{CDRFile: fileOf(account, name, entry.Size), Reread: why, Force: force}
	id := fmt.Sprintf("cdr-reread:%s:%s:%s", account, file, uuid.NewString())
	return publish(ctx, o.bus, wire.TypeCDRFile, bus.SubjectCDRFile(account), file, id, time.Now().UTC(), f)
}

// look finds a file in its directory's listing.
func (o *Operator) look(ctx context.Context, a account, file string) (ftpdir.Entry, error) {
	l := o.listed[a.name]
	if time.Since(l.at) > listedFor {
		list, err := a.dir.List(ctx)
		if err != nil {
			return ftpdir.Entry{}, err
		}
		l = listed{time.Now(), list}
		o.listed[a.name] = l
	}
	list := l.list
	i, ok := slices.BinarySearchFunc(list.Files, file, func(e ftpdir.Entry, name string) int { return strings.Compare(e.Name, name) })
	if !ok {
		return ftpdir.Entry{}, fmt.Errorf("%s in %s: %w", file, a.dir, ftpdir.ErrGone)
	}
	return list.Files[i], nil
}

// Settled reports whether the reading that Reread's wish asked for has ended, and
// how.
func (o *Operator) Settled(account, file string, wish uint64) (state, reason string, done bool) {
	st := o.states.seen(fileKey(account, file))
	return st.State, st.Reason, !st.queued() && st.Asked >= wish
}

// Gap is a half hour that no loaded file covers although it is late.
type Gap struct {
	Account string    `json:"account"`
	Start   time.Time `json:"window_start"`
	End     time.Time `json:"window_end"`
	Since   time.Time `json:"since"`
}

// Gaps lists an account's gaps and up to when its data is complete.
func Gaps(ctx context.Context, db *warehouse.DB, account string, now time.Time, lateAfter, horizon time.Duration) ([]Gap, time.Time, error) {
	windows, err := db.LoadedWindows(ctx, account)
	if err != nil {
		return nil, time.Time{}, err
	}
	starts, complete := findGaps(windows, now, lateAfter, horizon)
	var out []Gap
	for _, t := range starts {
		out = append(out, Gap{Account: account, Start: t, End: t.Add(slot), Since: t.Add(slot + lateAfter)})
	}
	return out, complete, nil
}

// Verdict is how a file compares with the warehouse.
type Verdict struct {
	File       string `json:"file"`
	SHA256     string `json:"sha256"`
	Content    bool   `json:"content_known"` // this very content was loaded
	Rows       int64  `json:"rows"`
	Present    int64  `json:"present"`    // there, unchanged
	Superseded int64  `json:"superseded"` // there, from a later generation
	Missing    int64  `json:"missing"`
	Differing  int64  `json:"differing"` // there, with other content of this or an earlier generation
	Rejects    int64  `json:"rejects"`
}

// OK: all that the file says is in the warehouse, or superseded.
func (v Verdict) OK() bool { return v.Content && v.Missing == 0 && v.Differing == 0 }

// Verify reads a file again and looks for each of its rows.
func (o *Operator) Verify(ctx context.Context, account, file string) (Verdict, error) {
	name, err := cdr.ParseName(file)
	if err != nil {
		return Verdict{}, err
	}
	a, ok := o.accounts[account]
	if !ok {
		return Verdict{}, fmt.Errorf("account %q has no CDR directory in the configuration", account)
	}
	s, err := o.read(ctx, a, name)
	if err != nil {
		return Verdict{}, err
	}
	defer s.close()
	v := Verdict{File: file, SHA256: s.sha256, Rows: s.stats.Rows, Rejects: s.stats.Rejects}
	recs, err := o.db.FilesNamed(ctx, account, file)
	if err != nil {
		return v, err
	}
	content := uint16(0)
	for _, r := range recs {
		if r.SHA256 == s.sha256 && r.Loaded() {
			v.Content, content = true, r.Content
		}
	}
	b := warehouse.Batch{Account: account, File: file, Version: warehouse.Version(name.Generated, content)}
	f, err := newSifter(ctx, o.db, defaultTuning, b, s)
	if err != nil {
		return v, err
	}
	f.own = false
	var rows []cdr.Row
	for class := range f.of {
		if err := f.begin(ctx, class); err != nil {
			return v, err
		}
		for _, p := range s.rows {
			if rows, err = s.load(p, rows); err != nil {
				return v, err
			}
			f.compare(rows, &v)
		}
	}
	return v, nil
}

func (f *sifter) compare(rows []cdr.Row, v *Verdict) {
	for i := range rows {
		r := &rows[i]
		if warehouse.Class(r.ID, f.of) != f.class {
			continue
		}
		hash, version, ok, _ := f.known.get(r.ID)
		switch {
		case !ok:
			v.Missing++
		case hash == r.Hash:
			v.Present++
		case version > f.batch.Version:
			v.Superseded++
		default:
			v.Differing++
		}
	}
}

func (o *Operator) read(ctx context.Context, a account, name cdr.Name) (_ *staged, err error) {
	s, err := a.dir.Session(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	e, err := s.Stat(name.String())
	if err != nil {
		return nil, err
	}
	body, err := s.Open(name.String())
	if err != nil {
		return nil, err
	}
	st, err := stage(body, cdr.Rules{WindowStart: name.Start, WindowEnd: name.End, Now: time.Now().UTC()}, "", e.Size, defaultTuning.blockRows)
	if err != nil {
		_ = body.Close()
		return nil, err
	}
	if err := body.Close(); err != nil {
		return nil, errors.Join(err, st.close())
	}
	return st, nil
}

// AccountOf finds the account whose number stands in a file's name.
func (o *Operator) AccountOf(file string) (string, error) {
	n, err := cdr.ParseName(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	for name, a := range o.accounts {
		if a.number == n.Account {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s: number %s belongs to no account of ours (%s)", file, n.Account, strings.Join(o.Accounts(), ", "))
}
