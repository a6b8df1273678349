package orderer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
)

// cards keeps two orders for one card from being in flight together: within this
// replica by a map, between replicas by an entry in the leases bucket that the
// server removes when its holder died. It saves the supplier from races; that no
// order is placed twice does not hang on it.
type cards struct {
	bus    *bus.Bus
	commit *bus.Committer
	owner  string

	mu   sync.Mutex
	held map[string]bool
}

// locker is how place sees cards.
type locker interface {
	// hold takes the object within this replica, or says that it is taken.
	hold(object string) bool
	// lock takes a held object over all replicas for at most ttl, or lets it go and
	// returns a nil card with the reason.
	lock(ctx context.Context, object string, ttl time.Duration) (*card, error)
}

// card is an object that this worker has to itself.
type card struct {
	unlockIt func(context.Context)
}

// unlock lets the card go. Nothing is wrong with a nil one.
func (c *card) unlock(ctx context.Context) {
	if c != nil {
		c.unlockIt(ctx)
	}
}

func newCards(b *bus.Bus, owner string) (*cards, error) {
	commit, err := bus.NewCommitter(b, bus.CommitOptions{})
	if err != nil {
		return nil, fmt.Errorf("card locks: %w", err)
	}
	return &cards{bus: b, commit: commit, owner: owner, held: map[string]bool{}}, nil
}

// isNew: what is bought is new, so nobody else can want it.
func isNew(object string) bool { return strings.HasPrefix(object, "order:") }

func (c *cards) hold(object string) bool {
	if isNew(object) {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[object] {
		return false
	}
	c.held[object] = true
	return true
}

func (c *cards) lock(ctx context.Context, object string, ttl time.Duration) (*card, error) {
	if isNew(object) {
		return &card{unlockIt: func(context.Context) {}}, nil
	}
	seq, err := c.take(ctx, object, ttl)
	if err != nil {
		c.let(object)
		return nil, err
	}
	return &card{unlockIt: func(ctx context.Context) {
		c.give(ctx, object, seq)
		c.let(object)
	}}, nil
}

func (c *cards) let(object string) {
	c.mu.Lock()
	delete(c.held, object)
	c.mu.Unlock()
}

// subject of an object's entry; the card's number itself stays out of the bucket.
func (c *cards) subject(object string) string {
	sum := sha256.Sum256([]byte(object))
	return bus.SubjectKV(bus.BucketLeases, "card."+hex.EncodeToString(sum[:12]))
}

func (c *cards) take(ctx context.Context, object string, ttl time.Duration) (uint64, error) {
	subject, last := c.subject(object), uint64(0)
	for range 2 {
		msg := bus.NewMsg(subject, "", []byte(c.owner))
		bus.Expect(msg, subject, last)
		msg.Header[jetstream.MsgTTLHeader] = []string{seconds(ttl)}
		ack, err := c.commit.Publish(ctx, msg)
		if err == nil {
			return ack.Sequence, nil
		}
		if !errors.Is(err, bus.ErrConflict) {
			return 0, fmt.Errorf("card lock: %w", err)
		}
		m, found, err := c.bus.Last(ctx, bus.StreamKV(bus.BucketLeases), subject)
		if err != nil {
			return 0, fmt.Errorf("card lock: %w", err)
		}
		if found && len(m.Data) > 0 {
			return 0, errCardBusy
		}
		last = m.Sequence // only the mark of one that was let go
	}
	return 0, errCardBusy
}

// give lets an entry go; a mark stays for a second. If that fails, the entry goes
// by itself when its time is over.
func (c *cards) give(ctx context.Context, object string, seq uint64) {
	subject := c.subject(object)
	msg := bus.NewMsg(subject, "", nil)
	bus.Expect(msg, subject, seq)
	msg.Header["KV-Operation"] = []string{"PURGE"}
	msg.Header[jetstream.MsgTTLHeader] = []string{"1"}
	_, _ = c.commit.Publish(ctx, msg)
}

func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds()))))
}
