package bus

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// flight is one write that waits for its PubAck.
type flight struct {
	members []*commit
	msgs    []*nats.Msg  // theirs: a member that was given up may be another's by now
	one     [1]*nats.Msg // of which msgs is made, if it is one
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

// launch records a flight; mu is held. What is to be sent is taken down here, since
// who sends it may be kept waiting until it was given up.
func (c *Committer) launch(members []*commit) (n uint64, msgs []*nats.Msg) {
	c.last++
	f := &flight{members: members, at: time.Now(), ahead: c.singles, batch: len(members) > 1}
	f.msgs = f.one[:0]
	for _, p := range members {
		f.msgs = append(f.msgs, p.msg)
	}
	if f.batch {
		c.batched = true
	} else {
		c.singles++
	}
	c.flights[c.last] = f
	if c.timer == nil {
		c.timer = time.AfterFunc(PublishTimeout, c.expire)
	}
	return c.last, f.msgs
}

func (c *Committer) reply(n uint64) string {
	return string(strconv.AppendUint(append(make([]byte, 0, 64), c.prefix...), n, 36))
}

// send sends a flight's messages. From the last of them on it may be answered, and the
// messages may be changed by who published them.
func (c *Committer) send(n uint64, msgs []*nats.Msg) {
	var err error
	if len(msgs) == 1 {
		msgs[0].Reply = c.reply(n)
		err = c.b.NC.PublishMsg(msgs[0])
	} else {
		err = c.sendBatch(n, msgs)
	}
	if err != nil { // nothing of it will be stored: a batch's commit was not sent
		c.land(n, commitResult{err: err})
	}
}

// sendBatch sends a batch. Only the last message asks for an answer; the server reports
// there whatever was wrong with any of them. Nothing of theirs is changed: the answer
// may come while this runs, and what was answered is used again.
func (c *Committer) sendBatch(n uint64, msgs []*nats.Msg) error {
	id := []string{c.batch + strconv.FormatUint(n, 36)}
	h := make(nats.Header, 8)
	for i, msg := range msgs {
		clear(h)
		maps.Copy(h, msg.Header)
		h[headerBatchID] = id
		h[headerBatchSeq] = []string{strconv.Itoa(i + 1)}
		m := nats.Msg{Subject: msg.Subject, Header: h, Data: msg.Data}
		if i == len(msgs)-1 {
			h[headerBatchCommit] = []string{"1"}
			m.Reply = c.reply(n)
		}
		if err := c.b.NC.PublishMsg(&m); err != nil {
			return err
		}
	}
	return nil
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
	a, err := readAck(m)
	switch {
	case err != nil:
		f.fail(err)
	case !f.batch:
		ack, err := a.of(f.msgs[0].Subject)
		f.members[0].done <- commitResult{ack, err}
	case a.Error != nil:
		// Nothing of it was stored (a store that broke half way is caught by each
		// member's own guard). One by one each learns its own fate.
		c.oneByOne(f.members)
	case a.BatchSize != len(f.members):
		f.fail(fmt.Errorf("batch of %d answered as %d", len(f.members), a.BatchSize))
	default:
		first := a.Seq - uint64(len(f.members)) + 1
		for i, p := range f.members {
			p.done <- commitResult{ack: Ack{Sequence: first + uint64(i)}}
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
		n, msgs := c.launch([]*commit{p})
		c.mu.Unlock()
		c.send(n, msgs)
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
	for i, p := range f.members {
		p.done <- commitResult{err: publishError(f.msgs[i].Subject, err)}
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
