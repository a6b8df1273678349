package reconciler

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// each hands every entry that a bucket holds under filter to do, and stops at its
// first error. A listing that was cut off is an error: what it left out would
// look like gone.
func each(ctx context.Context, kv jetstream.KeyValue, filter string, do func(jetstream.KeyValueEntry) error, opts ...jetstream.WatchOpt) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := kv.Watch(ctx, filter, append(opts, jetstream.IgnoreDeletes())...)
	if err != nil {
		return fmt.Errorf("read bucket %s: %w", kv.Bucket(), err)
	}
	defer func() { _ = w.Stop() }() // a read-only subscription
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("read bucket %s: %w", kv.Bucket(), ctx.Err())
		case v, ok := <-w.Updates():
			if !ok {
				return fmt.Errorf("read bucket %s: %w", kv.Bucket(), errCut)
			}
			if v == nil {
				return nil // all that was there
			}
			if err := do(v); err != nil {
				return err
			}
		}
	}
}

var errCut = errors.New("the listing was cut off")
