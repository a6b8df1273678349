package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	simeiotclub "github.com/simline/simline/internal/sim/eiotclub"
	simesimfly "github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/sim/fault"
)

// Business plays upstream: it publishes order requests of every product, bare as
// the document shows them or as CloudEvents, at a steady pace.
type Business struct {
	bus   *bus.Bus
	cards []simeiotclub.Card // with an ICCID
	eids  []simeiotclub.Card // with an EID

	mu  sync.Mutex
	ids []string
}

// seedOrderID is the order request of the supplier's own example.
const seedOrderID = "630000198311142676"

// NewBusiness buys for the cards that the simulator has.
func NewBusiness(b *bus.Bus, sim *simeiotclub.Sim) *Business {
	biz := &Business{bus: b}
	for _, c := range sim.Cards() {
		if c.ICCID != "" && c.ProductCode != simeiotclub.OtherProduct {
			biz.cards = append(biz.cards, c)
		}
		if c.EID != "" {
			biz.eids = append(biz.eids, c)
		}
	}
	return biz
}

// Requested lists the ids of the orders asked for so far.
func (b *Business) Requested() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.ids...)
}

// Run publishes one order each interval until n are out (0: for ever) or ctx ends.
func (b *Business) Run(ctx context.Context, every time.Duration, n int) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := 0; n == 0 || i < n; i++ {
		// What was begun when ctx ends is asked for whole, or nobody could say how many
		// there are.
		whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		err := b.Publish(whole, b.request(i))
		cancel()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	return nil
}

// request is the i-th order: every product in turn.
func (b *Business) request(i int) order.Request {
	r := order.Request{OrderID: fmt.Sprintf("demo-%06d", i), Supplier: order.EIOTCLUB, Account: order.DefaultAccount}
	if i == 0 {
		r.OrderID = seedOrderID
	}
	switch i % 6 {
	case 0, 3:
		r.Product, r.ICCID, r.PackageCode = order.ProductPackage, b.cards[i/3%len(b.cards)].ICCID, simeiotclub.PackageCode
		if i%12 == 0 { // a limit makes orderer ask for the price first
			r.MaxTotal = &order.Money{Amount: decimal.RequireFromString("500.00"), Currency: "USD"}
		}
	case 1:
		r.Product, r.GoodsCode = order.ProductESIM, simeiotclub.GoodsCode
	case 2:
		r.Product, r.EID, r.PackageCode = order.ProductCloudESIMPackage, b.eids[i%len(b.eids)].EID, simeiotclub.CloudPackageCode
	case 4:
		r.Product, r.PoolObjectID, r.PoolTypeCode = order.ProductPoolPackage, fmt.Sprint(simeiotclub.SeedPoolID), simeiotclub.PoolTypeCode
	case 5:
		r.Supplier, r.Product = order.ESIMFly, order.ProductESIM
		r.PackageCode, r.PackageName = simesimfly.PackageCode, simesimfly.PackageName
		r.Price = &order.Money{Amount: decimal.RequireFromString("2.72"), Currency: "USD"}
		r.Quantity, r.DurationDays = 1, 7
	}
	return r
}

// Publish asks for one order. Its message id makes a repeat after a lost PubAck
// harmless; the ledger would as well.
func (b *Business) Publish(ctx context.Context, r order.Request) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.ids = append(b.ids, r.OrderID)
	b.mu.Unlock()
	for {
		_, err := b.bus.Publish(ctx, bus.NewMsg(bus.SubjectRequest(r.Supplier, r.Product), "request:"+r.OrderID, data))
		if err == nil || ctx.Err() != nil {
			return nil
		}
		t := time.NewTimer(100 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

// Misbehave gives the suppliers the faults of an ordinary bad day, all of which
// simline must come through with every order bought once and known by its true
// id. eSIMfly's answers are left whole: what it loses only a person can find.
func Misbehave(eiot *simeiotclub.Sim, fly *simesimfly.Sim) {
	eiot.Faults().MustAdd(
		fault.Rule{Kind: fault.LostReply, Path: "package/orderPackage", Every: 5},
		fault.Rule{Kind: fault.LostReply, Path: "pool/sub", Every: 4},
		fault.Rule{Kind: fault.StatusAfter, Path: "cloudesim/purchase", Every: 4, Status: 502},
		fault.Rule{Kind: fault.TooManyRequests, Path: "esim/purchase", Every: 6},
		fault.Rule{Kind: fault.HalfBody, Path: "package/orderPackage", Every: 8},
		fault.Rule{Kind: fault.NotifyTwice, Every: 7},
	)
	fly.Faults().MustAdd(fault.Rule{Kind: fault.SlowAfter, Every: 4, Delay: fault.Duration(300 * time.Millisecond)})
}

// purchases reads both suppliers' books by our order id. eSIMfly knows an order
// by the RequestID that placed it, which the ledger holds.
func purchases(eiot *simeiotclub.Sim, fly *simesimfly.Sim, ledger map[string]order.Record, requested []string) map[string]Purchase {
	out := make(map[string]Purchase, len(requested))
	for _, id := range requested {
		if r := ledger[id]; r.Supplier == order.ESIMFly {
			p := Purchase{Times: fly.Purchases(r.SupplierRequestID)}
			if o, ok := fly.Order(r.SupplierRequestID); ok {
				p.SupplierOrderID = o.Reference
			}
			out[id] = p
			continue
		}
		p := Purchase{Times: eiot.Purchases(id)}
		if o, ok := eiot.Order(id); ok {
			p.SupplierOrderID = o.ID()
		}
		out[id] = p
	}
	return out
}
