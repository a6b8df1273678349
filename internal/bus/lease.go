package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Lease is the right to do what only one replica should do at a time. It saves
// work; it does not make anything safe: a compare-and-set does that.
type Lease struct {
	b     *Bus
	key   string
	owner string
	ttl   time.Duration
	seq   uint64
}

// ErrLeaseHeld: another replica has it.
var ErrLeaseHeld = errors.New("lease held by another")

// Acquire takes the lease key for ttl (≥ 1 s), or returns ErrLeaseHeld. The
// server removes it when it was not renewed in time.
func (b *Bus) Acquire(ctx context.Context, key, owner string, ttl time.Duration) (*Lease, error) {
	l := &Lease{b: b, key: key, owner: owner, ttl: ttl}
	ctx, cancel := context.WithTimeout(ctx, PublishTimeout)
	defer cancel()
	kv, err := b.JS.KeyValue(ctx, BucketLeases)
	if err != nil {
		return nil, fmt.Errorf("lease %s: %w", key, err)
	}
	l.seq, err = kv.Create(ctx, key, []byte(owner), jetstream.KeyTTL(ttl))
	if IsConflict(err) {
		// Our own create whose answer was lost is ours all the same.
		if e, getErr := kv.Get(ctx, key); getErr == nil && string(e.Value()) == owner {
			l.seq = e.Revision()
			return l, l.Renew(ctx)
		}
		return nil, ErrLeaseHeld
	}
	if err != nil {
		return nil, fmt.Errorf("lease %s: %w", key, err)
	}
	return l, nil
}

// Renew prolongs the lease by its ttl from now. ErrLeaseHeld means it was lost.
// It publishes raw because the KV API's Update would drop the ttl.
func (l *Lease) Renew(ctx context.Context) error {
	msg := nats.NewMsg("$KV." + BucketLeases + "." + l.key)
	msg.Data = []byte(l.owner)
	Expect(msg, msg.Subject, l.seq)
	msg.Header.Set(jetstream.MsgTTLHeader, l.ttl.String())
	ack, err := l.b.Publish(ctx, msg)
	if errors.Is(err, ErrConflict) {
		return ErrLeaseHeld
	}
	if err != nil {
		return fmt.Errorf("renew lease %s: %w", l.key, err)
	}
	l.seq = ack.Sequence
	return nil
}

// Release gives the lease up early, if it is still ours.
func (l *Lease) Release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, PublishTimeout)
	defer cancel()
	kv, err := l.b.JS.KeyValue(ctx, BucketLeases)
	if err != nil {
		return fmt.Errorf("release lease %s: %w", l.key, err)
	}
	if err := kv.Delete(ctx, l.key, jetstream.LastRevision(l.seq)); err != nil {
		return fmt.Errorf("release lease %s: %w", l.key, err)
	}
	return nil
}
