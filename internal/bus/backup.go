package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// BackedUp lists the streams and buckets' streams in the order in which they are
// copied: what guards an order before the ledger, so that whatever the ledger's copy
// does not know yet, a queue's copy has still. What the ledger knows and no queue
// has is found by ledger.Reguard after a restore.
func BackedUp() []string {
	var out []string
	for _, s := range allStreams() {
		if s != StreamOrderEvents {
			out = append(out, s)
		}
	}
	return append(out, StreamOrderEvents)
}

// Snapshot is what has to be known of a stream beside its bytes, as the server and
// the nats command write it.
type Snapshot struct {
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
}

// ErrCutOff: the server gave a copy up. It does so for a consumer that it had listed
// and could not ask any more (ADR-63 of NATS), and anybody's look at a stream is one
// that comes and goes: another try is a new copy, and will most likely be whole.
var ErrCutOff = errors.New("cut off")

// chunkSilence is how long the next piece of a stream may take.
const chunkSilence = 30 * time.Second

// Backup writes a stream with its consumers to w, as it is at one moment, while the
// stream is being used. A bucket's are left out: all that it ever has are those who
// watch it now. If it ends with ErrCutOff, what w has is worth nothing.
func (b *Bus) Backup(ctx context.Context, stream string, w io.Writer) (Snapshot, error) {
	inbox := b.NC.NewInbox()
	sub, err := b.NC.SubscribeSync(inbox)
	if err != nil {
		return Snapshot{}, fmt.Errorf("back up %s: %w", stream, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
	var answer struct {
		Snapshot
		Error *jetstream.APIError `json:"error"`
	}
	if err := b.ask(ctx, "STREAM.SNAPSHOT."+stream, map[string]any{"deliver_subject": inbox, "chunk_size": 128 << 10, "jsck": true,
		"no_consumers": strings.HasPrefix(stream, StreamKV(""))}, &answer); err != nil {
		return Snapshot{}, fmt.Errorf("back up %s: %w", stream, err)
	}
	if answer.Error != nil {
		return Snapshot{}, fmt.Errorf("back up %s: %w", stream, answer.Error)
	}
	for {
		m, err := next(ctx, sub)
		if err != nil {
			return Snapshot{}, fmt.Errorf("back up %s: %w", stream, err)
		}
		if len(m.Data) == 0 {
			// The end; what it says of itself tells a whole copy from one cut off.
			if status := m.Header.Get("Status"); status != "" && status != "204" {
				return Snapshot{}, fmt.Errorf("back up %s: %w: %s %s", stream, ErrCutOff, status, m.Header.Get("Description"))
			}
			return answer.Snapshot, nil
		}
		if _, err := w.Write(m.Data); err != nil {
			return Snapshot{}, fmt.Errorf("back up %s: %w", stream, err)
		}
		if m.Reply != "" {
			if err := m.Respond(nil); err != nil {
				return Snapshot{}, fmt.Errorf("back up %s: %w", stream, err)
			}
		}
	}
}

func next(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, chunkSilence)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

// Restore makes a stream of what Backup wrote. There must be none of its name.
func (b *Bus) Restore(ctx context.Context, stream string, s Snapshot, r io.Reader) error {
	var answer struct {
		DeliverSubject string              `json:"deliver_subject"`
		Error          *jetstream.APIError `json:"error"`
	}
	if err := b.ask(ctx, "STREAM.RESTORE."+stream, s, &answer); err != nil {
		return fmt.Errorf("restore %s: %w", stream, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("restore %s: %w", stream, answer.Error)
	}
	chunk := make([]byte, 128<<10)
	for end := false; !end; {
		n, err := io.ReadFull(r, chunk)
		end = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return fmt.Errorf("restore %s: %w", stream, err)
		}
		if n == 0 {
			break
		}
		if err := b.chunk(ctx, answer.DeliverSubject, chunk[:n]); err != nil {
			return fmt.Errorf("restore %s: %w", stream, err)
		}
	}
	// If we die here: the server gives an unfinished stream up, and it can be restored
	// anew.
	if err := b.chunk(ctx, answer.DeliverSubject, nil); err != nil {
		return fmt.Errorf("restore %s: %w", stream, err)
	}
	return nil
}

// chunk hands over a piece, and an empty one at the end; an answer that says
// anything may be the server's refusal.
func (b *Bus) chunk(ctx context.Context, subject string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 2*chunkSilence)
	defer cancel()
	m, err := b.NC.RequestWithContext(ctx, subject, data)
	if err != nil || len(m.Data) == 0 {
		return err
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("answer %.80q: %w", m.Data, err)
	}
	if answer.Error != nil {
		return answer.Error
	}
	return nil
}

// ask makes one request to JetStream's own interface.
func (b *Bus) ask(ctx context.Context, what string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, chunkSilence)
	defer cancel()
	m, err := b.NC.RequestWithContext(ctx, jetstream.DefaultAPIPrefix+what, data)
	if err != nil {
		return err
	}
	return json.Unmarshal(m.Data, answer)
}
