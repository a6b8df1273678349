package reconciler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/wire"
)

// Book is the findings that stand: open ones, and those that a person accepted.
// Each lies in the bucket findings under <job>.<finding id>; each change is one
// message on recon.v1.finding.<kind>.
type Book struct {
	kv  jetstream.KeyValue
	bus Publisher
	now func() time.Time
}

// Publisher stores a message and waits for that; *bus.Bus does.
type Publisher interface {
	Publish(ctx context.Context, msg *nats.Msg) (bus.Ack, error)
}

// refreshAfter is how often a finding that did not change is announced again,
// so that its last_seen moves without a message each pass.
const refreshAfter = 15 * time.Minute

// OpenBook binds to the findings.
func OpenBook(ctx context.Context, b *bus.Bus, now func() time.Time) (*Book, error) {
	kv, err := b.JS.KeyValue(ctx, bus.BucketFindings)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", bus.BucketFindings, err)
	}
	return &Book{kv: kv, bus: b, now: now}, nil
}

// Entry is a finding with what the book needs to keep it.
type Entry struct {
	Finding wire.Finding `json:"finding"`
	Job     string       `json:"job"`
	About   string       `json:"about"` // what was examined when it was found
	// Pending: changed here, not yet known to be announced.
	Pending bool `json:"pending,omitempty"`
	// Accepted is a person's word, and holds while the finding says the same.
	Accepted *Acceptance `json:"accepted,omitempty"`
}

// Acceptance says who accepted a finding, why, and what it said.
type Acceptance struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	Digest string    `json:"digest"`
}

// ErrNoFinding: no finding stands under this id.
var ErrNoFinding = errors.New("no such finding")

// FindingID is stable: what it is, and about what. 32 hex digits.
func FindingID(kind, about string) string {
	sum := sha256.Sum256([]byte(kind + "\n" + about))
	return hex.EncodeToString(sum[:16])
}

// digest covers all that a finding says, not when it was seen or its status.
func digest(f wire.Finding) string {
	f.FirstSeen, f.LastSeen, f.Status = time.Time{}, time.Time{}, ""
	b, err := json.Marshal(f)
	if err != nil { // its raw fields were made by json.Marshal
		b = fmt.Appendf(nil, "%+v", f)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// announce publishes the finding as it stands. The same change repeated is one
// message: its id comes from its content.
func (b *Book) announce(ctx context.Context, e Entry) error {
	f := e.Finding
	if e.Accepted != nil && f.Status == statusAccepted {
		note := "accepted by " + e.Accepted.By + ": " + e.Accepted.Reason
		f.Evidence = strings.TrimPrefix(f.Evidence+"; "+note, "; ")
	}
	id := fmt.Sprintf("%s:%s:%d:%d:%s", f.FindingID, f.Status, f.FirstSeen.UnixMilli(), f.LastSeen.UnixMilli(), digest(f)[:8])
	env, err := wire.NewEnvelope(wire.TypeFinding, wire.Source("reconciler"), f.FindingID, id, f.LastSeen, f)
	if err != nil {
		return err
	}
	data, err := env.Marshal()
	if err != nil {
		return err
	}
	if _, err := b.bus.Publish(ctx, bus.NewMsg(bus.SubjectFinding(f.Kind), id, data)); err != nil {
		return fmt.Errorf("announce finding %s: %w", f.FindingID, err)
	}
	return nil
}

// store writes an entry over revision (0: it must not be there) and announces it.
func (b *Book) store(ctx context.Context, e Entry, revision uint64) (uint64, error) {
	e.Pending = true
	revision, err := b.put(ctx, e, revision)
	if err != nil {
		return 0, err
	}
	// If we die here: the entry is pending; the job's next sitting announces it.
	return b.settle(ctx, e, revision)
}

// settle announces a pending entry, then marks it announced or, if it is closed,
// forgets it.
func (b *Book) settle(ctx context.Context, e Entry, revision uint64) (uint64, error) {
	if err := b.announce(ctx, e); err != nil {
		return 0, err
	}
	// If we die here: it is announced once more, byte for byte the same.
	if e.Finding.Status == statusClosed {
		err := b.kv.Purge(ctx, key(e), jetstream.LastRevision(revision), jetstream.PurgeTTL(time.Hour))
		if err != nil && !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return 0, fmt.Errorf("forget finding %s: %w", e.Finding.FindingID, err)
		}
		return 0, nil
	}
	e.Pending = false
	settled, err := b.put(ctx, e, revision)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return revision, nil // another saw it pending and settled it; our next write waits for the next pass
	}
	return settled, err
}

