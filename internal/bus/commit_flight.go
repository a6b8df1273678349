package bus

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// flight is one write that waits for its PubAck. The server remembers each subject that
// it answers on, and to learn a new one costs it more than the answer does: so a flight
// that was answered is used again, on the same subject.
type flight struct {
	number  uint64
	reply   string    // the subject that it is answered on
	single  *commit   // what it carries: one message
	members []*commit // or a batch
	batchID string
	at      time.Time
	ahead   int    // singles that lay before the server when it left
	stored  uint64 // the sequence of its last answer
}

// echoes says whether a is the answer to this flight's write before, told again: after
// a change of leader both may tell it. A flight is used again after a plain PubAck
// only, and what the server stores since has a sequence beyond that.
func (f *flight) echoes(a pubAck) bool {
	return a.Error == nil && a.Seq > 0 && (a.Seq == f.stored || a.Seq < f.stored && !a.Duplicate)
}

// Headers of an atomic batch.
const (
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

// launch makes a flight of one message or of a batch; mu is held.
func (c *Committer) launch(single *commit, members []*commit) *flight {
	var f *flight
	if last := len(c.idle) - 1; last >= 0 {
		f, c.idle = c.idle[last], c.idle[:last]
	} else {
		c.last++
		f = &flight{number: c.last, reply: c.prefix + strconv.FormatUint(c.last, 36)}
	}
	f.single, f.members, f.at, f.ahead = single, members, time.Now(), c.singles
	if members == nil {
		c.singles++
	} else {
		c.batched = true
		c.sent++
		f.batchID = c.batch + strconv.FormatUint(c.sent, 36)
	}
	c.flights[f.number] = f
	if c.timer == nil {
		c.timer = time.AfterFunc(PublishTimeout, c.expire)
	}
	return f
}

// send sends what a flight carries. From the last of it on the flight may be answered,
// and another's.
func (c *Committer) send(f *flight) {
	n := f.number
	var err error
	if f.members != nil {
		err = c.sendBatch(f)
	} else {
		f.single.msg.Reply = f.reply
		err = c.b.NC.PublishMsg(f.single.msg)
	}
	if err != nil { // nothing of it will be stored: a batch's commit was not sent
		c.land(n, err)
	}
}

// sendBatch sends a batch. Only the last message asks for an answer; the server
// reports there whatever was wrong with any of them.
func (c *Committer) sendBatch(f *flight) error {
	members, id, reply := f.members, []string{f.batchID}, f.reply
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
			p.msg.Reply = reply
		}
		err := c.b.NC.PublishMsg(p.msg)
		delete(h, headerBatchID)
		delete(h, headerBatchSeq)
		delete(h, headerBatchCommit)
		if err != nil {
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
	a, err := readAck(m)
	c.mu.Lock()
	f := c.flights[n]
	if f == nil || f.echoes(a) {
		c.mu.Unlock()
		return // given up as unknown by now, or told before
	}
	single, members := f.single, f.members
	c.forget(f)
	c.learn(f)
	if members != nil {
		c.gather(len(members))
	}
	if err == nil && a.plain() {
		f.single, f.members, f.stored = nil, nil, a.Seq
		c.idle = append(c.idle, f)
	}
	c.mu.Unlock()
	if members == nil {
		single.answer(a, err)
	} else {
		c.answerBatch(members, a, err)
	}
	c.pump()
}

func (p *commit) answer(a pubAck, err error) {
	if err != nil {
		p.fail(err)
		return
	}
	ack, err := a.of(p.msg.Subject)
	p.done <- commitResult{ack, err}
}

func (c *Committer) answerBatch(members []*commit, a pubAck, err error) {
	switch {
	case err == nil && a.Error != nil:
		// Nothing of it was stored (a store that broke half way is caught by each
		// member's own guard). One by one each learns its own fate.
		c.oneByOne(members)
		return
	case err == nil && a.BatchSize != len(members):
		err = fmt.Errorf("batch of %d answered as %d", len(members), a.BatchSize)
	}
	first := a.Seq - uint64(len(members)) + 1
	for i, p := range members {
		if err != nil {
			p.fail(err)
		} else {
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
		f := c.launch(p, nil)
		c.mu.Unlock()
		c.send(f)
	}
}

// forget takes a flight out of those that wait; mu is held.
func (c *Committer) forget(f *flight) {
	delete(c.flights, f.number)
	if f.members != nil {
		c.batched = false
	} else {
		c.singles--
	}
}

// land ends a flight whose message could not be handed to the connection.
func (c *Committer) land(n uint64, err error) {
	c.mu.Lock()
	f := c.flights[n]
	if f != nil {
		c.forget(f)
	}
	c.mu.Unlock()
	if f != nil {
		f.fail(err)
		c.pump()
	}
}

// fail ends what a flight carries that is never used again.
func (f *flight) fail(err error) {
	if f.members == nil {
		f.single.fail(err)
	}
	for _, p := range f.members {
		p.fail(err)
	}
}

func (p *commit) fail(err error) {
	p.done <- commitResult{err: publishError(p.msg.Subject, err)}
}

// expire gives up flights older than PublishTimeout as unknown.
func (c *Committer) expire() {
	now := time.Now()
	var late []*flight
	c.mu.Lock()
	for _, f := range c.flights {
		if now.Sub(f.at) >= PublishTimeout {
			late = append(late, f)
			c.forget(f)
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
