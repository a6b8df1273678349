package eiotclub

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// What follows changes the book without a call of the buyer: what other sales channels do, what an operator does on
// the supplier's platform, and discrepancies planted for the reconciler to find.

// Plant puts an order into the book that no call asked for. With Channel empty it is "API", as if simline had bought
// it; other channels are USER, SYSTEM, TRANSFER and PLATFORM. Missing fields are filled from the catalogue. charge takes the price
// off the balance, notify sends the purchase's notifications.
func (s *Sim) Plant(o Order, charge, notify bool) (Order, error) {
	now := s.cfg.Clock()
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	b := s.book
	if o.Product == "" {
		o.Product = PackageProduct
	}
	if o.Channel == "" {
		o.Channel = "API"
	}
	var pkg Package
	price, currency := int64(0), "USD"
	switch o.Product {
	case PackageProduct:
		pkg = b.packages[orDefault(&o.Code, PackageCode)]
		price, currency = pkg.Price, b.currency
		orDefault(&o.ICCID, SeedICCID)
	case CloudProduct:
		pkg = b.cloudPackages[orDefault(&o.Code, CloudPackageCode)]
		price = pkg.Price
		orDefault(&o.EID, SeedEID)
	case ESimProduct:
		if g := b.goods[orDefault(&o.Code, GoodsCode)]; g != nil {
			pkg, price = g.Package, g.Price
		}
		orDefault(&o.ICCID, withCheckDigit("89423000"+pad(b.rng.Int64N(1e10), 10)))
	case PoolProduct:
		t := b.poolTypes[orDefault(&o.Code, PoolTypeCode)]
		pkg = Package{Code: t.Code, Type: 2, MB: t.Bytes >> 20, Days: t.Days}
		price, currency = t.Price, b.currency
		if o.PoolID == 0 {
			o.PoolID = SeedPoolID
		}
	default:
		return Order{}, fmt.Errorf("plant: unknown product %q", o.Product)
	}
	if o.Package.Code == "" {
		if pkg.Code == "" {
			return Order{}, fmt.Errorf("plant: the catalogue has no %s %q", o.Product, o.Code)
		}
		o.Package = pkg
	}
	if o.Price == (Money{}) {
		o.Price = Money{price, currency}
	}
	o.Planted, o.Refunded = true, nil
	if o.ICCID+o.EID != "" {
		b.addCard(Card{ICCID: o.ICCID, EID: o.EID})
	}
	b.insert(&o, now, charge)
	if notify {
		s.notes.bought(&o, now)
	}
	s.settleDue(now)
	return o, nil
}

func orDefault(v *string, def string) string {
	if *v == "" {
		*v = def
	}
	return *v
}

// change applies a hook to the order with one of its ids.
func (s *Sim) change(what, id string, f func(o *Order, now time.Time) error) error {
	now := s.cfg.Clock()
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	o := s.book.find(id)
	if o == nil {
		return fmt.Errorf("%s: no order %q in the book", what, id)
	}
	o.Planted = true
	if err := f(o, now); err != nil {
		return fmt.Errorf("%s %s: %w", what, id, err)
	}
	return nil
}

// SetPrice changes what an order says it cost; with rebook the balance follows, else the two no longer agree.
func (s *Sim) SetPrice(id string, price Money, rebook bool) error {
	return s.change("set price", id, func(o *Order, now time.Time) error {
		if rebook {
			s.book.enter(Entry{At: now, Kind: "planted", Amount: o.Price.Minor - price.Minor, Order: o.label()})
		}
		o.Price, o.UpdatedAt = price, now
		return nil
	})
}

// SetPackage changes which package an order says it is.
func (s *Sim) SetPackage(id, code string) error {
	return s.change("set package", id, func(o *Order, now time.Time) error {
		p, known := s.book.packages[code]
		if !known {
			return fmt.Errorf("no package %q", code)
		}
		o.Package, o.Code, o.UpdatedAt = p, code, now
		return nil
	})
}

// Refund pays an order back behind the buyer's back: the refundable amount, or the given one. quiet sends nothing.
func (s *Sim) Refund(id string, amount *Money, quiet bool) error {
	return s.change("refund", id, func(o *Order, now time.Time) error {
		if o.Refunded != nil {
			return fmt.Errorf("already refunded")
		}
		back := o.refundable(now)
		if amount != nil {
			back = *amount
		}
		if quiet {
			o.Refunded, o.RefundedAt, o.UpdatedAt = &back, now, now
			s.book.enter(Entry{At: now, Kind: "refund", Amount: back.Minor, Order: o.label()})
			return nil
		}
		s.refund(o, back, now)
		return nil
	})
}

// Fail makes an order one that failed after it was accepted (status -1), with its money back.
func (s *Sim) Fail(id string) error {
	return s.change("fail", id, func(o *Order, now time.Time) error {
		if !o.Failed {
			o.Failed, o.UpdatedAt = true, now
			s.book.enter(Entry{At: now, Kind: "refund", Amount: o.Price.Minor, Order: o.label()})
		}
		return nil
	})
}

// Finish ends a package now, with its notification.
func (s *Sim) Finish(id string) error {
	return s.change("finish", id, func(o *Order, now time.Time) error {
		o.EndAt, o.UpdatedAt = now, now
		if o.StartAt.After(now) {
			o.StartAt = now
		}
		s.notes.ended(o, now)
		return nil
	})
}

// SetOddState makes an order's rows show the undocumented state -9.
func (s *Sim) SetOddState(id string, odd bool) error {
	return s.change("odd state", id, func(o *Order, _ time.Time) error { o.OddState = odd; return nil })
}

