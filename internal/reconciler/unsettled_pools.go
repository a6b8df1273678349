package reconciler

import (
	"cmp"
	"context"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
)

// poolOf is one pool of one account: its orders are asked for together.
type poolOf struct{ account, pool string }

// maxPooled is how many open orders of pools are held at a time; a batch goes out
// before it is full when there are so many pools.
const maxPooled = 2000

// pool gathers the open orders of a pool and asks once a batch is full.
func (p *unsettledPass) pool(ctx context.Context, a Account, r order.Record) error {
	of := poolOf{accountKey(a), r.Request.PoolObjectID}
	p.pools[of] = append(p.pools[of], r)
	p.pooled++
	switch {
	case len(p.pools[of]) == maxOrderIDs:
		return p.sendPool(ctx, a, of)
	case p.pooled >= maxPooled:
		return p.sendPools(ctx)
	}
	return nil
}

func (p *unsettledPass) sendPools(ctx context.Context) error {
	for of, batch := range p.pools {
		if a, ok := p.account(batch[0]); ok {
			if err := p.sendPool(ctx, a, of); err != nil {
				return err
			}
		}
	}
	return nil
}

// sendPool asks for one batch. A void record is Refunded: pool/unsub takes a
// package back, and no other void is documented.
func (p *unsettledPass) sendPool(ctx context.Context, a Account, of poolOf) error {
	batch := p.pools[of]
	delete(p.pools, of)
	p.pooled -= len(batch)
	if p.failed[accountKey(a)] != nil {
		return nil
	}
	ids := make([]string, len(batch))
	for i, r := range batch {
		ids[i] = r.OrderID
	}
	rows, err := a.Pools.PoolRecords(ctx, of.pool, eiotclub.PoolFilter{OutTradeNos: ids, Page: 1, PageSize: eiotclub.MaxPoolPage})
	p.Cost.could("pool/record/list", 1)
	if err != nil {
		p.fail(a, err)
		return ctx.Err()
	}
	found := map[string]eiotclub.PoolOrder{}
	for _, row := range rows {
		if _, twice := found[row.OutTradeNo]; !twice {
			found[row.OutTradeNo] = row
		}
	}
	for _, r := range batch {
		row, ok := found[r.OrderID]
		if !ok || !asOrdered(r, "", row.TypeCode) { // absence proves nothing yet; another package is records' to report
			continue
		}
		seen := supplier.Placement{State: order.Fulfilled, SupplierOrderID: cmp.Or(row.OrderNo, r.SupplierOrderID)}
		if row.Status < 0 {
			seen.State = order.Refunded
		}
		if err := p.tell(ctx, r, seen); err != nil {
			return err
		}
	}
	return nil
}
