// Package fault makes a simulator misbehave on purpose.
//
// Input: rules, set by Go code, by a script file (YAML or JSON) or over HTTP (/_sim/faults). Output: for each point
// at which a simulator asks (a call, a look-up, a duplicate, a notification, a file), the rules that fire there, and
// for calls the damaged reply. The package knows no supplier: what "no funds" looks like on the wire is the
// simulator's business. It must not import anything else of ours.
package fault

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Kind names what goes wrong.
type Kind string

// The kinds, grouped by the point at which they fire. "Before" means that the simulator does nothing of what was
// asked; "after" means that it was all done and only the answer is damaged.
const (
	// Calls.
	Reset           Kind = "reset"             // before: connection reset, nothing done
	LostReply       Kind = "lost_reply"        // after: connection closed without a byte
	StatusBefore    Kind = "status_before"     // before: HTTP Status (default 500)
	StatusAfter     Kind = "status_after"      // after: HTTP Status (default 500)
	SlowBefore      Kind = "slow_before"       // waits Delay, then does it
	SlowAfter       Kind = "slow_after"        // does it, then waits Delay before it answers
	HalfBody        Kind = "half_body"         // after: half of the answer, then the connection closes
	HTMLBefore      Kind = "html_before"       // before: a proxy's error page (Status, default 502)
	HTMLAfter       Kind = "html_after"        // after: HTTP 200 and an HTML page
	HugeBody        Kind = "huge_body"         // after: a valid answer of Size bytes (default 10 MiB)
	CodeBefore      Kind = "code_before"       // before: the supplier's own error form with Code
	CodeAfter       Kind = "code_after"        // after: the supplier's own error form with Code
	TooManyRequests Kind = "too_many_requests" // before: the supplier's rate limit answer
	NoFunds         Kind = "no_funds"          // before: the supplier's "balance insufficient"
	OutOfStock      Kind = "out_of_stock"      // before: the supplier's "out of stock"

	// Look-ups: the order is there and is not shown, for Looks looks or For since it was placed (neither: always).
	Hide Kind = "hide"

	// Duplicates: what the refusal of a repeated id looks like.
	DuplicateWithData Kind = "duplicate_with_data" // the refusal carries the first order's data
	DuplicateBare     Kind = "duplicate_bare"      // the refusal carries none
	DuplicateReplay   Kind = "duplicate_replay"    // no refusal: the first answer again, as success

	// Notifications.
	NotifyTwice   Kind = "notify_twice"
	NotifyLate    Kind = "notify_late"    // held for Delay
	NotifyReorder Kind = "notify_reorder" // held until the next one has been sent
	NotifyNever   Kind = "notify_never"

	// Files.
	FileHalf       Kind = "file_half"         // uploaded in two parts with Delay between them
	FileAbort      Kind = "file_abort"        // upload dies half way; the next push starts over
	FileResend     Kind = "file_resend"       // the same file, same name and bytes, once more
	FileCorrected  Kind = "file_corrected"    // a later generation: same ids, other byte counts
	FileBOM        Kind = "file_bom"          // UTF-8 byte order mark in front
	FileCRLF       Kind = "file_crlf"         // Windows line ends
	FileQuotes     Kind = "file_quotes"       // every field quoted
	FileNoHeader   Kind = "file_no_header"    // no header row
	FileBadRows    Kind = "file_bad_rows"     // Count (default 3) rows that are no records
	FileNever      Kind = "file_never"        // this window's file is never pushed
	FileLate       Kind = "file_late"         // pushed after the next one
	FileEmptyIMEIs Kind = "file_empty_imeis"  // no IMEI in any row
	FileNoLastEOL  Kind = "file_no_final_eol" // the last line has no line end
)

// Downloads from the embedded FTP server.
const (
	FTPRefuse Kind = "ftp_refuse" // the file cannot be read
	FTPStall  Kind = "ftp_stall"  // Delay after half of it
	FTPCut    Kind = "ftp_cut"    // an error after half of it
)

