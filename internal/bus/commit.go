package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// Committer publishes to one stream and lets many publishes share one fsync:
// what gathers while earlier writes are in flight goes out as one atomic batch
// where that is cheaper, and each Publish still returns only once its own
// message is stored. The server takes a batch whole or not at all; one that it
// refuses is sent again message by message, so that a member's fault is its own.
//
// A batch has a price: the server stages it in a store of its own, which costs
// milliseconds however small it is. Where each message is fsynced that is soon
// earned back, elsewhere never; so the committer measures both and chooses.
type Committer struct {
	b      *Bus
	opts   CommitOptions
	prefix string // of reply subjects; what follows is a number
	batch  string // prefix of batch ids
	sub    *nats.Subscription

	mu      sync.Mutex
	queue   []*commit
	singles int  // single messages in flight
	batched bool // a batch is in flight
	last    uint64
	spare   []reply // whose message is stored, free for the next
	flights map[uint64]*flight
	timer   *time.Timer // armed while there are flights
	closed  bool
	awake   atomic.Bool // a pump is about to run
	pumping bool        // a pump is at work

	perSingle time.Duration // what the server needs for a single message
	perBatch  time.Duration // what a batch takes, of any size
	answered  int           // singles so far
	batches   int           // so far
	window    int           // answers to singles since the last batch
	unproven  int           // batches since singles were last measured
	trust     int           // how many there may be

	gatherN  int       // see gather; 0 if nothing is waited for
	gatherBy time.Time // and until when
}

// CommitOptions bound a Committer; the zero value is sound.
type CommitOptions struct {
	// MaxBatch is how many messages go in one batch, at most 1000. Default 256.
	MaxBatch int
	// MaxBytes is how much data goes in one batch. Default 4 MiB.
	MaxBytes int
	// MinBatch makes every gathering of so many messages a batch, whatever was
	// measured. 0, the default, measures.
	MinBatch int
}

// commit is one message on its way.
type commit struct {
	msg  *nats.Msg
	done chan commitResult // of capacity 1
}

// commits are reused once they are answered.
var commits = sync.Pool{New: func() any { return &commit{done: make(chan commitResult, 1)} }}

type commitResult struct {
	ack Ack
	err error
}

// errNotSent: the message was given up before it left us, so it is not stored.
var errNotSent = errors.New("given up before it was sent")

// NewCommitter makes a committer for messages of one stream. All of them must
// belong to that stream: a batch across streams is refused.
func NewCommitter(b *Bus, opts CommitOptions) (*Committer, error) {
	if opts.MaxBatch <= 0 {
		opts.MaxBatch = 256
	}
	opts.MaxBatch = min(opts.MaxBatch, 1000)
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = 4 << 20
	}
	c := &Committer{b: b, opts: opts, perSingle: singlePrior, perBatch: batchPrior, trust: minTrust, prefix: b.NC.NewInbox() + ".", batch: nuid.Next() + ".", flights: map[uint64]*flight{}}
	var err error
	if c.sub, err = b.NC.Subscribe(c.prefix+"*", c.answer); err != nil {
		return nil, fmt.Errorf("committer: subscribe to its inbox: %w", err)
	}
	// The callback only hands results over; never drop one for want of room.
	if err := c.sub.SetPendingLimits(-1, -1); err != nil {
		return nil, fmt.Errorf("committer: %w", err)
	}
	return c, nil
}

// Publish stores msg and waits for it, at most until ctx ends or PublishTimeout.
// When it returns nil the message is as durable as its stream. Its errors are
// those of Bus.Publish. msg must not be changed meanwhile, nor ever again after
// ErrOutcomeUnknown: it may still be on its way.
func (c *Committer) Publish(ctx context.Context, msg *nats.Msg) (Ack, error) {
	return c.publish(ctx, msg, c.wake)
}

// PublishAtOnce is Publish for what was gathered already: it does not wait for those
// who are about to publish. Behind a batch it waits like any other, and on a connection
// that is stuck it may outlast ctx.
func (c *Committer) PublishAtOnce(ctx context.Context, msg *nats.Msg) (Ack, error) {
	return c.publish(ctx, msg, c.pump)
}