// SetUsage sets how many bytes of a package are used.
func (s *Sim) SetUsage(id string, bytes int64) error {
	return s.change("set usage", id, func(o *Order, now time.Time) error { o.UsedBytes, o.UpdatedAt = bytes, now; return nil })
}

// Forget takes an order out of every look-up and list, as if it had never been bought; its money stays spent.
func (s *Sim) Forget(id string) error {
	return s.change("forget", id, func(o *Order, _ time.Time) error {
		b := s.book
		drop := func(l []*Order) []*Order { return slices.DeleteFunc(l, func(x *Order) bool { return x == o }) }
		b.orders = drop(b.orders)
		delete(b.byID, o.OrderID)
		delete(b.byNumber, o.OrderNumber)
		if b.byOut[o.OutTradeNo] == o {
			delete(b.byOut, o.OutTradeNo)
			b.burnt[o.OutTradeNo] = true // a repeat is still refused
		}
		b.byICCID[o.ICCID], b.byEID[o.EID], b.byPool[o.PoolID] = drop(b.byICCID[o.ICCID]), drop(b.byEID[o.EID]), drop(b.byPool[o.PoolID])
		return nil
	})
}

// TopUp pays money in; a negative amount takes it out. In smallest units of the account's currency.
func (s *Sim) TopUp(minor int64) {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	s.book.enter(Entry{At: s.cfg.Clock(), Kind: "top_up", Amount: minor})
}

// SetStock sets how many of an eSIM are left; below zero is without end.
func (s *Sim) SetStock(goods string, n int) error {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	g := s.book.goods[goods]
	if g == nil {
		return fmt.Errorf("set stock: no goods %q", goods)
	}
	g.Stock = n
	return nil
}

// SetPackagePrice changes what a package costs from now on, in smallest units.
func (s *Sim) SetPackagePrice(code string, minor int64) error {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	for _, m := range []map[string]Package{s.book.packages, s.book.cloudPackages} {
		if p, known := m[code]; known {
			p.Price = minor
			m[code] = p
			return nil
		}
	}
	return fmt.Errorf("set package price: no package %q", code)
}

// AddCards adds cards to the account.
func (s *Sim) AddCards(cards ...Card) {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	for _, c := range cards {
		s.book.addCard(c)
	}
}

// AddTask starts a batch task and returns its id; SetTask fixes its state and result.
func (s *Sim) AddTask(iccids ...string) string {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	return s.book.addTask(iccids, s.cfg.Clock()).ID
}

// SetTask fixes a task's state (0 waiting, 1 running, 2 success, -1 ended, -2 failed) and result.
func (s *Sim) SetTask(id string, status int, result string) error {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	t := s.book.tasks[id]
	if t == nil {
		return fmt.Errorf("set task: no task %q", id)
	}
	t.Status, t.Result = &status, result
	return nil
}

// RecordUsage enters one CDR: it counts in /cdr/traffic/query on the UTC day of its start and in the package that the
// card is using.
func (s *Sim) RecordUsage(iccid string, start time.Time, bytes int64) {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	b := s.book
	b.traffic[trafficKey{iccid, start.UTC().Format(time.DateOnly)}] += bytes
	list := b.byICCID[iccid]
	for i := len(list) - 1; i >= 0 && i > len(list)-4; i-- { // the one in use is among the last, mostly
		if list[i].state(start) == 1 {
			list[i].UsedBytes += bytes
			return
		}
	}
}

// Book is a copy of everything that the simulated supplier knows.
type Book struct {
	Currency      string         `json:"currency"`
	Balance       Money          `json:"balance"`
	Orders        []Order        `json:"orders"`
	Purchases     map[string]int `json:"purchases"` // by outTradeNo; more than 1 is money lost
	Ledger        []Entry        `json:"ledger"`
	Tasks         []Task         `json:"tasks"`
	Cards         []Card         `json:"cards"`
	Notifications []Notification `json:"notifications"`
}

// Book copies the book.
func (s *Sim) Book() Book {
	b := s.book
	b.mu.Lock()
	out := Book{Currency: b.currency, Balance: Money{b.balance, b.currency}, Orders: make([]Order, len(b.orders)),
		Purchases: maps.Clone(b.purchases), Ledger: slices.Clone(b.ledger)}
	for i, o := range b.orders {
		out.Orders[i] = *o
	}
	for _, id := range slices.Sorted(maps.Keys(b.tasks)) {
		out.Tasks = append(out.Tasks, *b.tasks[id])
	}
	for _, c := range b.cardList {
		out.Cards = append(out.Cards, *c)
	}
	b.mu.Unlock()
	out.Notifications = s.Notifications()
	return out
}

// Order returns the order with one of its ids: the buyer's, the supplier's, or its number.
func (s *Sim) Order(id string) (Order, bool) {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	if o := s.book.find(id); o != nil {
		return *o, true
	}
	return Order{}, false
}

// Purchases is how often an outTradeNo was bought: anything but 0 or 1 is a fault of the simulator or a planted one.
func (s *Sim) Purchases(out string) int {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	return s.book.purchases[out]
}

// Orders is how many rows the book has.
func (s *Sim) Orders() int {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	return len(s.book.orders)
}

// Balance is what is left on the account.
func (s *Sim) Balance() Money {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	return Money{s.book.balance, s.book.currency}
}

// Cards returns the account's cards.
func (s *Sim) Cards() []Card {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	out := make([]Card, len(s.book.cardList))
	for i, c := range s.book.cardList {
		out[i] = *c
	}
	return out
}
