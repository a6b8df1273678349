package bus

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Stored is a message as a stream holds it.
type Stored struct {
	Subject  string
	Sequence uint64
	Time     time.Time // when the server stored it
	Header   nats.Header
	Data     []byte
}

// Last reads the last message of stream on filter, which may hold wildcards. On
// a replicated stream any replica may answer, so it may be a moment old: a
// compare-and-set decides, never such a read alone.
func (b *Bus) Last(ctx context.Context, stream, filter string) (Stored, bool, error) {
	body, err := json.Marshal(map[string]string{"last_by_subj": filter})
	if err != nil {
		return Stored{}, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, PublishTimeout)
	defer cancel()
	m, err := b.NC.RequestWithContext(ctx, jetstream.DefaultAPIPrefix+"DIRECT.GET."+stream, body)
	if err != nil {
		return Stored{}, false, fmt.Errorf("read %s: %w", filter, err)
	}
	switch status := m.Header.Get("Status"); status {
	case "":
	case "404":
		return Stored{}, false, nil
	default:
		return Stored{}, false, fmt.Errorf("read %s: status %s %s", filter, status, m.Header.Get("Description"))
	}
	out, err := stored(m)
	if err != nil {
		return Stored{}, false, fmt.Errorf("read %s: %w", filter, err)
	}
	return out, true, nil
}

// LastFromLeader is Last as the stream's leader sees it, never old, slower, and
// without the header.
func (b *Bus) LastFromLeader(ctx context.Context, stream, filter string) (Stored, bool, error) {
	return b.fromLeader(ctx, stream, filter, map[string]any{"last_by_subj": filter})
}

// NextFromLeader reads the first message on filter from sequence from on, as
// LastFromLeader does.
func (b *Bus) NextFromLeader(ctx context.Context, stream, filter string, from uint64) (Stored, bool, error) {
	return b.fromLeader(ctx, stream, filter, map[string]any{"seq": from, "next_by_subj": filter})
}

func (b *Bus) fromLeader(ctx context.Context, stream, filter string, request map[string]any) (Stored, bool, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return Stored{}, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, PublishTimeout)
	defer cancel()
	m, err := b.NC.RequestWithContext(ctx, jetstream.DefaultAPIPrefix+"STREAM.MSG.GET."+stream, body)
	if err != nil {
		return Stored{}, false, fmt.Errorf("read %s: %w", filter, err)
	}
	var a struct {
		Message struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Data     string    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return Stored{}, false, fmt.Errorf("read %s: answer: %w", filter, err)
	}
	if a.Error != nil {
		if a.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return Stored{}, false, nil
		}
		return Stored{}, false, fmt.Errorf("read %s: %w", filter, a.Error)
	}
	data, err := base64.StdEncoding.DecodeString(a.Message.Data)
	if err != nil {
		return Stored{}, false, fmt.Errorf("read %s: data: %w", filter, err)
	}
	return Stored{Subject: a.Message.Subject, Sequence: a.Message.Sequence, Time: a.Message.Time, Data: data}, true, nil
}
