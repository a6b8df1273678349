package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// rangeBytes bounds one answer of Range, below what a connection may have pending.
const rangeBytes = 8 << 20

// Range reads up to n messages of stream on filter (which may hold wildcards), from
// sequence from on, in order; more says that others follow the last. It makes no
// consumer and costs what it returns. As with Last, any replica may answer.
func (b *Bus) Range(ctx context.Context, stream, filter string, from uint64, n int) (out []Stored, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*PublishTimeout)
	defer cancel()
	for len(out) < n {
		some, left, err := b.rangeOnce(ctx, stream, filter, max(from, 1), n-len(out))
		if err != nil {
			return nil, false, fmt.Errorf("read %s: %w", filter, err)
		}
		out = append(out, some...)
		if left == 0 || len(some) == 0 {
			return out, false, nil
		}
		from = some[len(some)-1].Sequence + 1
	}
	return out, true, nil
}

// rangeOnce asks once; the server may answer with fewer than n. left is how many
// messages follow the last.
func (b *Bus) rangeOnce(ctx context.Context, stream, filter string, from uint64, n int) (out []Stored, left uint64, err error) {
	body, err := json.Marshal(map[string]any{"seq": from, "next_by_subj": filter, "batch": n, "max_bytes": rangeBytes})
	if err != nil {
		return nil, 0, err
	}
	inbox := b.NC.NewInbox()
	sub, err := b.NC.SubscribeSync(inbox)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = sub.Unsubscribe() }() // nothing else comes on it
	if err := b.NC.PublishRequest(jetstream.DefaultAPIPrefix+"DIRECT.GET."+stream, inbox, body); err != nil {
		return nil, 0, err
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, 0, err
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case "204": // the end of this batch
			left, _ = strconv.ParseUint(m.Header.Get("Nats-Num-Pending"), 10, 64)
			return out, left, nil
		case "404":
			return out, 0, nil
		case "503":
			return nil, 0, nats.ErrNoResponders
		default:
			return nil, 0, fmt.Errorf("status %s %s", status, m.Header.Get("Description"))
		}
		s, err := stored(m)
		if err != nil {
			return nil, 0, err
		}
		out = append(out, s)
	}
}

// stored takes a message apart that was read directly.
func stored(m *nats.Msg) (Stored, error) {
	seq, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return Stored{}, fmt.Errorf("sequence: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return Stored{}, fmt.Errorf("time: %w", err)
	}
	return Stored{Subject: m.Header.Get(jetstream.SubjectHeader), Sequence: seq, Time: at, Header: m.Header, Data: m.Data}, nil
}
