package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Verdict is what a handler decided about a message. Its zero value leaves the
// message alone: it comes again after AckWait.
type Verdict struct {
	act    action
	delay  time.Duration
	reason string
	err    error
	order  string
}

type action int

const (
	actNone action = iota
	actAck
	actRetry
	actDead
)

// Done: the message's effect is durable elsewhere; forget it.
func Done() Verdict { return Verdict{act: actAck} }

// Again: deliver it again after delay. It holds an ack slot meanwhile, so delays
// are short (≤ 30 s).
func Again(delay time.Duration) Verdict { return Verdict{act: actRetry, delay: delay} }

// Dead: it can never be taken; publish the whole message to DEAD, then ack.
func Dead(reason string, err error) Verdict { return Verdict{act: actDead, reason: reason, err: err} }

// About says which order a dead letter is about.
func (v Verdict) About(orderID string) Verdict {
	v.order = orderID
	return v
}

// Leave: do nothing; the server delivers it again after AckWait.
func Leave() Verdict { return Verdict{} }

// IsDead, IsDone and Delay let tests and metrics read a verdict.
func (v Verdict) IsDead() (reason string, ok bool) { return v.reason, v.act == actDead }
func (v Verdict) IsDone() bool                     { return v.act == actAck }
func (v Verdict) Delay() (time.Duration, bool)     { return v.delay, v.act == actRetry }

// Handler handles one message. ctx ends when the worker must let go at once, not
// when it should merely stop taking new ones.
type Handler func(ctx context.Context, msg jetstream.Msg) Verdict

// ConsumeConfig says which durable to read and how.
type ConsumeConfig struct {
	Stream, Durable string
	// Concurrency is how many messages are handled at once; also how many are
	// fetched ahead, so that none waits past its AckWait in our memory.
	Concurrency int
	// Progress keeps a message that is being worked on from being delivered
	// again, at AckWait/3.
	Progress bool
}

// Consume handles messages until ctx ends, then waits for those in work; their
// handlers' context is work, which outlives ctx by the caller's grace. It
// returns nil on a clean end, and an error when the consumer is gone or stalls:
// a worker then exits and is started again.
func (b *Bus) Consume(ctx, work context.Context, cfg ConsumeConfig, handle Handler) error {
	cons, err := b.JS.Consumer(ctx, cfg.Stream, cfg.Durable)
	if ctx.Err() != nil {
		return nil // asked to stop before it began
	}
	if err != nil {
		return fmt.Errorf("bind to consumer %s of %s: %w", cfg.Durable, cfg.Stream, err)
	}
	ackWait := cons.CachedInfo().Config.AckWait
	n := max(cfg.Concurrency, 1)
	it, err := cons.Messages(jetstream.PullMaxMessages(n), jetstream.PullHeartbeat(5*time.Second), jetstream.PullExpiry(15*time.Second),
		jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return fmt.Errorf("read consumer %s: %w", cfg.Durable, err)
	}
	stop := context.AfterFunc(ctx, it.Drain)
	defer stop()
	hands := make([]hand, n)
	done := make(chan struct{})
	defer close(done)
	if cfg.Progress {
		go progress(hands, ackWait/3, done)
	}
	// Workers that stay keep the stacks that decoding and encoding have grown.
	var wg sync.WaitGroup
	defer wg.Wait()
	msgs := make(chan jetstream.Msg)
	defer close(msgs)
	for i := range hands {
		wg.Go(func() {
			for msg := range msgs {
				hands[i].take(msg)
				b.settle(work, cfg.Stream, msg, handle(work, msg))
				hands[i].take(nil)
			}
		})
	}
	misses := 0
	for {
		msg, err := it.Next()
		switch {
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			return nil
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			// Away while reconnecting is normal; silent while connected is a stall.
			if b.NC.IsConnected() {
				misses++
			}
			if misses >= 6 {
				it.Stop()
				return fmt.Errorf("consumer %s of %s: no heartbeat: %w", cfg.Durable, cfg.Stream, err)
			}
			b.log.Warn("nats: no heartbeat from consumer", "consumer", cfg.Durable, "misses", misses)
			continue
		case err != nil:
			it.Stop()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("consumer %s of %s: %w", cfg.Durable, cfg.Stream, err)
		}
		misses = 0
		msgs <- msg
	}
}

// hand is what one worker has in hand.
type hand struct {
	mu  sync.Mutex
	msg jetstream.Msg
}

func (h *hand) take(msg jetstream.Msg) {
	h.mu.Lock()
	h.msg = msg
	h.mu.Unlock()
}

// progress tells the server every interval what is being worked on, until done.
func progress(hands []hand, every time.Duration, done <-chan struct{}) {
	if every <= 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		for i := range hands {
			h := &hands[i]
			h.mu.Lock()
			if h.msg != nil {
				_ = h.msg.InProgress() // best effort: at worst it is delivered twice, which the ledger stands
			}
			h.mu.Unlock()
		}
	}
}

// settle carries out a verdict. An ack that is lost leads to a second delivery,
// which every handler stands; so acks are not waited for.
func (b *Bus) settle(ctx context.Context, stream string, msg jetstream.Msg, v Verdict) {
	done, err := b.conclude(ctx, stream, msg, v)
	switch {
	case err != nil:
		b.log.Error("nats: message kept", "stream", stream, "error", err)
		err = msg.NakWithDelay(5 * time.Second)
	case done:
		// If we die here: the message comes again. A letter's message id keeps it from
		// lying in DEAD twice.
		err = msg.Ack()
	case v.act == actRetry:
		err = msg.NakWithDelay(v.delay)
	}
	if err != nil {
		b.log.Warn("nats: verdict not delivered, message comes again", "stream", stream, "error", err)
	}
}

// conclude does what a verdict asks for before its message may go, and says whether
// it may.
func (b *Bus) conclude(ctx context.Context, stream string, msg Message, v Verdict) (done bool, err error) {
	switch v.act {
	case actAck:
		return true, nil
	case actDead:
		if err := b.deadLetter(ctx, stream, msg, v); err != nil {
			return false, fmt.Errorf("dead letter not stored: %w", err)
		}
		return true, nil
	}
	return false, nil
}
