package reconciler

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/wire"
)

// spent is an order of the account as far as its money is concerned.
type spent struct {
	last order.Record
	paid time.Time    // when it was first known to be placed; zero: never
	most *order.Money // its price may be up to this; nil: it is last.Total
}

// add sums what is known of the money within each stretch that is judged: our
// orders, a part of them at a time, and the purchases that records reports.
func (p *balancePass) add(ctx context.Context) error {
	judging := slices.ContainsFunc(p.purse.Gaps, func(g stretchOfMoney) bool { return g.due })
	if !judging && p.account.Balance != nil {
		return nil
	}
	from := p.run.Now.Add(-24 * time.Hour) // clocks may differ
	for _, g := range p.purse.Gaps {
		if g.due {
			from = earlier(from, g.Opening.From.Add(-clockSkew))
		}
	}
	events, err := p.Ledger.CountSince(ctx, p.account.Supplier, from)
	if err != nil {
		return err
	}
	parts := partsOf(events, p.PartSize)
	for number := range parts {
		part := part{number, parts}
		orders, err := p.read(ctx, part, from)
		if err != nil {
			return err
		}
		if !judging {
			continue
		}
		if err := p.price(ctx, orders); err != nil {
			return err
		}
		for _, s := range orders {
			p.move(movementsOf(s.last, s.paid, s.last.Total, s.most)...)
		}
	}
	if !judging {
		return nil
	}
	return p.Book.each(ctx, JobRecords, func(e Entry, _ uint64) { p.move(p.reported(e.Finding)...) })
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// move adds movements to every stretch that is judged now.
func (p *balancePass) move(movements ...Movement) {
	for i := range p.purse.Gaps {
		g := &p.purse.Gaps[i]
		for _, m := range movements {
			if g.due {
				g.sum.add(g.Opening, g.Closing, m)
			}
		}
	}
}

// read gathers a part of the account's orders since from.
func (p *balancePass) read(ctx context.Context, part part, from time.Time) (map[string]*spent, error) {
	orders := map[string]*spent{}
	err := p.Ledger.SinceOf(ctx, p.account.Supplier, from, part.hasKey, func(r order.Record) error {
		if r.Account != p.account.Name {
			return nil
		}
		s := orders[r.OrderID]
		if s == nil {
			s = &spent{}
			orders[r.OrderID] = s
		}
		r.ESIMs, r.LookLog = nil, nil // not money
		if s.last = r; s.paid.IsZero() && r.Certainty == order.CertainPlaced {
			s.paid = r.At
		}
		if r.Balance != nil && r.LastSentAt != nil && r.Evidence == order.EvidenceReply && (p.latest == nil || r.At.After(p.latest.At)) {
			p.latest = &Snapshot{From: *r.LastSentAt, At: r.At, Balance: *r.Balance, Order: r.OrderID}
		}
		return nil
	})
	return orders, err
}

// price fills in what orders cost that lie in a stretch and whose reply did not
// tell it.
func (p *balancePass) price(ctx context.Context, orders map[string]*spent) error {
	var packages []string
	clouds := map[string][]*spent{} // by EID
	for id, s := range orders {
		if s.last.Total != nil || s.paid.IsZero() || !p.within(s) {
			continue
		}
		switch s.last.Product {
		case order.ProductPackage:
			packages = append(packages, id)
		case order.ProductCloudESIMPackage:
			clouds[s.last.Request.EID] = append(clouds[s.last.Request.EID], s)
		case order.ProductESIM:
			s.last.Total, s.most = p.goodsPrice(s)
		case order.ProductPoolPackage:
			if d, ok := p.PoolPrices[s.last.Request.PoolTypeCode]; ok {
				s.last.Total = money(d, p.purse.Anchor.Balance.Currency)
			}
		}
		if s.last.Total == nil {
			s.last.Total = s.last.SpendReserved // as the price list had it before the call
		}
	}
	if err := p.pricePackages(ctx, orders, packages); err != nil {
		return err
	}
	return p.priceClouds(ctx, clouds)
}

// within says whether an order may have moved money in a stretch that is judged.
func (p *balancePass) within(s *spent) bool {
	if s.last.FirstSentAt == nil {
		return false
	}
	from, to := s.last.FirstSentAt.Add(-clockSkew), s.last.At.Add(clockSkew)
	return slices.ContainsFunc(p.purse.Gaps, func(g stretchOfMoney) bool {
		return g.due && !to.Before(g.Opening.From) && !from.After(g.Closing.At)
	})
}

func (p *balancePass) pricePackages(ctx context.Context, orders map[string]*spent, ids []string) error {
	if p.account.Packages == nil || len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	rows, least, err := details(ctx, p.account.Packages, ids)
	p.Cost.could("getOrderPackageDetails", least)
	if err != nil {
		return err
	}
	for id, found := range rows {
		if s := orders[id]; s != nil && len(found) > 0 && found[0].Price != nil {
			s.last.Total = found[0].Price
		}
	}
	return nil
}

// maxOrderIDs is how many of its own order ids are sent to a list at a time (I:
// as many as getOrderPackageDetails takes; none is documented).
const maxOrderIDs = 50

func (p *balancePass) priceClouds(ctx context.Context, clouds map[string][]*spent) error {
	if p.account.Clouds == nil {
		return nil
	}
	for eid, list := range clouds {
		for some := range slices.Chunk(list, maxOrderIDs) {
			byID := map[string]*spent{}
			var ids []string
			for _, s := range some {
				if id := s.last.SupplierOrderID; id != "" {
					byID[id], ids = s, append(ids, id)
				}
			}
			if len(ids) == 0 {
				continue
			}
			rows, _, err := p.account.Clouds.CloudRecords(ctx, eid, eiotclub.RecordFilter{OrderIDs: ids, PageSize: eiotclub.MaxCloudPage})
			p.Cost.could("cloudesim/pkg/record/list", 1)
			if err != nil {
				return err
			}
			for _, r := range rows {
				if s := byID[r.OrderID]; s != nil && r.Price != nil {
					s.last.Total = r.Price
				}
			}
		}
	}
	return nil
}

// goodsPrice is what an eSIM cost by the price list, as it stood before the
// purchase and as it stood after it: least, and at most if that is more.
func (p *balancePass) goodsPrice(s *spent) (least, most *order.Money) {
	code, currency := s.last.Request.GoodsCode, p.purse.Anchor.Balance.Currency
	for _, g := range p.purse.Gaps {
		for _, list := range []map[string]order.Money{g.Opening.Prices, g.Closing.Prices} {
			price, ok := list[code]
			if !ok || price.Currency != currency { // what it was exchanged at nobody tells
				continue
			}
			if least == nil || price.Amount.LessThan(least.Amount) {
				least = &price
			}
			if most == nil || price.Amount.GreaterThan(most.Amount) {
				most = &price
			}
		}
	}
	return least, most
}

// maxPrices bounds the price list that is noted.
const maxPrices = 2000

// pricesNow notes what the supplier's eSIMs cost now.
func (p *balancePass) pricesNow(ctx context.Context) (map[string]order.Money, error) {
	if p.account.Prices == nil {
		return nil, nil
	}
	offers, err := p.account.Prices.Goods(ctx)
	p.Cost.could("esim/goods", 1)
	if err != nil {
		return nil, fmt.Errorf("prices of eSIMs: %w", err)
	}
	out := map[string]order.Money{}
	for _, o := range offers[:min(len(offers), maxPrices)] {
		if o.Price != nil {
			out[o.Code] = *o.Price
		}
	}
	return out, nil
}

// theirClock is by how much the supplier's clock may differ from ours.
const theirClock = time.Minute

// reported is the money of a purchase that records reports: it was taken as well,
// for all we know, when their list says.
func (p *balancePass) reported(f wire.Finding) []Movement {
	if f.Amount == nil || f.Supplier+"/"+f.Account != p.name || f.Amount.Amount.Sign() == 0 {
		return nil
	}
	m := Movement{To: p.run.Now, Low: f.Amount.Amount.Neg()}
	if from, to, ok := born(f.Theirs); ok {
		m.From, m.To = from.Add(-theirClock), to.Add(theirClock)
	}
	switch f.Kind {
	case KindMissingHere, KindDuplicate, KindState:
	case KindPrice, KindCurrency:
		m.High = f.Amount.Amount // it may have been more or less than we know
	case KindRefund:
		m.High, m.To = f.Amount.Amount, p.run.Now
	default:
		return nil
	}
	return []Movement{m}
}

// born reads when the orders of a finding's other side were made.
func born(theirs json.RawMessage) (from, to time.Time, ok bool) {
	var many []view
	if err := json.Unmarshal(theirs, &many); err != nil {
		var one view
		if err := json.Unmarshal(theirs, &one); err != nil {
			return from, to, false
		}
		many = []view{one}
	}
	for _, v := range many {
		if v.CreatedAt == nil {
			return from, to, false
		}
		if from.IsZero() || v.CreatedAt.Before(from) {
			from = *v.CreatedAt
		}
		to = later(to, *v.CreatedAt)
	}
	return from, to, len(many) > 0
}

// partsOf is into how many parts a book of so many events is cut.
func partsOf(events, size uint64) int { return 1 + int(events/cmp.Or(size, defaultPartSize)) }

// defaultPartSize is how many of the ledger's events are held at a time, about: an
// order has two or more, and takes half a kilobyte.
const defaultPartSize = 500_000
