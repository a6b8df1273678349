package orderer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
)

// cardList is one list of cards in flight, of all replicas: one entry of a bucket,
// moved by compare-and-set. A replica writes it for all that want a card of it at
// that moment, and leaves out what it has let go since. So orders share writes, and
// a card is taken by whoever's write came first.
//
// If a replica dies, its entries stay until they are out of date, or until someone
// finds by the ledger that their orders are not in flight any more.
type cardList struct {
	bus     *bus.Bus
	commit  *bus.Committer
	subject string
	writer  string // of our entries
	now     func() time.Time

	mu      sync.Mutex
	wishes  []*cardWish
	writing bool
	ours    map[string]cardEntry // taken and not let go, by card

	// Of the one that writes.
	known  bool // seq and others are what the last write or read saw
	seq    uint64
	others []cardEntry
	list   []byte // to write the next list into
}

// cardEntry is a card in flight.
type cardEntry struct {
	Card   string `json:"c"` // hash of it
	Order  string `json:"o"`
	Writer string `json:"w"` // the replica
	After  uint64 `json:"a"` // sequence of the event that the order's intent follows
	Until  int64  `json:"u"` // unix nanoseconds: out of date from then on
}

// write writes e as encoding/json does.
func (e *cardEntry) write(w *order.Writer) {
	w.Open()
	w.Text("c", e.Card)
	w.Text("o", e.Order)
	w.Text("w", e.Writer)
	w.Number("a", int64(e.After)) // no stream counts beyond that
	w.Number("u", e.Until)
	w.Close()
}

// cardWish is one that waits for a card. Those that were answered are used again.
type cardWish struct {
	entry     cardEntry
	over      cardEntry       // this one does not hinder it
	done      chan cardAnswer // of capacity 1
	withdrawn bool            // nobody waits any more
}

// cardAnswer: the zero answer is the card.
type cardAnswer struct {
	holder cardEntry // whose it is
	err    error
}

// wish asks for a card for an order whose last event is after, until drop or for ttl.
// The entry that is in its way hinders it, unless it is over.
func (l *cardList) wish(card, orderID string, after uint64, ttl time.Duration, over cardEntry) *cardWish {
	w := cardWishes.Get().(*cardWish)
	w.over = over
	w.entry = cardEntry{Card: card, Order: orderID, Writer: l.writer, After: after, Until: l.now().Add(ttl).UnixNano()}
	l.mu.Lock()
	l.wishes = append(l.wishes, w)
	if !l.writing {
		l.writing = true
		go l.write()
	}
	l.mu.Unlock()
	return w
}

var cardWishes = sync.Pool{New: func() any { return &cardWish{done: make(chan cardAnswer, 1)} }}

// answerTo waits for what becomes of a wish: the entry that is in the way, or the
// zero entry, which is the card. After an error the card is not ours.
func (l *cardList) answerTo(ctx context.Context, w *cardWish) (cardEntry, error) {
	select {
	case a := <-w.done:
		cardWishes.Put(w) // nobody else knows it any more
		return a.holder, a.err
	case <-ctx.Done():
		l.giveUp(w)
		return cardEntry{}, ctx.Err()
	}
}

// giveUp withdraws a wish, whatever becomes of it.
func (l *cardList) giveUp(w *cardWish) {
	l.mu.Lock()
	w.withdrawn = true
	delete(l.ours, w.entry.Card)
	l.mu.Unlock()
}

// drop lets a card go. The list on the server follows with the next write.
func (l *cardList) drop(card string) {
	l.mu.Lock()
	delete(l.ours, card)
	l.mu.Unlock()
}

