package esimfly

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/simline/simline/internal/sim/fault"
)

// Book is a copy of everything that the simulated supplier knows. Amounts are in cents.
type Book struct {
	Currency  string         `json:"currency"`
	Balance   int64          `json:"balance_cents"`
	Orders    []Order        `json:"orders"`
	Purchases map[string]int `json:"purchases"` // by RT-RequestID; more than 1 is money lost
	Ledger    []Entry        `json:"ledger"`
}

// Book copies the book.
func (s *Sim) Book() Book {
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	out := Book{Currency: "USD", Balance: b.balance, Orders: make([]Order, len(b.orders)), Purchases: maps.Clone(b.purchases),
		Ledger: slices.Clone(b.ledger)}
	for i, o := range b.orders {
		out.Orders[i] = *o
	}
	return out
}

func (b *book) find(id string) *Order {
	if o := b.byRef[id]; o != nil {
		return o
	}
	return b.byRequest[id]
}

// Order returns the order with this reference or RequestID.
func (s *Sim) Order(id string) (Order, bool) {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	if o := s.book.find(id); o != nil {
		return *o, true
	}
	return Order{}, false
}

// Purchases is how often a RequestID bought: anything but 0 or 1 is a fault of the simulator, or a repeat after 24 h.
func (s *Sim) Purchases(requestID string) int {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	return s.book.purchases[requestID]
}

// Orders is how many orders the book has.
func (s *Sim) Orders() int {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	return len(s.book.orders)
}

// Balance is what is left on the account, in cents.
func (s *Sim) Balance() int64 {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	return s.book.balance
}

// Plant puts an order into the book that no call asked for; charge takes its price off the balance.
func (s *Sim) Plant(o Order, charge bool) (Order, error) {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	if o.Package.Code == "" {
		o.Package.Code = PackageCode
	}
	pkg := s.book.pkgs[o.Package.Code]
	if pkg == nil {
		return Order{}, fmt.Errorf("plant: the catalogue has no package %q", o.Package.Code)
	}
	o.Package, o.Planted, o.Completed = *pkg, true, !o.Pending
	o.Quantity = max(o.Quantity, 1)
	if o.Total == 0 {
		o.Total = pkg.Cost * int64(o.Quantity)
	}
	s.book.insert(&o, s.cfg.Clock(), charge)
	return o, nil
}

func (s *Sim) change(what, id string, f func(o *Order) error) error {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	o := s.book.find(id)
	if o == nil {
		return fmt.Errorf("%s: no order %q in the book", what, id)
	}
	if err := f(o); err != nil {
		return fmt.Errorf("%s %s: %w", what, id, err)
	}
	o.Planted = true
	return nil
}

// SetTotal changes what an order says it cost, in cents; with rebook the balance follows.
func (s *Sim) SetTotal(id string, cents int64, rebook bool) error {
	return s.change("set total", id, func(o *Order) error {
		if rebook {
			s.book.enter(Entry{At: s.cfg.Clock(), Kind: "planted", Amount: o.Total - cents, Order: o.Reference})
		}
		o.Total = cents
		return nil
	})
}

// Refund pays an order back.
func (s *Sim) Refund(id string) error {
	return s.change("refund", id, func(o *Order) error {
		if o.Refunded {
			return fmt.Errorf("already refunded")
		}
		o.Refunded = true
		s.book.enter(Entry{At: s.cfg.Clock(), Kind: "refund", Amount: o.Total, Order: o.Reference})
		return nil
	})
}

// Complete ends a pending order's waiting.
func (s *Sim) Complete(id string) error {
	return s.change("complete", id, func(o *Order) error { o.Completed = true; return nil })
}

// TopUp pays money in, in cents; a negative amount takes it out.
func (s *Sim) TopUp(cents int64) {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	s.book.enter(Entry{At: s.cfg.Clock(), Kind: "top_up", Amount: cents})
}

// SetPrice changes what a package costs from now on, in cents.
func (s *Sim) SetPrice(code string, cents int64) error {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	p := s.book.pkgs[code]
	if p == nil {
		return fmt.Errorf("set price: no package %q", code)
	}
	p.Cost = cents
	return nil
}

// admin adds the administrator's endpoints: what a test or the demo does to the supplier from outside.
//
//	GET  /_sim/book, GET /_sim/order?id=   what the supplier knows
//	/_sim/faults                           GET lists, POST adds one or an array, DELETE removes ?id= or all
//	POST /_sim/plant     {"order": {…}, "charge": true}
//	POST /_sim/total     {"id", "cents", "rebook"};  /_sim/refund, /_sim/complete {"id"}
//	POST /_sim/topup     {"cents"};  /_sim/price {"code", "cents"}
func (s *Sim) admin(mux *http.ServeMux) {
	mux.HandleFunc("GET /_sim/book", func(w http.ResponseWriter, _ *http.Request) { fault.WriteJSON(w, http.StatusOK, s.Book()) })
	mux.HandleFunc("GET /_sim/order", func(w http.ResponseWriter, r *http.Request) {
		o, found := s.Order(r.URL.Query().Get("id"))
		if !found {
			fault.WriteJSON(w, http.StatusNotFound, map[string]string{"error": "no such order"})
			return
		}
		fault.WriteJSON(w, http.StatusOK, o)
	})
	mux.HandleFunc("/_sim/faults", s.faults.Admin)
	type named struct {
		ID     string `json:"id"`
		Code   string `json:"code"`
		Cents  int64  `json:"cents"`
		Rebook bool   `json:"rebook"`
		Order  Order  `json:"order"`
		Charge bool   `json:"charge"`
	}
	do := func(name string, f func(named) (any, error)) {
		mux.HandleFunc("POST /_sim/"+name, func(w http.ResponseWriter, r *http.Request) {
			var n named
			dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&n); err != nil {
				fault.WriteJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
				return
			}
			v, err := f(n)
			if err != nil {
				fault.WriteJSON(w, http.StatusUnprocessableEntity, map[string]string{"error": err.Error()})
				return
			}
			fault.WriteJSON(w, http.StatusOK, v)
		})
	}
	done := struct{}{}
	do("plant", func(n named) (any, error) { return s.Plant(n.Order, n.Charge) })
	do("total", func(n named) (any, error) { return done, s.SetTotal(n.ID, n.Cents, n.Rebook) })
	do("refund", func(n named) (any, error) { return done, s.Refund(n.ID) })
	do("complete", func(n named) (any, error) { return done, s.Complete(n.ID) })
	do("topup", func(n named) (any, error) { s.TopUp(n.Cents); return done, nil })
	do("price", func(n named) (any, error) { return done, s.SetPrice(n.Code, n.Cents) })
}
