package reconciler

import (
	"context"
	"strconv"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
)

// Account is one account at one supplier, with what may be asked there. An
// interface that the supplier does not have is nil.
type Account struct {
	Supplier, Name string

	Packages PackageLists
	Statuses StatusReader
	Clouds   CloudLists
	Pools    PoolLists
	Tasks    TaskReader
	Usage    UsageReader
	Balance  BalanceReader
	Prices   PriceReader
}

// PackageLists are the lists of package orders on SIMs.
type PackageLists interface {
	OrderDetails(ctx context.Context, outTradeNos []string, state, page, pageSize int) ([]eiotclub.Order, error)
	PackageRecords(ctx context.Context, iccid string, f eiotclub.RecordFilter) ([]eiotclub.Order, int, error)
}

// StatusReader looks one order up by whatever is known of it.
type StatusReader interface {
	Lookup(ctx context.Context, q supplier.Query) (supplier.Sighting, error)
}

// CloudLists are the lists of packages on cloud eSIMs.
type CloudLists interface {
	CloudRecords(ctx context.Context, eid string, f eiotclub.RecordFilter) ([]eiotclub.Order, int, error)
}

// PoolLists are the lists of packages of pools.
type PoolLists interface {
	PoolRecords(ctx context.Context, poolObjectID string, f eiotclub.PoolFilter) ([]eiotclub.PoolOrder, error)
}

// TaskReader reads batch tasks.
type TaskReader interface {
	Tasks(ctx context.Context, ids []string) ([]eiotclub.Task, error)
}

// UsageReader reads the supplier's own sums of bytes, by ICCID.
type UsageReader interface {
	Traffic(ctx context.Context, iccids []string, from, to time.Time) (map[string]int64, error)
	TrafficMonth(ctx context.Context, iccids []string, month time.Time) (map[string]int64, error)
}

// BalanceReader reads what is left on the account.
type BalanceReader interface {
	Balance(ctx context.Context) (order.Money, error)
}

// PriceReader reads what the supplier's eSIMs cost now.
type PriceReader interface {
	Goods(ctx context.Context) ([]eiotclub.Offer, error)
}

// full is how many batches of size hold n.
func full(n, size int) int { return (n + size - 1) / size }

// TheirLine is a row of a list as a line of their book. at is the list's own word
// for when the row last changed, else when it was ordered.
func TheirLine(o eiotclub.Order) Line {
	l := Line{ID: o.OutTradeNo, TheirID: o.OrderID, Card: o.ICCID + o.EID, Package: o.PackageCode, Standing: Bought, At: o.UpdatedAt, Born: o.CreatedAt}
	if l.At.IsZero() {
		l.At = o.CreatedAt
	}
	if o.Price != nil {
		l.Price = *o.Price
	}
	switch {
	case o.Refunded:
		l.Standing, l.State = Refunded, "refunded"
	case o.State == eiotclub.PackageWaiting:
		l.State = "waiting"
	case o.State == eiotclub.PackageInUse:
		l.State = "in_use"
	case o.State == eiotclub.PackageFinished:
		l.State = "finished"
	default:
		l.State = strconv.Itoa(o.State) // such as -9, which no document explains
	}
	return l
}

// details finds package orders by our ids, each in at most one of the states, and
// returns every row of each.
//
// least is how few calls could have told that. The states are asked in the order of a package's life, each time only for what
// was not found yet: a package that moves on meanwhile is met in the later state.
func details(ctx context.Context, lists PackageLists, ids []string) (found map[string][]eiotclub.Order, least int, err error) {
	found = map[string][]eiotclub.Order{}
	for _, state := range eiotclub.PackageStates {
		var asked []string
		for _, id := range ids {
			if len(found[id]) == 0 {
				asked = append(asked, id)
			}
		}
		least += full(len(asked), eiotclub.MaxDetailIDs)
		for lo := 0; lo < len(asked); lo += eiotclub.MaxDetailIDs {
			rows, err := detailsOf(ctx, lists, asked[lo:min(lo+eiotclub.MaxDetailIDs, len(asked))], state)
			if err != nil {
				return nil, least, err
			}
			for _, r := range rows {
				found[r.OutTradeNo] = append(found[r.OutTradeNo], r)
			}
		}
	}
	return found, least, nil
}