func (b *Book) put(ctx context.Context, e Entry, revision uint64) (uint64, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return 0, fmt.Errorf("encode finding %s: %w", e.Finding.FindingID, err)
	}
	if revision == 0 {
		revision, err = b.kv.Create(ctx, key(e), data)
	} else {
		revision, err = b.kv.Update(ctx, key(e), data, revision)
	}
	if err != nil {
		return 0, fmt.Errorf("keep finding %s: %w", e.Finding.FindingID, err)
	}
	return revision, nil
}

func key(e Entry) string { return e.Job + "." + e.Finding.FindingID }

// List returns the findings that stand, those of one job if job is not empty,
// the oldest first.
func (b *Book) List(ctx context.Context, job string) ([]Entry, error) {
	var out []Entry
	err := b.each(ctx, job, func(e Entry, _ uint64) { out = append(out, e) })
	slices.SortFunc(out, func(x, y Entry) int {
		if c := x.Finding.FirstSeen.Compare(y.Finding.FirstSeen); c != 0 {
			return c
		}
		return strings.Compare(x.Finding.FindingID, y.Finding.FindingID)
	})
	return out, err
}

func (b *Book) each(ctx context.Context, job string, do func(Entry, uint64)) error {
	filter := ">"
	if job != "" {
		filter = job + ".>"
	}
	return each(ctx, b.kv, filter, func(v jetstream.KeyValueEntry) error {
		var e Entry
		if err := json.Unmarshal(v.Value(), &e); err != nil {
			return fmt.Errorf("finding under %s: %w", v.Key(), err)
		}
		do(e, v.Revision())
		return nil
	})
}

// Stands says whether a finding of a job is open or accepted.
func (b *Book) Stands(ctx context.Context, job, findingID string) (bool, error) {
	v, err := b.kv.Get(ctx, job+"."+findingID)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read finding %s: %w", findingID, err)
	}
	var e Entry
	if err := json.Unmarshal(v.Value(), &e); err != nil {
		return false, fmt.Errorf("finding %s: %w", findingID, err)
	}
	return e.Finding.Status != statusClosed, nil
}

// Find returns the finding whose id begins with id, which must be one.
func (b *Book) Find(ctx context.Context, id string) (Entry, error) {
	e, _, err := b.find(ctx, id)
	return e, err
}

func (b *Book) find(ctx context.Context, id string) (Entry, uint64, error) {
	var found []Entry
	var revision uint64
	err := b.each(ctx, "", func(e Entry, rev uint64) {
		if id != "" && strings.HasPrefix(e.Finding.FindingID, id) {
			found, revision = append(found, e), rev
		}
	})
	switch {
	case err != nil:
		return Entry{}, 0, err
	case len(found) == 0:
		return Entry{}, 0, fmt.Errorf("%w: %s", ErrNoFinding, id)
	case len(found) > 1:
		return Entry{}, 0, fmt.Errorf("%d findings begin with %s", len(found), id)
	}
	return found[0], revision, nil
}

// Accept takes a finding out of the count, in a person's name and with a reason,
// for as long as it says the same. It closes all the same when its difference goes.
func (b *Book) Accept(ctx context.Context, id, by, reason string) (Entry, error) {
	if by == "" || strings.TrimSpace(reason) == "" {
		return Entry{}, errors.New("accepting a finding needs a person and a reason")
	}
	e, revision, err := b.find(ctx, id)
	if err != nil {
		return Entry{}, err
	}
	if e.Finding.Status == statusClosed {
		return Entry{}, fmt.Errorf("%w: %s has just closed", ErrNoFinding, id)
	}
	now := b.now().UTC()
	e.Accepted = &Acceptance{By: by, Reason: reason, At: now, Digest: digest(e.Finding)}
	e.Finding.Status, e.Finding.LastSeen = statusAccepted, now
	if _, err := b.store(ctx, e, revision); err != nil {
		return Entry{}, err
	}
	return e, nil
}
