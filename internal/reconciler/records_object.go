package reconciler

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// lookupByID says whether orders of a product can be asked for in batches by our
// own id, wherever they are.
func lookupByID(product string) bool { return product == order.ProductPackage }

// object compares one object's list, as it changed since, with our orders on it
// and those named by also.
func (p *recordsPass) object(ctx context.Context, obj object, since time.Time, also ...string) error {
	mine, err := p.mine(ctx, obj, also)
	if err != nil {
		return err
	}
	theirs, err := p.list(ctx, obj, since)
	if err != nil {
		return err
	}
	if mine, err = p.complete(ctx, mine, theirs); err != nil {
		return err
	}
	differences := map[string][]Difference{}
	for d, err := range Compare(lines(mine), lines(theirs)) {
		if err != nil {
			return err
		}
		differences[d.ID] = append(differences[d.ID], d)
	}
	ids := map[string]bool{}
	for _, l := range mine {
		ids[l.ID] = true
	}
	for _, t := range theirs {
		ids[t.ID] = true
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		ds := differences[id]
		if len(ds) == 1 && ds[0].Kind == KindMissingThere {
			switch {
			case lookupByID(obj.product) && !since.IsZero():
				p.missing = append(p.missing, *ds[0].Ours)
				continue
			case lookupByID(obj.product): // not on this card, perhaps on another
				found, least, err := details(ctx, p.account.Packages, []string{id})
				p.Cost.could("getOrderPackageDetails", least)
				if err != nil {
					return err
				}
				ds = Judge(ds[0].Ours, theirLines(found[id]))
			case !since.IsZero(): // perhaps only too old for the filter
				return p.object(ctx, obj, time.Time{}, also...)
			}
		}
		if err := p.say(ctx, obj, id, ds, since.IsZero()); err != nil {
			return err
		}
	}
	return p.testify(ctx, mine, theirs)
}

// mine are our orders on the object: those of the book, and also.
func (p *recordsPass) mine(ctx context.Context, obj object, also []string) ([]Line, error) {
	var out []Line
	for _, o := range p.book.of(obj) {
		out = append(out, o.line)
	}
	for _, id := range also {
		l, err := p.our(ctx, id)
		if err != nil {
			return nil, err
		}
		if l == nil || slices.ContainsFunc(out, func(o Line) bool { return o.ID == id }) {
			continue
		}
		out = append(out, *l)
		if l.TheirID != "" {
			p.book.named[l.TheirID] = l.ID
		}
	}
	return out, nil
}

// complete adds to our lines those orders that their list names beyond them, from
// the ledger itself: they may be older than the book, or on another card.
func (p *recordsPass) complete(ctx context.Context, mine, theirs []Line) ([]Line, error) {
	known := map[string]bool{}
	for _, l := range mine {
		known[l.ID] = true
	}
	for _, t := range theirs {
		if known[t.ID] {
			continue
		}
		known[t.ID] = true
		l, err := p.our(ctx, t.ID)
		if err != nil {
			return nil, err
		}
		if l != nil {
			mine = append(mine, *l)
		}
	}
	slices.SortFunc(mine, func(a, b Line) int { return strings.Compare(a.ID, b.ID) })
	return mine, nil
}

// our is an order of this account as the ledger has it now, nil if it has not.
func (p *recordsPass) our(ctx context.Context, id string) (*Line, error) {
	r, found, err := p.Ledger.Get(ctx, id)
	if err != nil || !found || r.Supplier != p.account.Supplier || r.Account != p.account.Name {
		return nil, err
	}
	l := OurLine(r)
	return &l, nil
}

// list reads their list of one object, sorted, without what was sold through
// other channels than ours: those orders carry no outTradeNo.
func (p *recordsPass) list(ctx context.Context, obj object, since time.Time) ([]Line, error) {
	var all []Line
	switch obj.product {
	case order.ProductPackage:
		rows, least, err := records(ctx, p.account.Packages, obj.key, since)
		p.Cost.could("packageOrderRecord", least)
		if err != nil {
			return nil, err
		}
		all = theirLines(rows)
	case order.ProductCloudESIMPackage:
		rows, least, err := cloudRecords(ctx, p.account.Clouds, obj.key, since)
		p.Cost.could("cloudesim/pkg/record/list", least)
		if err != nil {
			return nil, err
		}
		all = theirLines(rows)
		for i, l := range all {
			if l.ID == "" {
				all[i].ID = p.book.named[l.TheirID]
			}
		}
	case order.ProductPoolPackage:
		rows, least, err := poolRecords(ctx, p.account.Pools, obj.key, since)
		p.Cost.could("pool/record/list", least)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			all = append(all, poolLine(r))
		}
	}
	p.Metrics.rows.WithLabelValues(JobRecords).Add(float64(len(all)))
	all = slices.DeleteFunc(all, func(l Line) bool { return l.ID == "" })
	slices.SortStableFunc(all, func(a, b Line) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// testify hands orderer what the lists prove of orders that it is still at, or
// sees otherwise.
func (p *recordsPass) testify(ctx context.Context, mine, theirs []Line) error {
	for _, l := range mine {
		lo, _ := slices.BinarySearchFunc(theirs, l.ID, func(t Line, id string) int { return strings.Compare(t.ID, id) })
		hi := lo
		for hi < len(theirs) && theirs[hi].ID == l.ID {
			hi++
		}
		if lo == hi {
			continue
		}
		t := theirs[lo:hi][pick(&l, theirs[lo:hi])]
		p.born(l, t)
		if l.State == string(order.Fulfilled) && t.Standing == Bought || l.State == string(order.Refunded) {
			continue // the usual case, without asking the ledger
		}
		if !p.run.Settled(l.At, p.Settle) {
			continue
		}
		r, found, err := p.Ledger.Get(ctx, l.ID)
		if err != nil {
			return err
		}
		seen := supplier.Placement{SupplierOrderID: t.TheirID, State: order.Fulfilled, Total: known(t.Price)}
		if t.Standing == Refunded {
			seen.State = order.Refunded
		}
		if !found || !news(r, seen) || !asOrdered(r, t.Card, t.Package) || p.run.Dry {
			continue
		}
		if err := p.Witness.Tell(ctx, evidenceOf(r, seen, p.run.Now)); err != nil {
			return err
		}
	}
	return nil
}
