package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
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

// pages gathers the orders of the next page.
type pages struct {
	mu      sync.Mutex
	waiting []*entering
	writing bool
}

// entering is an order on its way to a page.
type entering struct {
	o    Open
	done chan error // of capacity 1
}

// Enter begins to guard an order that is not in the index, a new one, and returns
// what waits until the page that it is on is durable; after an error it may be on a
// page or not. That comes before the ack of the order's queue message.
func (l *Ledger) Enter(ctx context.Context, o Open) (wait func() error) {
	e := &entering{o: o, done: make(chan error, 1)}
	p := &l.pages
	p.mu.Lock()
	p.waiting = append(p.waiting, e)
	if !p.writing {
		p.writing = true
		go l.writePages()
	}
	p.mu.Unlock()
	return func() error {
		select {
		case err := <-e.done:
			return err
		case <-ctx.Done():
			return fmt.Errorf("open order %s: %w", e.o.OrderID, ctx.Err())
		}
	}
}

// writePages writes page after page until no order waits. Each time it lets those go
// first who are about to bring an order, so that they share the page.
func (l *Ledger) writePages() {
	for {
		runtime.Gosched()
		p := &l.pages
		p.mu.Lock()
		page := p.waiting
		if n := min(len(page), maxPage); n > 0 {
			page, p.waiting = page[:n:n], page[n:]
		}
		p.writing = len(page) > 0
		p.mu.Unlock()
		if len(page) == 0 {
			return
		}
		err := l.writePage(page)
		for _, e := range page {
			e.done <- err
		}
	}
}

func (l *Ledger) writePage(page []*entering) error {
	w := order.NewWriter(make([]byte, 0, 256*len(page)))
	w.OpenList()
	for _, e := range page {
		e.o.write(&w)
	}
	w.CloseList()
	data, err := w.Done()
	if err != nil {
		return fmt.Errorf("page of open orders: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), bus.PublishTimeout)
	defer cancel()
	if _, err := l.open.Publish(ctx, bus.NewMsg(bus.SubjectKV(bus.BucketOpenOrders, pagePrefix+nuid.Next()), "", data)); err != nil {
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