// write serves wishes until there are none. Each time it lets those go first who are
// about to wish for a card, so that they share the write.
func (l *cardList) write() {
	for {
		runtime.Gosched()
		l.mu.Lock()
		wishes := l.wishes
		l.wishes = nil
		if len(wishes) == 0 {
			l.writing = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		l.serve(wishes)
	}
}

const cardTries = 20

// serve answers each wish, with one write for all that can be granted.
func (l *cardList) serve(wishes []*cardWish) {
	ctx, cancel := context.WithTimeout(context.Background(), bus.PublishTimeout)
	defer cancel()
	for try := range cardTries {
		if try > 2 { // other replicas are at it
			<-time.After(rand.N(time.Duration(try) * time.Millisecond))
		}
		if !l.known {
			if err := l.read(ctx); err != nil {
				l.answer(wishes, cardAnswer{err: err})
				return
			}
		}
		var granted []*cardWish
		others := l.current()
		for _, w := range wishes {
			i := slices.IndexFunc(others, func(e cardEntry) bool { return e.Card == w.entry.Card && e != w.over })
			if i >= 0 {
				w.done <- cardAnswer{holder: others[i]}
				continue
			}
			others = slices.DeleteFunc(others, func(e cardEntry) bool { return e == w.over })
			granted = append(granted, w)
		}
		wishes = granted
		if len(wishes) == 0 {
			return
		}
		seq, err := l.put(ctx, others, wishes)
		if errors.Is(err, bus.ErrConflict) {
			l.known = false
			continue
		}
		if err != nil {
			// The write may stand all the same. What it says of us hinders only others,
			// and goes with our next one.
			l.known = false
			l.answer(wishes, cardAnswer{err: err})
			return
		}
		// If we die here: the cards are taken by orders that nobody sends, until they
		// are out of date or the ledger says that they are not in flight.
		l.seq, l.others = seq, others
		l.mu.Lock()
		for _, w := range wishes {
			if !w.withdrawn {
				l.ours[w.entry.Card] = w.entry
			}
		}
		l.mu.Unlock()
		l.answer(wishes, cardAnswer{})
		return
	}
	l.answer(wishes, cardAnswer{err: errCardLists})
}

func (l *cardList) answer(wishes []*cardWish, a cardAnswer) {
	for _, w := range wishes {
		w.done <- a
	}
}

// current is the other replicas' entries that are not out of date.
func (l *cardList) current() []cardEntry {
	now := l.now().UnixNano()
	out := make([]cardEntry, 0, len(l.others))
	for _, e := range l.others {
		if e.Until > now {
			out = append(out, e)
		}
	}
	return out
}

// put writes the list as it becomes with the wishes granted.
func (l *cardList) put(ctx context.Context, others []cardEntry, wishes []*cardWish) (uint64, error) {
	list := order.NewWriter(l.list[:0])
	list.OpenList()
	for i := range others {
		others[i].write(&list)
	}
	l.mu.Lock()
	for _, e := range l.ours {
		e.write(&list)
	}
	l.mu.Unlock()
	for _, w := range wishes {
		w.entry.write(&list)
	}
	list.CloseList()
	data, err := list.Done()
	if err != nil {
		return 0, err
	}
	msg := bus.NewMsg(l.subject, "", data)
	bus.Expect(msg, l.subject, l.seq)
	ack, err := l.commit.PublishAtOnce(ctx, msg)
	l.list = nil
	if err == nil { // else it may still be on its way
		l.list = data
	}
	return ack.Sequence, err
}

// read takes in the list as it stands.
func (l *cardList) read(ctx context.Context) error {
	m, found, err := l.bus.Last(ctx, bus.StreamKV(bus.BucketLeases), l.subject)
	if err != nil {
		return err
	}
	l.seq, l.others, l.known = 0, nil, true
	if !found {
		return nil
	}
	l.seq = m.Sequence
	if len(m.Data) == 0 {
		return nil // removed by hand
	}
	var all []cardEntry
	if err := json.Unmarshal(m.Data, &all); err != nil {
		return fmt.Errorf("list %s: %w", l.subject, err)
	}
	for _, e := range all {
		if e.Writer != l.writer {
			l.others = append(l.others, e)
		}
	}
	return nil
}
