package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/wire"
)

// Sitting is one pass's work on its job's findings. It holds a few words of each
// finding that stands, not the findings.
type Sitting struct {
	book *Book
	job  string
	dry  bool
	seen SeeFunc // told of each change; may be nil

	known map[string]*note    // by finding id
	about map[string][]string // ids by what they are about
}

// SeeFunc is told of a finding that opened, changed or closed.
type SeeFunc func(wire.Finding)

type note struct {
	about, kind, digest, status string
	accepted                    string // digest that a person accepted
	first, last                 time.Time
	revision                    uint64
}

// Sit loads what stands of job and announces what an earlier pass could not.
// A dry sitting changes nothing and tells seen what it would have done.
func (b *Book) Sit(ctx context.Context, job string, dry bool, seen SeeFunc) (*Sitting, error) {
	s := &Sitting{book: b, job: job, dry: dry, seen: seen, known: map[string]*note{}, about: map[string][]string{}}
	var pending []Entry
	var revisions []uint64
	err := b.each(ctx, job, func(e Entry, revision uint64) {
		if e.Pending {
			pending, revisions = append(pending, e), append(revisions, revision)
			return
		}
		s.note(e, revision)
	})
	if err != nil {
		return nil, err
	}
	for i, e := range pending {
		revision := revisions[i]
		if !dry {
			if revision, err = b.settle(ctx, e, revision); err != nil {
				return nil, err
			}
		}
		if e.Finding.Status != statusClosed {
			s.note(e, revision)
		}
	}
	return s, nil
}

func (s *Sitting) note(e Entry, revision uint64) {
	f := e.Finding
	n := &note{about: e.About, kind: f.Kind, digest: digest(f), status: f.Status, first: f.FirstSeen, last: f.LastSeen, revision: revision}
	if e.Accepted != nil {
		n.accepted = e.Accepted.Digest
	}
	if s.known[f.FindingID] == nil {
		s.about[e.About] = append(s.about[e.About], f.FindingID)
	}
	s.known[f.FindingID] = n
}

// Abouts lists everything that has a finding, for a job to look at again.
func (s *Sitting) Abouts() []string {
	out := make([]string, 0, len(s.about))
	for about, ids := range s.about {
		if len(ids) > 0 {
			out = append(out, about)
		}
	}
	return out
}

// Stands says whether something about it is open or accepted.
func (s *Sitting) Stands(about string) bool { return len(s.about[about]) > 0 }

// Card is the ICCID or EID in the findings about something; empty if they have none.
func (s *Sitting) Card(ctx context.Context, about string) (string, error) {
	for _, id := range s.about[about] {
		e, err := s.load(ctx, id)
		if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
			return "", err
		}
		if card := e.Finding.ICCID + e.Finding.EID; card != "" {
			return card, nil
		}
	}
	return "", nil
}

// FirstSeen is when a finding that stands was opened; zero if it does not stand.
func (s *Sitting) FirstSeen(findingID string) time.Time {
	if n := s.known[findingID]; n != nil {
		return n.first
	}
	return time.Time{}
}

// Has says whether this very finding stands.
func (s *Sitting) Has(findingID string) bool { return s.known[findingID] != nil }

// Counts are the open findings by kind.
func (s *Sitting) Counts() map[string]int {
	out := map[string]int{}
	for _, n := range s.known {
		if n.status == statusOpen {
			out[n.kind]++
		}
	}
	return out
}

// Looked says that everything this job examines about one thing was examined,
// with what was found: new findings open, known ones are updated in place, and
// what was found earlier and is not there any more closes.
func (s *Sitting) Looked(ctx context.Context, about string, found ...wire.Finding) error {
	still := map[string]bool{}
	for _, f := range found {
		still[FindingID(f.Kind, about)] = true
		if err := s.Found(ctx, about, f); err != nil {
			return err
		}
	}
	left := s.about[about][:0]
	for _, id := range s.about[about] {
		if still[id] {
			left = append(left, id)
			continue
		}
		if err := s.close(ctx, id); err != nil {
			return err
		}
	}
	s.about[about] = left
	return nil
}

// Found opens a finding about something that was not examined in full, or brings
// the one that stands up to date; it closes nothing.
func (s *Sitting) Found(ctx context.Context, about string, f wire.Finding) error {
	f.FindingID = FindingID(f.Kind, about)
	now := s.book.now().UTC().Truncate(time.Millisecond)
	kind, ok := KindOf(f.Kind)
	if !ok {
		return fmt.Errorf("finding of unknown kind %q", f.Kind)
	}
	if f.Severity == "" {
		f.Severity = kind.Severity
	}
	if f.SuggestedAction == "" {
		f.SuggestedAction = kind.Action
	}
	f.Status, f.FirstSeen, f.LastSeen = statusOpen, now, now
	e := Entry{Finding: f, Job: s.job, About: about}
	n := s.known[f.FindingID]
	if n == nil {
		return s.write(ctx, e, 0)
	}
	same := n.digest == digest(f)
	if same && now.Sub(n.last) < refreshAfter {
		return nil
	}
	e.Finding.FirstSeen = n.first
	if n.accepted != "" && n.accepted == digest(f) {
		old, err := s.load(ctx, f.FindingID)
		if err != nil {
			return err
		}
		e.Accepted, e.Finding.Status = old.Accepted, statusAccepted
	}
	return s.write(ctx, e, n.revision)
}

func (s *Sitting) close(ctx context.Context, id string) error {
	e, err := s.load(ctx, id)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		delete(s.known, id)
		return nil
	}
	if err != nil {
		return err
	}
	e.Finding.Status, e.Finding.LastSeen = statusClosed, s.book.now().UTC().Truncate(time.Millisecond)
	if err := s.write(ctx, e, s.known[id].revision); err != nil {
		return err
	}
	delete(s.known, id)
	return nil
}

func (s *Sitting) load(ctx context.Context, id string) (Entry, error) {
	var e Entry
	v, err := s.book.kv.Get(ctx, s.job+"."+id)
	if err != nil {
		return e, fmt.Errorf("read finding %s: %w", id, err)
	}
	if err := json.Unmarshal(v.Value(), &e); err != nil {
		return e, fmt.Errorf("finding %s: %w", id, err)
	}
	return e, nil
}

// write stores an entry. A person may have accepted it since we looked: theirs
// came first, so the write is left to the next pass, which sees it.
func (s *Sitting) write(ctx context.Context, e Entry, revision uint64) error {
	if !s.dry {
		var err error
		revision, err = s.book.store(ctx, e, revision)
		if bus.IsConflict(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	if s.seen != nil {
		s.seen(e.Finding)
	}
	if e.Finding.Status != statusClosed {
		s.note(e, revision)
	}
	return nil
}