func (c *Committer) publish(ctx context.Context, msg *nats.Msg, leave func()) (Ack, error) {
	p := commits.Get().(*commit)
	p.msg = msg
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return Ack{}, fmt.Errorf("publish %s: %w: %w", msg.Subject, errNotSent, nats.ErrConnectionClosed)
	}
	c.queue = append(c.queue, p)
	c.mu.Unlock()
	leave()
	select {
	case r := <-p.done:
		p.msg = nil
		commits.Put(p) // answered, so nobody else knows it
		return r.ack, r.err
	case <-ctx.Done():
		return c.giveUp(p, ctx.Err())
	}
}

// wake pumps once all who are about to publish have done so: what goes out
// together costs one system call here and one on the server. On an idle machine
// that is at once.
func (c *Committer) wake() {
	if !c.awake.CompareAndSwap(false, true) {
		return
	}
	go func() {
		runtime.Gosched()
		c.awake.Store(false)
		c.pump()
	}()
}

// giveUp leaves p: out of the queue if it is still there, else to its fate.
func (c *Committer) giveUp(p *commit, cause error) (Ack, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, q := range c.queue {
		if q == p {
			c.queue = append(c.queue[:i], c.queue[i+1:]...)
			return Ack{}, fmt.Errorf("publish %s: %w: %w", p.msg.Subject, errNotSent, cause)
		}
	}
	select {
	case r := <-p.done: // it was answered just now
		return r.ack, r.err
	default:
		return Ack{}, fmt.Errorf("publish %s: %w: %w", p.msg.Subject, ErrOutcomeUnknown, cause)
	}
}

// Close ends the committer; what is in flight becomes unknown.
func (c *Committer) Close() {
	c.mu.Lock()
	c.closed = true
	queue, flights := c.queue, c.flights
	c.queue, c.flights = nil, map[uint64]*flight{}
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	_ = c.sub.Unsubscribe() // fails only on a closed connection, where there is nothing to end
	for _, p := range queue {
		p.done <- commitResult{err: fmt.Errorf("publish %s: %w: %w", p.msg.Subject, errNotSent, nats.ErrConnectionClosed)}
	}
	for _, f := range flights {
		f.fail(fmt.Errorf("%w: %w", ErrOutcomeUnknown, nats.ErrConnectionClosed))
	}
}

// pump sends what waits. While a batch is in flight nothing else leaves: it
// would only stand behind it on the server, and gathers better here. One pump at
// a time, so that messages leave in the order in which they came; who finds one
// at work leaves the rest to it, since it looks again before it ends.
func (c *Committer) pump() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pumping {
		return
	}
	c.pumping = true
	for !c.closed && !c.batched && len(c.queue) > 0 && !c.gathering() {
		var members []*commit
		switch {
		case c.worthBatch(len(c.queue)):
			members = c.take()
		case c.singles < 8 || c.singles < maxSingles && time.Duration(c.singles)*c.perSingle < ahead:
			members = c.queue[:1:1]
			c.queue = c.queue[1:]
		}
		if members == nil {
			break
		}
		f := c.launch(members, false)
		c.mu.Unlock()
		c.send(f)
		c.mu.Lock()
	}
	c.pumping = false
}

// take removes the next batch from the queue. Two messages of one message id or
// under one expectation never go together: the server refuses the first kind,
// and would let both of the second kind pass.
func (c *Committer) take() []*commit {
	var members, rest []*commit
	seen := make(map[string]struct{}, 2*min(len(c.queue), c.opts.MaxBatch))
	size := 0
	for i, p := range c.queue {
		if len(members) >= c.opts.MaxBatch || size+len(p.msg.Data) > c.opts.MaxBytes && len(members) > 0 {
			rest = append(rest, c.queue[i:]...)
			break
		}
		id, guard := get(p.msg, HeaderMsgID), get(p.msg, HeaderExpectOf)
		if guard == "" {
			guard = p.msg.Subject
		}
		_, sameID := seen["i"+id]
		_, sameGuard := seen["g"+guard]
		expects := get(p.msg, HeaderExpectSeq) != ""
		if id != "" && sameID || expects && sameGuard {
			rest = append(rest, p)
			continue
		}
		if id != "" {
			seen["i"+id] = struct{}{}
		}
		if expects {
			seen["g"+guard] = struct{}{}
		}
		members = append(members, p)
		size += len(p.msg.Data)
	}
	c.queue = rest
	return members
}

func get(msg *nats.Msg, name string) string {
	if v := msg.Header[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}
