package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nuid"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
)

// A page guards many orders by one message: those that left the queue while the page
// before it was being stored. It is written once and never changed. An order that is
// taken up from a page gets an entry of its own, by a claim that expects that there
// is none; once all of a page's orders are taken up the page goes. So an order that
// is settled before its first look costs the index a part of one message, and two
// replicas never have it both.

const (
	pagePrefix = "page." // order ids hold no dot
	// maxPage bounds the orders of a page: some 200 bytes each.
	maxPage = 256
)

func isPage(key string) bool { return strings.HasPrefix(key, pagePrefix) }

// pages are those that are filled, and wait for the one before to be stored.
type pages struct {
	mu      sync.Mutex
	waiting []*page
	writing bool
	blank   []byte // of a page that was stored, to fill the next
}

// page is one on its way.
type page struct {
	list   []byte // of its orders, as far as it was filled
	orders int
	stored chan struct{} // closed once it is, or once err says that nobody knows
	err    error
}

// Enter begins to guard an order that is not in the index, a new one, and returns
// what waits until the page that it is on is durable; after an error it may be on a
// page or not. That comes before the ack of the order's queue message.
func (l *Ledger) Enter(ctx context.Context, o Open) (wait func() error) {
	id := o.OrderID // all that waits of it
	p, err := l.pages.add(&o, l.writePages)
	if err != nil {
		return func() error { return fmt.Errorf("open order %s: %w", id, err) }
	}
	return func() error {
		if err := p.wait(ctx); err != nil {
			return fmt.Errorf("open order %s: %w", id, err)
		}
		return nil
	}
}

func (p *page) wait(ctx context.Context) error {
	select {
	case <-p.stored:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// add writes an order on the last page that has room. The first that comes has them
// written.
func (ps *pages) add(o *Open, write func()) (*page, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if last := len(ps.waiting) - 1; last < 0 || ps.waiting[last].orders == maxPage {
		ps.waiting = append(ps.waiting, &page{list: append(ps.blank[:0], '['), stored: make(chan struct{})})
		ps.blank = nil
	}
	p := ps.waiting[len(ps.waiting)-1]
	w := order.NewWriter(p.list)
	o.write(&w)
	list, err := w.Done()
	if err != nil {
		return nil, err // and on the page there is nothing of it
	}
	p.list, p.orders = append(list, ','), p.orders+1
	if !ps.writing {
		ps.writing = true
		go write()
	}
	return p, nil
}

// next takes the page that is to be stored now, nil if no order waits.
func (ps *pages) next() *page {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if len(ps.waiting) == 0 || ps.waiting[0].orders == 0 {
		ps.writing = false
		return nil
	}
	p := ps.waiting[0]
	ps.waiting = slices.Delete(ps.waiting, 0, 1)
	return p
}

// again lets the next page be written where one that is stored was.
func (ps *pages) again(list []byte) {
	ps.mu.Lock()
	ps.blank = list
	ps.mu.Unlock()
}

// writePages stores page after page until no order waits. Each time it lets those go
// first who are about to bring an order, so that they share the page.
func (l *Ledger) writePages() {
	for {
		runtime.Gosched()
		p := l.pages.next()
		if p == nil {
			return
		}
		p.err = l.writePage(p)
		if p.err == nil { // else it may still be on its way
			l.pages.again(p.list)
		}
		close(p.stored)
	}
}

func (l *Ledger) writePage(p *page) error {
	p.list[len(p.list)-1] = ']' // in place of the last comma
	ctx, cancel := context.WithTimeout(context.Background(), bus.PublishTimeout)
	defer cancel()
	if _, err := l.open.PublishAtOnce(ctx, bus.NewMsg(bus.SubjectKV(bus.BucketOpenOrders, pagePrefix+nuid.Next()), "", p.list)); err != nil {
		return fmt.Errorf("page of open orders: %w", err)
	}
	return nil
}

// pageOf reads a page.
func pageOf(e entry) ([]Open, error) {
	var open []Open
	if err := json.Unmarshal(e.value, &open); err != nil {
		return nil, fmt.Errorf("open orders: page %s: %.80q: %w", e.key, e.value, errors.Join(err, ErrEntry))
	}
	for i := range open {
		if open[i].OrderID == "" {
			return nil, fmt.Errorf("open orders: page %s: %w", e.key, ErrEntry)
		}
		open[i].page, open[i].of, open[i].Revision = e.key, len(open), e.revision
	}
	return open, nil
}

// turned knows which orders of the pages that stand were taken up, as far as this
// process has seen it.
type turned struct {
	mu    sync.Mutex
	pages map[string]map[string]bool // page → order ids
}

// note takes down that o was taken up from its page, and says whether that was all
// of the page.
func (t *turned) note(o Open) (all bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pages == nil {
		t.pages = map[string]map[string]bool{}
	}
	if t.pages[o.page] == nil {
		t.pages[o.page] = map[string]bool{}
	}
	t.pages[o.page][o.OrderID] = true
	return len(t.pages[o.page]) == o.of
}

// left is what a page holds that was not taken up.
func (t *turned) left(e entry) ([]Open, error) {
	open, err := pageOf(e)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	gone := t.pages[e.key]
	if len(gone) == 0 {
		return open, nil
	}
	left := open[:0]
	for _, o := range open {
		if !gone[o.OrderID] {
			left = append(left, o)
		}
	}
	return left, nil
}

// keep forgets the pages that are not there any more.
func (t *turned) keep(standing map[string]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for page := range t.pages {
		if !standing[page] {
			delete(t.pages, page)
		}
	}
}
