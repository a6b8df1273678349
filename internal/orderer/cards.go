package orderer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nuid"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
)

// cards keeps two orders for one card from being in flight together: within this
// replica by a map, between replicas by lists of the cards in flight (cardlist.go).
// Whoever finds a card taken asks the ledger whether the order that took it is still
// in flight. It saves the supplier from races; that no order is placed twice does not
// hang on it.
type cards struct {
	ledger Ledger
	lists  [cardLists]*cardList

	mu   sync.Mutex
	held map[string]place
}

// place is where an object is taken over all replicas: the list, and its name there.
type place struct {
	list *cardList
	card string
}

// cardLists is how many lists the cards are spread over, by their hash: orders of
// one list that come together share one write, and replicas that write different
// lists are not in each other's way.
const cardLists = 2

// locker is how place sees cards.
type locker interface {
	// hold takes the object within this replica, or says that it is taken.
	hold(object string) bool
	// lock begins to take a held object for the order cur over all replicas, and
	// returns what waits for the answer: false if another replica's order is in flight
	// for it. An order is in flight for ttl at most, and its intent follows cur.
	lock(ctx context.Context, object string, cur *ledger.Entry, ttl time.Duration) (wait func() (mine bool, err error))
	// let gives a held object back.
	let(object string)
}

func newCards(b *bus.Bus, l Ledger, now func() time.Time) (*cards, error) {
	commit, err := bus.NewCommitter(b, bus.CommitOptions{})
	if err != nil {
		return nil, fmt.Errorf("card locks: %w", err)
	}
	c := &cards{ledger: l, held: map[string]place{}}
	for i := range c.lists {
		c.lists[i] = &cardList{bus: b, commit: commit, writer: nuid.Next(), now: now,
			subject: bus.SubjectKV(bus.BucketLeases, fmt.Sprint("card.", i)), ours: map[string]cardEntry{}}
	}
	return c, nil
}

// isNew: what is bought is new, so nobody else can want it.
func isNew(object string) bool { return strings.HasPrefix(object, "order:") }

func (c *cards) hold(object string) bool {
	if isNew(object) {
		return true
	}
	at := c.placeOf(object)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, taken := c.held[object]; taken {
		return false
	}
	c.held[object] = at
	return true
}

func (c *cards) let(object string) {
	if isNew(object) {
		return
	}
	at := c.heldAt(object)
	at.list.drop(at.card) // first: who holds the object next may take it there
	c.mu.Lock()
	delete(c.held, object)
	c.mu.Unlock()
}

func (c *cards) heldAt(object string) place {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held[object]
}

// placeOf finds an object's place; the card's number itself stays out of the bucket.
func (c *cards) placeOf(object string) place {
	sum := sha256.Sum256([]byte(object))
	return place{c.lists[int(sum[31])%cardLists], base64.RawURLEncoding.EncodeToString(sum[:12])}
}

func (c *cards) lock(ctx context.Context, object string, cur *ledger.Entry, ttl time.Duration) (wait func() (bool, error)) {
	if isNew(object) {
		return func() (bool, error) { return true, nil }
	}
	at := c.heldAt(object)
	orderID, after := cur.OrderID, cur.Seq // what waits holds these, not the whole order
	wish := at.list.wish(at.card, orderID, after, 2*ttl, cardEntry{})
	return func() (bool, error) {
		for tries := 1; ; tries++ {
			holder, err := at.list.answerTo(ctx, wish)
			if err != nil {
				return false, fmt.Errorf("card lock: %w", err)
			}
			if holder == (cardEntry{}) {
				return true, nil
			}
			if holder.Order != orderID {
				e, known, err := c.ledger.Get(ctx, holder.Order)
				if err != nil {
					return false, fmt.Errorf("card lock: %w", err)
				}
				// A holder of which there is no news is about to write its intent.
				if !known || e.Seq <= holder.After || e.State == order.Intent {
					return false, nil
				}
			}
			if tries == 3 {
				return false, nil
			}
			wish = at.list.wish(at.card, orderID, after, 2*ttl, holder)
		}
	}
}

// errCardLists: the list was changed by others each time that we would write it.
var errCardLists = errors.New("too many replicas at one list of cards")
