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
	"github.com/simline/simline/internal/order"
)

// cards keeps two orders for one card from being in flight together: within this
// replica by a map, between replicas by an entry in a bucket that names the order
// in flight. Nobody removes an entry: whoever finds one asks the ledger whether
// its order is still in flight, and the server lets it go in the end. It saves the
// supplier from races; that no order is placed twice does not hang on it.
type cards struct {
	bus    *bus.Bus
	commit *bus.Committer
	ledger Ledger

	mu   sync.Mutex
	held map[string]bool
}

// locker is how place sees cards.
type locker interface {
	// hold takes the object within this replica, or says that it is taken.
	hold(object string) bool
	// lock takes a held object for an order over all replicas, for ttl at most. False
	// if another replica's order is in flight for it.
	lock(ctx context.Context, object, orderID string, ttl time.Duration) (bool, error)
	// let gives a held object back within this replica.
	let(object string)
}

func newCards(b *bus.Bus, l Ledger) (*cards, error) {
	commit, err := bus.NewCommitter(b, bus.CommitOptions{})
	if err != nil {
		return nil, fmt.Errorf("card locks: %w", err)
	}
	return &cards{bus: b, commit: commit, ledger: l, held: map[string]bool{}}, nil
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

func (c *cards) let(object string) {
	if isNew(object) {
		return
	}
	c.mu.Lock()
	delete(c.held, object)
	c.mu.Unlock()
}

// subject of an object's entry; the card's number itself stays out of the bucket.
func (c *cards) subject(object string) string {
	sum := sha256.Sum256([]byte(object))
	return bus.SubjectKV(bus.BucketLeases, "card."+hex.EncodeToString(sum[:12]))
}

func (c *cards) lock(ctx context.Context, object, orderID string, ttl time.Duration) (bool, error) {
	if isNew(object) {
		return true, nil
	}
	subject, last := c.subject(object), uint64(0)
	for range 3 {
		msg := bus.NewMsg(subject, "", []byte(orderID))
		bus.Expect(msg, subject, last)
		msg.Header[jetstream.MsgTTLHeader] = []string{seconds(ttl)}
		_, err := c.commit.Publish(ctx, msg)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, bus.ErrConflict) {
			return false, fmt.Errorf("card lock: %w", err)
		}
		m, found, err := c.bus.Last(ctx, bus.StreamKV(bus.BucketLeases), subject)
		if err != nil {
			return false, fmt.Errorf("card lock: %w", err)
		}
		if found && len(m.Data) > 0 && string(m.Data) != orderID {
			holder, known, err := c.ledger.Get(ctx, string(m.Data))
			if err != nil {
				return false, fmt.Errorf("card lock: %w", err)
			}
			// A holder without an event is about to write its intent.
			if !known || holder.State == order.Intent {
				return false, nil
			}
		}
		last = m.Sequence
	}
	return false, nil
}

// seconds is a message's time to live as its header has it.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds()))))
}
