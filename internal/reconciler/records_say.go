package reconciler

import (
	"context"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

// say turns what differs about one order into findings, as far as it is old
// enough; the rest is noted for the next run. What was seen in part only opens
// findings: again closes them.
func (p *recordsPass) say(ctx context.Context, obj object, id string, differences []Difference, whole bool) error {
	about := p.aboutOf(obj, id)
	if whole {
		p.looked[about] = true
	}
	var found []wire.Finding
	for _, d := range differences {
		since := d.Since
		if y, ok := p.before.Young[about]; ok && y.Since.Before(since) {
			since = y.Since // met before, whatever touched the row since
		}
		stands := p.sitting.Has(FindingID(d.Kind, about))
		switch {
		case stands && !whole:
			continue
		case stands || p.run.Settled(since, p.Settle):
			found = append(found, p.finding(obj, d))
			continue
		}
		if len(p.next.Young) < maxNotes {
			if since.After(p.run.Now) { // their clock is ahead
				since = p.run.Now
			}
			p.next.Young[about] = young{Object: obj.String(), Since: since}
		}
	}
	if whole || !p.sitting.Stands(about) {
		return p.sitting.Looked(ctx, about, found...)
	}
	for _, f := range found {
		if err := p.sitting.Found(ctx, about, f); err != nil {
			return err
		}
	}
	return nil
}

func (p *recordsPass) finding(obj object, d Difference) wire.Finding {
	f := wire.Finding{Kind: d.Kind, OrderID: d.ID, Supplier: p.account.Supplier, Account: p.account.Name, Amount: d.Amount,
		Evidence: "the ledger against the supplier's order lists"}
	card := ""
	if d.Ours != nil {
		f.SupplierOrderID, card = d.Ours.TheirID, d.Ours.Card
		f.Ours = raw(d.Ours.view())
	}
	views := make([]view, 0, len(d.Theirs))
	for _, t := range d.Theirs {
		v := t.view()
		if !t.Born.IsZero() {
			v.CreatedAt = &t.Born
		}
		views = append(views, v)
		if t.TheirID != "" {
			f.SupplierOrderID = t.TheirID
		}
		if t.Card != "" {
			card = t.Card
		}
	}
	switch len(views) {
	case 0:
	case 1:
		f.Theirs = raw(views[0])
	default:
		f.Theirs = raw(views)
	}
	switch obj.product {
	case order.ProductPackage:
		f.ICCID = card
	case order.ProductCloudESIMPackage:
		f.EID = card
	}
	return f
}
