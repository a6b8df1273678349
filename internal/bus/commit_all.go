package bus

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
)

// PublishAll stores msgs, which go out in their order and share fsyncs, and
// returns what became of each: nil, or an error as of Publish. Messages that
// were not tried because ctx ended have an error as well.
func (c *Committer) PublishAll(ctx context.Context, msgs []*nats.Msg) []error {
	out := make([]error, len(msgs))
	waiting := make([]*commit, len(msgs))
	for i, m := range msgs {
		waiting[i] = &commit{msg: m, done: make(chan commitResult, 1)}
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		for i, m := range msgs {
			out[i] = fmt.Errorf("publish %s: %w: %w", m.Subject, errNotSent, nats.ErrConnectionClosed)
		}
		return out
	}
	c.queue = append(c.queue, waiting...)
	c.mu.Unlock()
	c.pump()
	for i, p := range waiting {
		select {
		case r := <-p.done:
			out[i] = r.err
		case <-ctx.Done():
			_, out[i] = c.giveUp(p, ctx.Err())
		}
	}
	return out
}
