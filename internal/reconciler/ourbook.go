package reconciler

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/wire"
)

// object is what a supplier keeps one list of orders for: a SIM, a cloud eSIM or
// a pool. product is the order's product, key the ICCID, EID or pool id.
type object struct{ product, key string }

// String sorts as compareObjects does: a space comes before every character of
// an account's name, a product and a key.
func (o object) String() string { return o.product + " " + o.key }

func objectOf(r order.Record) (object, bool) {
	switch r.Product {
	case order.ProductPackage:
		return object{r.Product, r.Request.ICCID}, true
	case order.ProductCloudESIMPackage:
		return object{r.Product, r.Request.EID}, true
	case order.ProductPoolPackage:
		return object{r.Product, r.Request.PoolObjectID}, true
	}
	return object{}, false // an eSIM has no list: unsettled asks for it by its id
}

// part is one of several parts of all objects, so that a large book is compared a
// piece at a time.
type part struct{ number, of int }

func (p part) has(o object) bool      { return p.hasKey(o.key) }
func (p part) hasKey(key string) bool { return p.of == 1 || slot(key, p.of) == p.number }

// ourBook is the ledger's orders of one account that changed lately, by object.
type ourBook struct {
	account Account
	part    part
	lines   []ours
	byID    map[string]int  // while it is being read
	objects map[object]bool // true: something happened to it in the run's span
	// named is what notifications say of orders whose lists do not carry our id:
	// the supplier's order id → our order id.
	named map[string]string
	words map[string]string // one copy of each text that repeats
}

type ours struct {
	object object
	line   Line
}

// readBook reads the ledger's and the notifications' recent past.
func readBook(ctx context.Context, l Ledger, account Account, part part, span Span, since time.Time) (*ourBook, error) {
	b := &ourBook{account: account, part: part, byID: map[string]int{}, objects: map[object]bool{}, named: map[string]string{}, words: map[string]string{}}
	err := l.Since(ctx, account.Supplier, since, func(r order.Record) error {
		if r.Account == account.Name {
			b.add(r, span.Holds(r.At))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := b.readNotices(ctx, l, span, since); err != nil {
		return nil, err
	}
	b.words, b.byID = nil, nil
	slices.SortFunc(b.lines, func(x, y ours) int {
		if c := compareObjects(x.object, y.object); c != 0 {
			return c
		}
		return strings.Compare(x.line.ID, y.line.ID)
	})
	return b, nil
}

func compareObjects(a, b object) int {
	if c := strings.Compare(a.product, b.product); c != 0 {
		return c
	}
	return strings.Compare(a.key, b.key)
}

func (b *ourBook) add(r order.Record, active bool) {
	obj, ok := objectOf(r)
	if !ok || !b.part.has(obj) {
		return
	}
	obj.key = b.word(obj.key)
	line := OurLine(r)
	line.Card, line.Package, line.State, line.Price.Currency = b.word(line.Card), b.word(line.Package), b.word(line.State), b.word(line.Price.Currency)
	o := ours{object: obj, line: line}
	if i, known := b.byID[r.OrderID]; known {
		b.lines[i] = o
	} else {
		b.byID[r.OrderID] = len(b.lines)
		b.lines = append(b.lines, o)
	}
	b.objects[obj] = b.objects[obj] || active
	if r.Product == order.ProductCloudESIMPackage && r.SupplierOrderID != "" {
		b.named[r.SupplierOrderID] = r.OrderID
	}
}

func (b *ourBook) word(s string) string {
	if w, ok := b.words[s]; ok {
		return w
	}
	b.words[s] = s
	return s
}

// readNotices adds the cards that notifications name: on one of them others may
// have bought in our name without the ledger knowing.
func (b *ourBook) readNotices(ctx context.Context, l Ledger, span Span, since time.Time) error {
	return readNotices(ctx, l.bus, b.account, since, func(n eiotclub.Notification, at time.Time) {
		see := func(product, key string) {
			if o := (object{product, b.word(key)}); key != "" && b.part.has(o) {
				b.objects[o] = b.objects[o] || span.Holds(at)
			}
		}
		see(order.ProductPackage, n.ICCID)
		see(order.ProductCloudESIMPackage, n.EID)
		for _, p := range n.Packages {
			see(order.ProductPackage, string(p.ICCID))
			see(order.ProductCloudESIMPackage, string(p.EID))
			if p.EshopOrderID != "" && p.OutTradeNo != "" {
				b.named[string(p.EshopOrderID)] = string(p.OutTradeNo)
			}
		}
	})
}

// readNotices hands every notification of an account since then to do. One that
// cannot be read is none of ours to judge: archiver keeps it.
func readNotices(ctx context.Context, b *bus.Bus, account Account, since time.Time, do func(eiotclub.Notification, time.Time)) error {
	if account.Supplier != order.EIOTCLUB {
		return nil
	}
	return readSince(ctx, b.JS, bus.StreamWebhooks, startAt(since), func(msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
		env, err := wire.ParseEnvelope(msg.Data())
		if err != nil {
			return fmt.Errorf("notification on %s: %w", msg.Subject(), err)
		}
		if n, err := eiotclub.ParseNotification(env.Data); err == nil {
			do(n, meta.Timestamp)
		}
		return nil
	}, bus.SubjectWebhook(account.Supplier, account.Name, "*"))
}

// of are our lines of one object, sorted by id.
func (b *ourBook) of(obj object) []ours {
	lo, _ := slices.BinarySearchFunc(b.lines, obj, func(o ours, t object) int { return compareObjects(o.object, t) })
	hi := lo
	for hi < len(b.lines) && b.lines[hi].object == obj {
		hi++
	}
	return b.lines[lo:hi]
}

// visit lists the objects to look at, sorted: those that were active in the span
// and, so that what changes silently is met as well, one of every slots of the
// others in turn; slots 0 leaves the others alone.
func (b *ourBook) visit(number int64, slots int, also map[string]bool) []object {
	var out []object
	for o, active := range b.objects {
		if active || also[o.String()] || slots > 0 && int64(slot(o.key, slots)) == number%int64(slots) {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, compareObjects)
	return out
}

func slot(key string, slots int) int {
	h := fnv.New32a()
	h.Write([]byte(key))
	return int(h.Sum32() % uint32(slots))
}