// Point is where a simulator asks for rules.
type Point int

// The points.
const (
	Call Point = iota
	Look
	Duplicate
	Notify
	File
	Download
)

var points = map[Kind]Point{
	Reset: Call, LostReply: Call, StatusBefore: Call, StatusAfter: Call, SlowBefore: Call, SlowAfter: Call,
	HalfBody: Call, HTMLBefore: Call, HTMLAfter: Call, HugeBody: Call, CodeBefore: Call, CodeAfter: Call,
	TooManyRequests: Call, NoFunds: Call, OutOfStock: Call,
	Hide:              Look,
	DuplicateWithData: Duplicate, DuplicateBare: Duplicate, DuplicateReplay: Duplicate,
	NotifyTwice: Notify, NotifyLate: Notify, NotifyReorder: Notify, NotifyNever: Notify,
	FileHalf: File, FileAbort: File, FileResend: File, FileCorrected: File, FileBOM: File, FileCRLF: File,
	FileQuotes: File, FileNoHeader: File, FileBadRows: File, FileNever: File, FileLate: File, FileEmptyIMEIs: File, FileNoLastEOL: File,
	FTPRefuse: Download, FTPStall: Download, FTPCut: Download,
}

// Rule is one fault and the calls it meets. The zero value of each field means "no restriction".
type Rule struct {
	ID   int  `json:"id,omitempty"` // given by Set.Add
	Kind Kind `json:"kind"`

	// Path is the end of the endpoint's path ("package/orderPackage"), a path.Match pattern over the whole path
	// ("/api/v3/*/purchase"), a notification's event, or the beginning of a file's name.
	Path string `json:"path,omitempty"`
	// Order is any id that the call carries: our order id, the supplier's, an ICCID, an EID, a request id.
	Order string `json:"order,omitempty"`

	After       int     `json:"after,omitempty"`       // let the first so many matching calls pass
	Every       int     `json:"every,omitempty"`       // then meet every Nth only
	Times       int     `json:"times,omitempty"`       // and end after so many
	Probability float64 `json:"probability,omitempty"` // meet with this chance, 0 = always
	Seed        uint64  `json:"seed,omitempty"`        // of that chance

	Status  int      `json:"status,omitempty"`
	Code    string   `json:"code,omitempty"`
	Message string   `json:"message,omitempty"`
	Delay   Duration `json:"delay,omitempty"`
	Looks   int      `json:"looks,omitempty"`
	For     Duration `json:"for,omitempty"`
	Size    int      `json:"size,omitempty"`  // bytes
	Count   int      `json:"count,omitempty"` // rows

	Met int `json:"met,omitempty"` // how often it fired; kept by the Set
}

// Before reports whether a rule for a call leaves undone what was asked.
func (r Rule) Before() bool {
	switch r.Kind {
	case Reset, StatusBefore, HTMLBefore, CodeBefore, TooManyRequests, NoFunds, OutOfStock:
		return true
	}
	return false
}

// Duration is a time.Duration that reads and writes as Go writes it ("1m30s").
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Set is the rules in force. The zero value is ready; all methods may be called at once.
type Set struct {
	n     atomic.Int32 // rules in force: the common case, none, costs one load
	mu    sync.Mutex
	next  int
	rules []*entry
}

type entry struct {
	Rule
	seen  int
	rng   *rand.Rand
	looks map[string]int
}

