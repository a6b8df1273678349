package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

// Letter is one dead letter: a whole message that could not be taken, and why.
type Letter struct {
	Seq      uint64      `json:"sequence"`
	At       time.Time   `json:"at"`      // when it was given up
	Stream   string      `json:"stream"`  // the stream that it came on
	Subject  string      `json:"subject"` // and the subject
	Supplier string      `json:"supplier,omitempty"`
	Reason   string      `json:"reason"` // conflict, schema, …
	Error    string      `json:"error"`
	Attempts string      `json:"attempts,omitempty"`
	Header   nats.Header `json:"header,omitempty"`
	Data     []byte      `json:"data,omitempty"`
}

func letterOf(m bus.Stored) Letter {
	l := Letter{Seq: m.Sequence, At: m.Time, Stream: strings.TrimPrefix(m.Subject, bus.SubjectDead("")), Subject: m.Header.Get(bus.HeaderOrigin),
		Reason: m.Header.Get(bus.HeaderReason), Error: m.Header.Get(bus.HeaderError), Attempts: m.Header.Get(bus.HeaderAttempts), Data: m.Data, Header: nats.Header{}}
	for name, values := range m.Header {
		if !strings.HasPrefix(name, "Nats-") { // what the server tells of the message is no part of it
			l.Header[name] = values
		}
	}
	for token := range strings.SplitSeq(l.Subject, ".") {
		if slices.Contains(order.Suppliers, token) {
			l.Supplier = token
		}
	}
	return l
}

// replayable are the streams whose messages somebody still waits for. What the
// archiver could not read was done all the same, and the ledger takes no replays.
var replayable = []string{bus.StreamOrders, bus.StreamEvidence, bus.StreamWebhooks, bus.StreamCDR, bus.StreamTasks}

// CanReplay is nil, or says why a letter cannot be sent again.
func (l Letter) CanReplay() error {
	switch {
	case l.Subject == "":
		return invalid("dead letter %d does not say where it came from", l.Seq)
	case l.Stream == bus.StreamOrderEvents:
		return invalid("dead letter %d is what contradicts an order, no message to replay: settle the order, then leave it", l.Seq)
	case !slices.Contains(replayable, l.Stream):
		return invalid("dead letter %d is of %s: it happened and is only not archived; there is nothing to replay", l.Seq, l.Stream)
	}
	return nil
}

// DeadFilter picks dead letters; a zero field picks all.
type DeadFilter struct {
	Stream   string        // ORDERS, EVIDENCE, …
	Supplier string        // eiotclub, esimfly
	Error    string        // the reason (conflict, schema, …), or a part of the error's text, letter case ignored
	Older    time.Duration // given up at least so long ago
	Newer    time.Duration // given up at most so long ago
}

// Zero says that the filter picks all.
func (f DeadFilter) Zero() bool { return f == DeadFilter{} }

func (f DeadFilter) picks(l Letter, now time.Time) bool {
	return (f.Stream == "" || f.Stream == l.Stream) && (f.Supplier == "" || f.Supplier == l.Supplier) &&
		(f.Error == "" || f.Error == l.Reason || strings.Contains(strings.ToLower(l.Error), strings.ToLower(f.Error))) &&
		(f.Older == 0 || !l.At.After(now.Add(-f.Older))) && (f.Newer == 0 || !l.At.Before(now.Add(-f.Newer)))
}

func (f DeadFilter) subject() string {
	if f.Stream != "" {
		return bus.SubjectDead(f.Stream)
	}
	return bus.SubjectDead("*")
}

func (f DeadFilter) check() error {
	if f.Stream != "" && !slices.Contains(bus.StreamNames(), f.Stream) {
		return invalid("there is no stream %.40q", f.Stream)
	}
	return nil
}

// page is how many letters are read at once.
const page = 256