// detailsOf reads all pages of at most MaxDetailIDs ids in one state. A full page
// that shows each id once is taken as all there is: only a second purchase under
// one id could follow, and that is for the card's own records to show.
func detailsOf(ctx context.Context, lists PackageLists, ids []string, state int) (rows []eiotclub.Order, err error) {
	for page := 1; ; page++ {
		got, err := lists.OrderDetails(ctx, ids, state, page, eiotclub.MaxDetailPage)
		if err != nil {
			return nil, err
		}
		rows = append(rows, got...)
		if len(got) < eiotclub.MaxDetailPage || page == 1 && oneEach(got, ids) {
			return rows, nil
		}
	}
}

func oneEach(rows []eiotclub.Order, ids []string) bool {
	seen := make(map[string]bool, len(rows))
	for _, r := range rows {
		if seen[r.OutTradeNo] {
			return false
		}
		seen[r.OutTradeNo] = true
	}
	return len(seen) == len(ids)
}

// records reads all of a card's package orders that changed since from.
func records(ctx context.Context, lists PackageLists, iccid string, from time.Time) (rows []eiotclub.Order, least int, err error) {
	return allPages(eiotclub.MaxPackagePage, func(page, size int) ([]eiotclub.Order, int, error) {
		return lists.PackageRecords(ctx, iccid, eiotclub.RecordFilter{UpdatedFrom: from, Page: page, PageSize: size})
	})
}

// cloudRecords is the same for a cloud eSIM.
func cloudRecords(ctx context.Context, lists CloudLists, eid string, from time.Time) (rows []eiotclub.Order, least int, err error) {
	return allPages(eiotclub.MaxCloudPage, func(page, size int) ([]eiotclub.Order, int, error) {
		return lists.CloudRecords(ctx, eid, eiotclub.RecordFilter{UpdatedFrom: from, Page: page, PageSize: size})
	})
}

// poolRecords reads a pool's packages bought since from. Its list has no total: a
// short page is the last.
func poolRecords(ctx context.Context, lists PoolLists, pool string, from time.Time) (rows []eiotclub.PoolOrder, least int, err error) {
	seen := 0
	return allPages(eiotclub.MaxPoolPage, func(page, size int) ([]eiotclub.PoolOrder, int, error) {
		got, err := lists.PoolRecords(ctx, pool, eiotclub.PoolFilter{CreatedFrom: from, Page: page, PageSize: size})
		seen += len(got)
		if len(got) == size {
			return got, seen + 1, err
		}
		return got, seen, err
	})
}

// allPages reads pages from 1 until their total is reached, or an empty one.
func allPages[T any](size int, read func(page, size int) ([]T, int, error)) (rows []T, least int, err error) {
	for page := 1; ; page++ {
		got, total, err := read(page, size)
		if err != nil {
			return nil, 0, err
		}
		rows = append(rows, got...)
		if len(got) == 0 || len(rows) >= total {
			return rows, max(1, full(len(rows), size)), nil
		}
	}
}

func poolLine(o eiotclub.PoolOrder) Line {
	l := Line{ID: o.OutTradeNo, TheirID: o.OrderNo, Package: o.TypeCode, Standing: Bought, State: "status " + strconv.Itoa(o.Status), At: o.CreatedAt}
	if o.Status < 0 {
		l.Standing, l.State = Refunded, "void"
	}
	return l
}

func theirLines(rows []eiotclub.Order) []Line {
	out := make([]Line, 0, len(rows))
	for _, r := range rows {
		out = append(out, TheirLine(r))
	}
	return out
}
