package bus

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// flight is one write that waits for its PubAck.
type flight struct {
	reply   reply
	members []*commit
	msgs    []*nats.Msg  // theirs: a member that was given up may be another's by now
	one     [1]*nats.Msg // of which msgs is made, if it is one
	at      time.Time
	ahead   int // singles that lay before the server when it left
	batch   bool
	once    bool // the server knows its message by an id, and stores no second one
	again   bool // its message was sent before, and may be stored by that
}

// Headers of an atomic batch.
const (
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

// reply is the subject on which a flight is answered. The server keeps what it finds
// for a subject, and has less to do for one that it knows; so that of a single message
// serves the next one, once it was answered.
//
// A PubAck does not say which message it is of, and one may come twice: a new leader
// answers what it applies of the former's, who may have answered it too. So only what
// has a message id, and is stored once, uses a subject again, and only once a PubAck
// said that it was stored. Of the next one a greater number is believed. Whatever else
// is said may be another's, and is asked again on a new subject: by its id the server
// tells what was stored the first time.
type reply struct {
	n       uint64
	subject string
	seq     uint64 // of the last message that was confirmed there; 0: it is new
}

// newReply makes a reply subject that nobody had; mu is held.
func (c *Committer) newReply() reply {
	c.last++
	return reply{n: c.last, subject: string(strconv.AppendUint(append(make([]byte, 0, 64), c.prefix...), c.last, 36))}
}

// launch records the flight of members, one or a batch; mu is held. What is to be sent
// is taken down here, since who sends it may be kept waiting until it was given up.
func (c *Committer) launch(members []*commit, again bool) *flight {
	f := &flight{members: members, at: time.Now(), ahead: c.singles, batch: len(members) > 1, again: again}
	f.msgs = f.one[:0]
	for _, p := range members {
		f.msgs = append(f.msgs, p.msg)
	}
	if f.batch {
		c.batched = true
	} else {
		c.singles++
		f.once = get(f.msgs[0], HeaderMsgID) != ""
	}
	if n := len(c.spare); n > 0 && f.once && !again {
		f.reply, c.spare = c.spare[n-1], c.spare[:n-1]
	} else {
		f.reply = c.newReply()
	}
	c.flights[f.reply.n] = f
	if c.timer == nil {
		c.timer = time.AfterFunc(PublishTimeout, c.expire)
	}
	return f
}

// send sends a flight's messages. From the last of them on it may be answered, and the
// messages may be changed by who published them.
func (c *Committer) send(f *flight) {
	var err error
	if f.batch {
		err = c.sendBatch(f)
	} else {
		f.msgs[0].Reply = f.reply.subject
		err = c.b.NC.PublishMsg(f.msgs[0])
	}
	if err != nil { // nothing of it will be stored: a batch's commit was not sent
		c.land(f, err)
	}
}

// sendBatch sends a batch. Only the last message asks for an answer; the server reports
// there whatever was wrong with any of them. Nothing of theirs is changed: the answer
// may come while this runs, and what was answered is used again.
func (c *Committer) sendBatch(f *flight) error {
	id := []string{c.batch + strconv.FormatUint(f.reply.n, 36)}
	h := make(nats.Header, 8)
	for i, msg := range f.msgs {
		clear(h)
		maps.Copy(h, msg.Header)
		h[headerBatchID] = id
		h[headerBatchSeq] = []string{strconv.Itoa(i + 1)}
		m := nats.Msg{Subject: msg.Subject, Header: h, Data: msg.Data}
		if i == len(f.msgs)-1 {
			h[headerBatchCommit] = []string{"1"}
			m.Reply = f.reply.subject
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
	f := c.arrived(n)
	if f == nil {
		return // too late: it was given up as unknown
	}
	defer c.pump()
	a, err := readAck(m)
	switch {
	case !f.batch:
		c.answerOne(f, a, err)
	case err != nil:
		f.fail(err)
	case a.Error != nil:
		// Nothing of it was stored (a store that broke half way is caught by each
		// member's own guard). One by one each learns its own fate.
		c.oneByOne(f.members, false)
	case a.BatchSize != len(f.members):
		f.fail(fmt.Errorf("batch of %d answered as %d", len(f.members), a.BatchSize))
	default:
		first := a.Seq - uint64(len(f.members)) + 1
		for i, p := range f.members {
			p.done <- commitResult{ack: Ack{Sequence: first + uint64(i)}}
		}
	}
}

// answerOne takes the answer to a single message.
func (c *Committer) answerOne(f *flight, a pubAck, err error) {
	subject := f.msgs[0].Subject
	var ack Ack
	if err == nil {
		ack, err = a.of(subject)
	} else {
		err = publishError(subject, err)
	}
	switch confirmed := err == nil && !ack.Duplicate && ack.Sequence > f.reply.seq; {
	case confirmed && f.once:
		c.mu.Lock()
		c.spare = append(c.spare, reply{f.reply.n, f.reply.subject, ack.Sequence})
		c.mu.Unlock()
	case !confirmed && f.reply.seq > 0:
		c.oneByOne(f.members, true)
		return
	}
	f.members[0].done <- commitResult{ack, f.doubt(err)}
}

// doubt makes of a refusal what it says of the flight's message. One that was sent before
// may be stored all the same, but not if it met another write: a cluster looks for its id
// before it compares numbers. (A server alone does not, but never answers twice either.)
func (f *flight) doubt(err error) error {
	if err == nil || !f.again || errors.Is(err, ErrConflict) || errors.Is(err, ErrOutcomeUnknown) {
		return err
	}
	return fmt.Errorf("%w: asked again: %w", ErrOutcomeUnknown, err)
}

// oneByOne sends the members of a flight again, each on its own; again says that they
// may be stored already.
func (c *Committer) oneByOne(members []*commit, again bool) {
	for _, p := range members {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			p.done <- commitResult{err: fmt.Errorf("publish %s: %w: %w", p.msg.Subject, ErrOutcomeUnknown, nats.ErrConnectionClosed)}
			continue
		}
		f := c.launch([]*commit{p}, again)
		c.mu.Unlock()
		c.send(f)
	}
}

// arrived takes out the flight that an answer is for; nil if it is not there any more.
func (c *Committer) arrived(n uint64) *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.flights[n]
	if f == nil {
		return nil
	}
	c.forget(f)
	c.learn(f)
	if f.batch {
		c.gather(len(f.members))
	}
	return f
}

// forget takes a flight out of the books; mu is held.
func (c *Committer) forget(f *flight) {
	delete(c.flights, f.reply.n)
	if f.batch {
		c.batched = false
	} else {
		c.singles--
	}
}

// land ends a flight whose message could not be handed to the connection.
func (c *Committer) land(f *flight, err error) {
	c.mu.Lock()
	flies := c.flights[f.reply.n] == f
	if flies {
		c.forget(f)
	}
	c.mu.Unlock()
	if flies {
		f.fail(err)
		c.pump()
	}
}

func (f *flight) fail(err error) {
	for i, p := range f.members {
		p.done <- commitResult{err: f.doubt(publishError(f.msgs[i].Subject, err))}
	}
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
