package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Provision makes or updates every stream, consumer and bucket. It is
// idempotent, and the only place that changes them: workers bind.
func (b *Bus) Provision(ctx context.Context, s Settings) error {
	t := NewTopology(s)
	for _, sc := range t.Streams {
		if err := b.provisionStream(ctx, sc); err != nil {
			return fmt.Errorf("stream %s: %w", sc.Name, err)
		}
		for _, cc := range t.Consumers[sc.Name] {
			if _, err := b.JS.CreateOrUpdateConsumer(ctx, sc.Name, cc); err != nil {
				return fmt.Errorf("consumer %s of %s: %w", cc.Durable, sc.Name, err)
			}
		}
	}
	for _, kc := range t.Buckets {
		if _, err := b.JS.CreateOrUpdateKeyValue(ctx, kc); err != nil {
			return fmt.Errorf("bucket %s: %w", kc.Bucket, err)
		}
		if err := b.allowBatches(ctx, StreamKV(kc.Bucket)); err != nil {
			return fmt.Errorf("bucket %s: %w", kc.Bucket, err)
		}
	}
	return nil
}

// provisionStream makes or updates a stream. What becomes of its messages once they
// are acknowledged the server does not change on a stream that stands.
func (b *Bus) provisionStream(ctx context.Context, sc jetstream.StreamConfig) error {
	_, err := b.JS.CreateOrUpdateStream(ctx, sc)
	if err == nil {
		return nil
	}
	if s, look := b.JS.Stream(ctx, sc.Name); look == nil {
		if have := s.CachedInfo().Config.Retention; have != sc.Retention {
			return fmt.Errorf("it stands with retention %v and should have %v, which the server cannot change: stop its publishers, let the workers empty it, remove it (nats stream rm %s) and provision again: %w",
				have, sc.Retention, sc.Name, err)
		}
	}
	return err
}

// allowBatches lets a bucket's stream take atomic batches, which the KV
// configuration has no field for.
func (b *Bus) allowBatches(ctx context.Context, stream string) error {
	s, err := b.JS.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("stream %s: %w", stream, err)
	}
	cfg := s.CachedInfo().Config
	if cfg.AllowAtomicPublish {
		return nil
	}
	cfg.AllowAtomicPublish = true
	if _, err := b.JS.UpdateStream(ctx, cfg); err != nil {
		return fmt.Errorf("stream %s: %w", stream, err)
	}
	return nil
}

// needFor is how long Need asks again while nobody answers.
const needFor = time.Minute

// Need checks that the streams, consumers (as "STREAM/consumer") and buckets (as
// "kv/bucket") a worker binds to are there, and says all that is missing at once. A
// cluster that has just lost a node may not answer for seconds: it is asked again for
// a minute, since who ends for that is started later and later.
func (b *Bus) Need(ctx context.Context, names ...string) error {
	for end := time.Now().Add(needFor); ; {
		err := b.NeedNow(ctx, names...)
		if !errors.Is(err, ErrNoAnswer) || ctx.Err() != nil || time.Now().After(end) {
			return err
		}
		b.log.Warn("nats: the cluster does not answer, asked again", "error", err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(needPause):
		}
	}
}

const needPause = 500 * time.Millisecond

// ErrNoAnswer: nobody said whether it is there.
var ErrNoAnswer = errors.New("no answer from JetStream")

// unanswered: nobody has the word in the cluster just now, or nobody hears us.
func unanswered(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode == errCodeUnavailable
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout)
}

// errCodeUnavailable: "JetStream system temporarily unavailable".
const errCodeUnavailable = 10008

// NeedNow is Need, asking once. Its error wraps ErrNoAnswer where nobody said.
func (b *Bus) NeedNow(ctx context.Context, names ...string) error {
	var missing []string
	for _, name := range names {
		var err error
		if bucket, ok := strings.CutPrefix(name, "kv/"); ok {
			_, err = b.JS.KeyValue(ctx, bucket)
		} else if stream, consumer, ok := strings.Cut(name, "/"); ok {
			_, err = b.JS.Consumer(ctx, stream, consumer)
		} else {
			_, err = b.JS.Stream(ctx, name)
		}
		switch {
		case err == nil:
		case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrBucketNotFound):
			missing = append(missing, name)
		case unanswered(err):
			return fmt.Errorf("look for %s: %w: %w", name, ErrNoAnswer, err)
		default:
			return fmt.Errorf("look for %s: %w", name, err)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing on the NATS server: %s; run `simctl provision`", strings.Join(missing, ", "))
	}
	return nil
}
