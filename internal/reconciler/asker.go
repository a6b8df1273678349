package reconciler

import (
	"context"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
)

// asker is how one job asks one account: within the budget that all workers
// share, counted, and again what was not answered, a few times with growing
// pauses: questions spend nothing, and one lost answer among thousands should not
// begin a long pass anew.
type asker struct {
	tries  int
	wait   time.Duration // before the second try; four times as long when there were too many
	budget *Budget
	cost   *Cost
}

// ask makes a call until it is answered, refused, or the tries are used up.
func ask[T any](ctx context.Context, a asker, endpoint string, call func() (T, error)) (T, error) {
	wait := a.wait
	for try := 1; ; try++ {
		v, err := once(ctx, a, endpoint, call)
		if err == nil || try >= a.tries {
			return v, err
		}
		pause := wait
		switch e := supplier.AsError("", err); e.Kind {
		case supplier.Unknown:
		case supplier.Busy:
			pause = max(4*wait, e.RetryAfter)
			if e.RetryAfter > time.Minute {
				return v, err // the whole pass comes back later
			}
		default:
			return v, err
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return v, ctx.Err()
		case <-t.C:
		}
		wait *= 2
	}
}

// once makes one call, if the budget has one, and tells the others when it was
// one too many.
func once[T any](ctx context.Context, a asker, endpoint string, call func() (T, error)) (v T, err error) {
	if err := a.budget.Take(ctx); err != nil {
		return v, err
	}
	a.cost.call(endpoint)
	v, err = call()
	if err == nil {
		return v, nil
	}
	if e := supplier.AsError("", err); e.Kind == supplier.Busy {
		a.budget.Busy(ctx, max(4*a.wait, e.RetryAfter))
	}
	return v, err
}

// rows is a page of a list with how many there are in all.
type rows[T any] struct {
	page  []T
	total int
}

// asked makes an account's questions go through an asker.
func asked(account Account, by asker) Account {
	if account.Packages != nil {
		account.Packages = askedPackages{account.Packages, by}
	}
	if account.Clouds != nil {
		account.Clouds = askedClouds{account.Clouds, by}
	}
	if account.Pools != nil {
		account.Pools = askedPools{account.Pools, by}
	}
	if account.Statuses != nil {
		account.Statuses = askedStatuses{account.Statuses, by}
	}
	if account.Tasks != nil {
		account.Tasks = askedTasks{account.Tasks, by}
	}
	if account.Usage != nil {
		account.Usage = askedUsage{account.Usage, by}
	}
	if account.Balance != nil {
		account.Balance = askedBalance{account.Balance, by}
	}
	if account.Prices != nil {
		account.Prices = askedPrices{account.Prices, by}
	}
	return account
}

type askedPackages struct {
	PackageLists
	asker
}

// OrderDetails implements PackageLists.
func (p askedPackages) OrderDetails(ctx context.Context, ids []string, state, page, size int) ([]eiotclub.Order, error) {
	return ask(ctx, p.asker, "getOrderPackageDetails", func() ([]eiotclub.Order, error) { return p.PackageLists.OrderDetails(ctx, ids, state, page, size) })
}

// PackageRecords implements PackageLists.
func (p askedPackages) PackageRecords(ctx context.Context, iccid string, f eiotclub.RecordFilter) ([]eiotclub.Order, int, error) {
	r, err := ask(ctx, p.asker, "packageOrderRecord", func() (r rows[eiotclub.Order], err error) {
		r.page, r.total, err = p.PackageLists.PackageRecords(ctx, iccid, f)
		return r, err
	})
	return r.page, r.total, err
}

type askedClouds struct {
	CloudLists
	asker
}

// CloudRecords implements CloudLists.
func (p askedClouds) CloudRecords(ctx context.Context, eid string, f eiotclub.RecordFilter) ([]eiotclub.Order, int, error) {
	r, err := ask(ctx, p.asker, "cloudesim/pkg/record/list", func() (r rows[eiotclub.Order], err error) {
		r.page, r.total, err = p.CloudLists.CloudRecords(ctx, eid, f)
		return r, err
	})
	return r.page, r.total, err
}

type askedPools struct {
	PoolLists
	asker
}

// PoolRecords implements PoolLists.
func (p askedPools) PoolRecords(ctx context.Context, pool string, f eiotclub.PoolFilter) ([]eiotclub.PoolOrder, error) {
	return ask(ctx, p.asker, "pool/record/list", func() ([]eiotclub.PoolOrder, error) { return p.PoolLists.PoolRecords(ctx, pool, f) })
}

type askedStatuses struct {
	StatusReader
	asker
}

// Lookup implements StatusReader.
func (p askedStatuses) Lookup(ctx context.Context, q supplier.Query) (supplier.Sighting, error) {
	return ask(ctx, p.asker, lookOf(q.Product), func() (supplier.Sighting, error) { return p.StatusReader.Lookup(ctx, q) })
}

// lookOf names the look-up of one order of a product, as an endpoint. That of a
// package is several calls, and rare: packages are asked for in batches.
func lookOf(product string) string { return "look-up of one " + product }

type askedTasks struct {
	TaskReader
	asker
}

// Tasks implements TaskReader.
func (p askedTasks) Tasks(ctx context.Context, ids []string) ([]eiotclub.Task, error) {
	return ask(ctx, p.asker, "task/query", func() ([]eiotclub.Task, error) { return p.TaskReader.Tasks(ctx, ids) })
}

type askedUsage struct {
	UsageReader
	asker
}

// Traffic implements UsageReader.
func (p askedUsage) Traffic(ctx context.Context, iccids []string, from, to time.Time) (map[string]int64, error) {
	return ask(ctx, p.asker, "cdr/traffic/query", func() (map[string]int64, error) { return p.UsageReader.Traffic(ctx, iccids, from, to) })
}

// TrafficMonth implements UsageReader.
func (p askedUsage) TrafficMonth(ctx context.Context, iccids []string, month time.Time) (map[string]int64, error) {
	return ask(ctx, p.asker, "cdr/traffic/query", func() (map[string]int64, error) { return p.UsageReader.TrafficMonth(ctx, iccids, month) })
}

type askedBalance struct {
	BalanceReader
	asker
}

// Balance implements BalanceReader.
func (p askedBalance) Balance(ctx context.Context) (order.Money, error) {
	return ask(ctx, p.asker, "agent/balance", func() (order.Money, error) { return p.BalanceReader.Balance(ctx) })
}

type askedPrices struct {
	PriceReader
	asker
}

// Goods implements PriceReader.
func (p askedPrices) Goods(ctx context.Context) ([]eiotclub.Offer, error) {
	return ask(ctx, p.asker, "esim/goods", func() ([]eiotclub.Offer, error) { return p.PriceReader.Goods(ctx) })
}
