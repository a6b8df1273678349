package bus

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// flight is one write that waits for its PubAck.
type flight struct {
	members []*commit
	at      time.Time
	ahead   int // singles that lay before the server when it left
	batch   bool
}

// Headers of an atomic batch.
const (
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

// launch records a flight; mu is held.
func (c *Committer) launch(members []*commit) uint64 {
	c.last++
	f := &flight{members: members, at: time.Now(), ahead: c.singles, batch: len(members) > 1}
	if f.batch {
		c.batched = true
	} else {
		c.singles++
	}
	c.flights[c.last] = f
	if c.timer == nil {
		c.timer = time.AfterFunc(PublishTimeout, c.expire)
	}
	return c.last
}

func (c *Committer) reply(n uint64) string { return c.prefix + strconv.FormatUint(n, 36) }

func (c *Committer) single(n uint64, p *commit) {
	p.msg.Reply = c.reply(n)
	if err := c.b.NC.PublishMsg(p.msg); err != nil {
		c.land(n, commitResult{err: err})
	}
}

// send writes a batch. Only the last message asks for an answer; the server
// reports there whatever was wrong with any of them.
func (c *Committer) send(n uint64, members []*commit) {
	id := []string{c.batch + strconv.FormatUint(n, 36)}
	for i, p := range members {
		h := p.msg.Header
		if h == nil {
			h = nats.Header{}
			p.msg.Header = h
		}
		h[headerBatchID] = id
		h[headerBatchSeq] = []string{strconv.Itoa(i + 1)}
		p.msg.Reply = ""
		if i == len(members)-1 {
			h[headerBatchCommit] = []string{"1"}
			p.msg.Reply = c.reply(n)
		}
		err := c.b.NC.PublishMsg(p.msg)
		delete(h, headerBatchID)
		delete(h, headerBatchSeq)
		delete(h, headerBatchCommit)
		if err != nil {
			// The commit was not sent, so nothing of the batch will be stored.
			c.land(n, commitResult{err: err})
			return
		}
	}
}

// answer takes one PubAck, or what came instead of it.
func (c *Committer) answer(m *nats.Msg) {
	n, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, c.prefix), 36, 64)
	if err != nil {
		return // not one of ours
	}
	f := c.remove(n, true)
	if f == nil {
		return // too late: it was given up as unknown
	}
	defer c.pump()
	if len(f.members) == 1 {
		ack, err := parseAck(f.members[0].msg.Subject, m)
		f.members[0].done <- commitResult{ack, err}
		return
	}
	var a pubAck
	switch {
	case len(m.Data) == 0 && m.Header.Get("Status") == "503":
		f.fail(nats.ErrNoResponders)
	case json.Unmarshal(m.Data, &a) != nil:
		f.fail(fmt.Errorf("%w: answer %.80q", ErrOutcomeUnknown, m.Data))
	case a.Error != nil:
		// Nothing of it was stored (a store that broke half way is caught by each
		// member's own guard). One by one each learns its own fate.
		c.oneByOne(f.members)
	case a.BatchSize != len(f.members):
		f.fail(fmt.Errorf("%w: batch of %d answered as %d", ErrOutcomeUnknown, len(f.members), a.BatchSize))
	default:
		first := a.Seq - uint64(len(f.members)) + 1
		for i, p := range f.members {
			p.done <- commitResult{ack: Ack{Stream: a.Stream, Sequence: first + uint64(i)}}
		}
	}
}

// oneByOne sends the members of a refused batch each on its own.
func (c *Committer) oneByOne(members []*commit) {
	for _, p := range members {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			p.done <- commitResult{err: fmt.Errorf("publish %s: %w: %w", p.msg.Subject, errNotSent, nats.ErrConnectionClosed)}
			continue
		}
		n := c.launch([]*commit{p})
		c.mu.Unlock()
		c.single(n, p)
	}
}

// remove takes a flight out; nil if it is not there any more.
func (c *Committer) remove(n uint64, answered bool) *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.flights[n]
	if f == nil {
		return nil
	}
	c.forget(n, f)
	if answered {
		c.learn(f)
	}
	if answered && f.batch {
		c.gather(len(f.members))
	}
	return f
}

// forget takes a flight out of the books; mu is held.
func (c *Committer) forget(n uint64, f *flight) {
	delete(c.flights, n)
	if f.batch {
		c.batched = false
	} else {
		c.singles--
	}
}

// land ends a flight whose message could not be handed to the connection.
func (c *Committer) land(n uint64, r commitResult) {
	if f := c.remove(n, false); f != nil {
		f.fail(r.err)
		c.pump()
	}
}

func (f *flight) fail(err error) {
	for _, p := range f.members {
		p.done <- commitResult{err: publishError(p.msg.Subject, err)}
	}
}

// expire gives up flights older than PublishTimeout as unknown.
func (c *Committer) expire() {
	now := time.Now()
	var late []*flight
	c.mu.Lock()
	for n, f := range c.flights {
		if now.Sub(f.at) >= PublishTimeout {
			late = append(late, f)
			c.forget(n, f)
		}
	}
	c.timer = nil
	if len(c.flights) > 0 && !c.closed {
		c.timer = time.AfterFunc(PublishTimeout/10, c.expire)
	}
	c.mu.Unlock()
	for _, f := range late {
		f.fail(nats.ErrTimeout)
	}
	if late != nil {
		c.pump()
	}
}