// Add puts rules in force and returns their ids. It adds none of them if one is wrong.
func (s *Set) Add(rules ...Rule) ([]int, error) {
	for _, r := range rules {
		if _, ok := points[r.Kind]; !ok {
			return nil, fmt.Errorf("fault: unknown kind %q", r.Kind)
		}
		if r.Probability < 0 || r.Probability > 1 {
			return nil, fmt.Errorf("fault: %s: probability %v is not in 0..1", r.Kind, r.Probability)
		}
		if _, err := path.Match(r.Path, ""); err != nil {
			return nil, fmt.Errorf("fault: %s: path %q: %w", r.Kind, r.Path, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]int, 0, len(rules))
	for _, r := range rules {
		s.next++
		r.ID, r.Met = s.next, 0
		s.rules = append(s.rules, &entry{Rule: r, rng: rand.New(rand.NewPCG(r.Seed, 0x51b1e)), looks: map[string]int{}})
		ids = append(ids, r.ID)
	}
	s.n.Store(int32(len(s.rules)))
	return ids, nil
}

// MustAdd is Add for rules written in code: it panics when one is wrong.
func (s *Set) MustAdd(rules ...Rule) {
	if _, err := s.Add(rules...); err != nil {
		panic(err)
	}
}

// Active reports whether any rule is in force; it is cheap.
func (s *Set) Active() bool { return s.n.Load() > 0 }

// Remove takes a rule out of force and reports whether it was there.
func (s *Set) Remove(id int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.rules)
	s.rules = slices.DeleteFunc(s.rules, func(e *entry) bool { return e.ID == id })
	s.n.Store(int32(len(s.rules)))
	return len(s.rules) < n
}

// Clear takes all rules out of force.
func (s *Set) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
	s.n.Store(0)
}

// Rules returns a copy of the rules, with how often each was met.
func (s *Set) Rules() []Rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Rule, len(s.rules))
	for i, e := range s.rules {
		out[i] = e.Rule
	}
	return out
}

// Take returns the rules that fire at a point for something with this path and these ids, and counts them.
func (s *Set) Take(at Point, p string, ids ...string) []Rule {
	if !s.Active() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Rule
	for _, e := range s.rules {
		if points[e.Kind] == at && e.matches(p, ids) && e.fires() {
			out = append(out, e.Rule)
		}
	}
	return out
}

// Hidden reports whether a look at path p must not show the order with these ids, age after it was placed.
func (s *Set) Hidden(p string, age time.Duration, ids ...string) bool {
	if !s.Active() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	hidden := false
	for _, e := range s.rules {
		if e.Kind != Hide || !e.matches(p, ids) {
			continue
		}
		key := strings.Join(ids, "\x00")
		e.looks[key]++
		switch {
		case e.For > 0 && age >= time.Duration(e.For):
			continue
		case e.Looks > 0 && e.looks[key] > e.Looks:
			continue
		}
		e.Met++
		hidden = true
	}
	return hidden
}

func (e *entry) matches(p string, ids []string) bool {
	if e.Order != "" && !slices.Contains(ids, e.Order) {
		return false
	}
	if e.Path == "" || strings.HasSuffix(p, e.Path) {
		return true
	}
	if points[e.Kind] == File && strings.HasPrefix(p, e.Path) {
		return true
	}
	ok, _ := path.Match(e.Path, p)
	return ok
}

func (e *entry) fires() bool {
	e.seen++
	switch {
	case e.seen <= e.After:
		return false
	case e.Times > 0 && e.Met >= e.Times:
		return false
	case e.Every > 1 && (e.seen-e.After)%e.Every != 0:
		return false
	case e.Probability > 0 && e.rng.Float64() >= e.Probability:
		return false
	}
	e.Met++
	return true
}

// Has returns the first of the rules with this kind.
func Has(rules []Rule, k Kind) (Rule, bool) {
	i := slices.IndexFunc(rules, func(r Rule) bool { return r.Kind == k })
	if i < 0 {
		return Rule{}, false
	}
	return rules[i], true
}

// ParseJSON reads one rule or an array of them; a field that a rule does not have is an error.
func ParseJSON(b []byte) ([]Rule, error) {
	var rules []Rule
	one := !strings.HasPrefix(strings.TrimSpace(string(b)), "[")
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.DisallowUnknownFields()
	var err error
	if one {
		rules = make([]Rule, 1)
		err = dec.Decode(&rules[0])
	} else {
		err = dec.Decode(&rules)
	}
	if err != nil {
		return nil, fmt.Errorf("fault: reading rules: %w", err)
	}
	return rules, nil
}
