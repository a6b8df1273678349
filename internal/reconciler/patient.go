package reconciler

import (
	"context"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
)

// patience asks again what was not answered, a few times with growing pauses:
// questions spend nothing, and one lost answer among thousands should not begin a
// long pass anew.
type patience struct {
	tries int
	wait  time.Duration // before the second try; four times as long when there were too many
}

// again makes a call until it is answered, refused, or the tries are used up.
func again[T any](ctx context.Context, p patience, call func() (T, error)) (T, error) {
	wait := p.wait
	for try := 1; ; try++ {
		v, err := call()
		if err == nil || try >= p.tries {
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

// rows is a page of a list with how many there are in all.
type rows[T any] struct {
	page  []T
	total int
}

// patient makes an account's questions patient.
func patient(a Account, p patience) Account {
	if a.Packages != nil {
		a.Packages = patientPackages{a.Packages, p}
	}
	if a.Clouds != nil {
		a.Clouds = patientClouds{a.Clouds, p}
	}
	if a.Pools != nil {
		a.Pools = patientPools{a.Pools, p}
	}
	if a.Statuses != nil {
		a.Statuses = patientStatuses{a.Statuses, p}
	}
	if a.Tasks != nil {
		a.Tasks = patientTasks{a.Tasks, p}
	}
	if a.Usage != nil {
		a.Usage = patientUsage{a.Usage, p}
	}
	if a.Balance != nil {
		a.Balance = patientBalance{a.Balance, p}
	}
	return a
}

type patientPackages struct {
	PackageLists
	patience
}

// OrderDetails implements PackageLists.
func (p patientPackages) OrderDetails(ctx context.Context, ids []string, state, page, size int) ([]eiotclub.Order, error) {
	return again(ctx, p.patience, func() ([]eiotclub.Order, error) { return p.PackageLists.OrderDetails(ctx, ids, state, page, size) })
}

// PackageRecords implements PackageLists.
func (p patientPackages) PackageRecords(ctx context.Context, iccid string, f eiotclub.RecordFilter) ([]eiotclub.Order, int, error) {
	r, err := again(ctx, p.patience, func() (r rows[eiotclub.Order], err error) {
		r.page, r.total, err = p.PackageLists.PackageRecords(ctx, iccid, f)
		return r, err
	})
	return r.page, r.total, err
}

type patientClouds struct {
	CloudLists
	patience
}

// CloudRecords implements CloudLists.
func (p patientClouds) CloudRecords(ctx context.Context, eid string, f eiotclub.RecordFilter) ([]eiotclub.Order, int, error) {
	r, err := again(ctx, p.patience, func() (r rows[eiotclub.Order], err error) {
		r.page, r.total, err = p.CloudLists.CloudRecords(ctx, eid, f)
		return r, err
	})
	return r.page, r.total, err
}

type patientPools struct {
	PoolLists
	patience
}

// PoolRecords implements PoolLists.
func (p patientPools) PoolRecords(ctx context.Context, pool string, f eiotclub.PoolFilter) ([]eiotclub.PoolOrder, error) {
	return again(ctx, p.patience, func() ([]eiotclub.PoolOrder, error) { return p.PoolLists.PoolRecords(ctx, pool, f) })
}

type patientStatuses struct {
	StatusReader
	patience
}

// Lookup implements StatusReader.
func (p patientStatuses) Lookup(ctx context.Context, q supplier.Query) (supplier.Sighting, error) {
	return again(ctx, p.patience, func() (supplier.Sighting, error) { return p.StatusReader.Lookup(ctx, q) })
}

type patientTasks struct {
	TaskReader
	patience
}

// Tasks implements TaskReader.
func (p patientTasks) Tasks(ctx context.Context, ids []string) ([]eiotclub.Task, error) {
	return again(ctx, p.patience, func() ([]eiotclub.Task, error) { return p.TaskReader.Tasks(ctx, ids) })
}

type patientUsage struct {
	UsageReader
	patience
}

// Traffic implements UsageReader.
func (p patientUsage) Traffic(ctx context.Context, iccids []string, from, to time.Time) (map[string]int64, error) {
	return again(ctx, p.patience, func() (map[string]int64, error) { return p.UsageReader.Traffic(ctx, iccids, from, to) })
}

// TrafficMonth implements UsageReader.
func (p patientUsage) TrafficMonth(ctx context.Context, iccids []string, month time.Time) (map[string]int64, error) {
	return again(ctx, p.patience, func() (map[string]int64, error) { return p.UsageReader.TrafficMonth(ctx, iccids, month) })
}

type patientBalance struct {
	BalanceReader
	patience
}

// Balance implements BalanceReader.
func (p patientBalance) Balance(ctx context.Context) (order.Money, error) {
	return again(ctx, p.patience, func() (order.Money, error) { return p.BalanceReader.Balance(ctx) })
}