// Letters walks through the dead letters that there are now, oldest first, until
// each returns an error.
func (o *Operator) Letters(ctx context.Context, f DeadFilter, each func(Letter) error) error {
	if err := f.check(); err != nil {
		return err
	}
	_, last, err := o.deadEnds(ctx)
	if err != nil {
		return err
	}
	for from := uint64(1); ; {
		msgs, more, err := o.bus.Range(ctx, bus.StreamDead, f.subject(), from, page)
		if err != nil {
			return fmt.Errorf("dead letters: %w", err)
		}
		for _, m := range msgs {
			if m.Sequence > last {
				return nil // came while we looked
			}
			if l := letterOf(m); f.picks(l, o.now()) {
				if err := each(l); err != nil {
					return err
				}
			}
			from = m.Sequence + 1
		}
		if !more {
			return nil
		}
	}
}

func (o *Operator) deadEnds(ctx context.Context) (first, last uint64, err error) {
	s, err := o.bus.JS.Stream(ctx, bus.StreamDead)
	if err != nil {
		return 0, 0, fmt.Errorf("stream %s: %w", bus.StreamDead, err)
	}
	return s.CachedInfo().State.FirstSeq, s.CachedInfo().State.LastSeq, nil
}

// Page is a part of the dead letters, the newest first.
type Page struct {
	Letters []Letter
	Next    uint64 // the Before of the next page; 0: there is none
	Looked  int    // how many were looked at
}

// maxLooked bounds what one Page reads in search of what a filter picks.
const maxLooked = 20_000

// Newest reads up to n letters that come before sequence before (0: the end). It
// costs what it looks at, a page if nothing is filtered, and gives up the search
// after maxLooked letters: Next then says where to go on.
func (o *Operator) Newest(ctx context.Context, f DeadFilter, before uint64, n int) (Page, error) {
	var p Page
	if err := f.check(); err != nil {
		return p, err
	}
	first, last, err := o.deadEnds(ctx)
	if err != nil {
		return p, err
	}
	if before == 0 || before > last {
		before = last + 1
	}
	for step := uint64(page); before > first && before > 1; step *= 2 { // many numbers may be gone
		from := max(first, 1)
		if before > step {
			from = max(from, before-step)
		}
		msgs, _, err := o.bus.Range(ctx, bus.StreamDead, f.subject(), from, int(min(step, before-from)))
		if err != nil {
			return p, fmt.Errorf("dead letters: %w", err)
		}
		for _, m := range slices.Backward(msgs) {
			if m.Sequence >= before {
				continue
			}
			p.Looked++
			if l := letterOf(m); f.picks(l, o.now()) {
				p.Letters = append(p.Letters, l)
			}
			if len(p.Letters) == n || p.Looked >= maxLooked {
				if m.Sequence > first {
					p.Next = m.Sequence
				}
				return p, nil
			}
		}
		before = from
	}
	return p, nil
}

// DeadCounts tells how many letters there are of each stream.
func (o *Operator) DeadCounts(ctx context.Context) (map[string]uint64, error) {
	s, err := o.bus.JS.Stream(ctx, bus.StreamDead)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", bus.StreamDead, err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(bus.SubjectDead("*")))
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", bus.StreamDead, err)
	}
	out := map[string]uint64{}
	for subject, n := range info.State.Subjects {
		out[strings.TrimPrefix(subject, bus.SubjectDead(""))] = n
	}
	return out, nil
}

// Letter reads one dead letter.
func (o *Operator) Letter(ctx context.Context, seq uint64) (Letter, error) {
	s, err := o.bus.JS.Stream(ctx, bus.StreamDead)
	if err != nil {
		return Letter{}, fmt.Errorf("stream %s: %w", bus.StreamDead, err)
	}
	m, err := s.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Letter{}, notFound("there is no dead letter %d", seq)
	}
	if err != nil {
		return Letter{}, fmt.Errorf("dead letter %d: %w", seq, err)
	}
	return letterOf(bus.Stored{Subject: m.Subject, Sequence: m.Sequence, Time: m.Time, Header: m.Header, Data: m.Data}), nil
}

// RevealLetter is Letter for a person who asked to see it in clear, which is
// written down first.
func (o *Operator) RevealLetter(ctx context.Context, who Who, seq uint64) (Letter, error) {
	if _, err := o.Letter(ctx, seq); err != nil {
		return Letter{}, err
	}
	if err := o.Audit(ctx, who, wire.ActDeadReveal, strconv.FormatUint(seq, 10), nil); err != nil {
		return Letter{}, err
	}
	return o.Letter(ctx, seq)
}
