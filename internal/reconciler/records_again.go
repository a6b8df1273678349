package reconciler

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/simline/simline/internal/order"
)

// verify asks by id for our orders that no list showed. What is found after all
// was only too old for the list's filter.
func (p *recordsPass) verify(ctx context.Context) error {
	missing := p.missing
	p.missing = nil
	ids := make([]string, len(missing))
	for i, l := range missing {
		ids[i] = l.ID
	}
	found, least, err := details(ctx, p.account.Packages, ids)
	p.Cost.could("getOrderPackageDetails", least)
	if err != nil {
		return err
	}
	for _, l := range missing {
		// Nothing was left out of this answer, so that again need not ask for it.
		if err := p.say(ctx, object{order.ProductPackage, l.Card}, l.ID, Judge(&l, theirLines(found[l.ID])), true); err != nil {
			return err
		}
	}
	return nil
}

// again looks at everything that has a finding and was not looked at whole yet, with
// nothing left out by a filter, so that a finding closes once its difference is gone,
// and only then.
func (p *recordsPass) again(ctx context.Context) error {
	var ids []string
	objects := map[object][]string{}
	for _, about := range p.sitting.Abouts() {
		rest, ours := strings.CutPrefix(about, p.about(""))
		if !ours || p.looked[about] {
			continue
		}
		product, id, _ := strings.Cut(rest, "/")
		key := ""
		switch {
		case !lookupByID(product):
			key, id, _ = strings.Cut(id, "/")
		case p.sitting.Has(FindingID(KindDuplicate, about)) || !order.ValidID(id):
			// By its id they may show one of two, and an id that is none of ours may
			// not go into a list of ids at all.
			var err error
			if key, err = p.sitting.Card(ctx, about); err != nil {
				return err
			}
		}
		if key == "" && order.ValidID(id) {
			ids = append(ids, id)
		}
		if key == "" {
			continue
		}
		obj := object{product, key}
		objects[obj] = append(objects[obj], id)
	}
	for _, obj := range slices.SortedFunc(maps.Keys(objects), compareObjects) {
		if err := p.object(ctx, obj, time.Time{}, objects[obj]...); err != nil {
			return err
		}
		for _, id := range objects[obj] {
			if !p.looked[p.aboutOf(obj, id)] { // in neither book any more
				if err := p.say(ctx, obj, id, nil, true); err != nil {
					return err
				}
			}
		}
	}
	slices.Sort(ids)
	found, least, err := details(ctx, p.account.Packages, ids)
	p.Cost.could("getOrderPackageDetails", least)
	if err != nil {
		return err
	}
	for _, id := range ids {
		ours, err := p.our(ctx, id)
		if err != nil {
			return err
		}
		if err := p.say(ctx, object{product: order.ProductPackage}, id, Judge(ours, theirLines(found[id])), true); err != nil {
			return err
		}
	}
	return nil
}
