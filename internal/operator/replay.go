package operator

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/wire"
)

// Replayed tells what became of a replay.
type Replayed struct {
	Done   int
	Failed map[uint64]error // by sequence; they lie in DEAD still
}

// Replay publishes letters again where they came from, oldest first as they are
// given, and removes them from DEAD unless they are to be kept. One that cannot be
// replayed is left where it is and told; a time-out ends the run, for what became
// of it is not known. progress, if not nil, is called after each.
func (o *Operator) Replay(ctx context.Context, who Who, seqs []uint64, keep bool, progress func()) (Replayed, error) {
	r := Replayed{Failed: map[uint64]error{}}
	if len(seqs) == 0 {
		return r, nil
	}
	target := strconv.FormatUint(seqs[0], 10)
	if len(seqs) > 1 {
		target += fmt.Sprintf(" and %d more", len(seqs)-1)
	}
	if err := o.Audit(ctx, who, wire.ActDeadReplay, target, map[string]string{"count": strconv.Itoa(len(seqs)), "sequences": spans(seqs)}); err != nil {
		return r, err
	}
	for _, seq := range seqs {
		l, err := o.Letter(ctx, seq)
		if err == nil {
			err = l.CanReplay()
		}
		if err == nil {
			err = o.send(ctx, l, l.Subject, l.Data, keep)
		}
		if err == nil {
			r.Done++
		} else {
			r.Failed[seq] = err
		}
		if err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrNotFound) {
			return r, err
		}
		if progress != nil {
			progress()
		}
	}
	return r, nil
}

// Edited replays one letter with another body, which is checked as it will be when
// it arrives. A notification is signed: it goes as it came or not at all.
func (o *Operator) Edited(ctx context.Context, who Who, seq uint64, body []byte) error {
	l, err := o.Letter(ctx, seq)
	if err != nil {
		return err
	}
	subject, err := l.CheckEdit(body)
	if err != nil {
		return err
	}
	if err := o.Audit(ctx, who, wire.ActDeadEdit, strconv.FormatUint(seq, 10), map[string]string{"subject": subject, "reason_dead": l.Reason}); err != nil {
		return err
	}
	return o.send(ctx, l, subject, body, false)
}

// CheckEdit says where a letter would go with another body, or why it cannot.
func (l Letter) CheckEdit(body []byte) (subject string, err error) {
	if err := l.CanReplay(); err != nil {
		return "", err
	}
	switch {
	case l.Stream == bus.StreamWebhooks:
		return "", invalid("a notification is signed; it is replayed as it came or not at all")
	case l.Stream == bus.StreamOrders && strings.HasPrefix(l.Subject, bus.SubjectCancel("")):
		subject = l.Subject
		_, _, err = wire.DecodeCancel(body)
	case l.Stream == bus.StreamOrders:
		r, _, bad := wire.DecodeRequest(body)
		subject, err = bus.SubjectRequest(r.Supplier, r.Product), bad
	case l.Stream == bus.StreamEvidence:
		ev, _, bad := wire.DecodeEvidence(body)
		subject, err = bus.SubjectEvidence(ev.Supplier, ev.OrderID), bad
	case l.Stream == bus.StreamCDR:
		var f wire.CDRToRead
		_, err = wire.DecodeData(body, &f)
		subject = bus.SubjectCDRFile(f.Account)
	default:
		var t wire.Task
		_, err = wire.DecodeData(body, &t)
		subject = bus.SubjectTaskTrack(t.Supplier)
	}
	if err != nil {
		return "", invalid("%w", err)
	}
	return subject, nil
}

// send publishes a letter's message anew and takes the letter away.
func (o *Operator) send(ctx context.Context, l Letter, subject string, body []byte, keep bool) error {
	out := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: body}
	for name, values := range l.Header {
		if !strings.HasPrefix(name, "Simline-") && !strings.HasPrefix(name, "Nats-") {
			out.Header[name] = values
		}
	}
	// Not the first one's message id: within the duplicate window it would be dropped.
	out.Header.Set(bus.HeaderMsgID, fmt.Sprintf("replay:%d:%d", l.Seq, l.At.UnixNano()))
	if _, err := o.bus.Publish(ctx, out); err != nil {
		return fmt.Errorf("replay dead letter %d: %w", l.Seq, err)
	}
	// If we die here: it is replayed and still in DEAD; a second replay within two
	// minutes is dropped by its message id, and later ones find the order there.
	if keep {
		return nil
	}
	s, err := o.bus.JS.Stream(ctx, bus.StreamDead)
	if err == nil {
		err = s.DeleteMsg(ctx, l.Seq)
	}
	if err != nil {
		return fmt.Errorf("remove dead letter %d, which was replayed: %w", l.Seq, err)
	}
	return nil
}

// spans writes ascending numbers as 3-5,9, cut where it gets long.
func spans(seqs []uint64) string {
	var b strings.Builder
	for i := 0; i < len(seqs); {
		j := i
		for j+1 < len(seqs) && seqs[j+1] == seqs[j]+1 {
			j++
		}
		part := strconv.FormatUint(seqs[i], 10)
		if j > i {
			part += "-" + strconv.FormatUint(seqs[j], 10)
		}
		if b.Len()+len(part) > 900 {
			b.WriteString(",…")
			break
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(part)
		i = j + 1
	}
	return b.String()
}
