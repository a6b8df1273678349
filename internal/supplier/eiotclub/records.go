package eiotclub

import (
	"context"
	"strconv"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// Documented limits of the lists.
const (
	MaxDetailIDs    = 50   // ids in one getOrderPackageDetails
	MaxDetailPage   = 50   // its page size
	MaxTaskIDs      = 100  // ids in one task/query
	MaxCloudPage    = 1000 // page size of cloudesim/pkg/record/list
	MaxPoolPage     = 1000 // page size of pool/record/list
	MaxPackagePage  = 500  // page size of packageOrderRecord (I: the cloud list's default; none is documented)
	MaxTrafficCards = 100  // cards in one cdr/traffic/query (I: none is documented)
)

// States of a package that filters know (D). Answers show others as well: -9.
const (
	PackageWaiting  = 0
	PackageInUse    = 1
	PackageFinished = 2 // used up, expired, refunded
)

// PackageStates are the three, in the order of a package's life. Whoever asks for
// each in turn must keep to it: a package that moves on between two questions is
// then met in the later one, and in the opposite order by neither.
var PackageStates = []int{PackageWaiting, PackageInUse, PackageFinished}

// Order is one row of getOrderPackageDetails, packageOrderRecord or
// cloudesim/pkg/record/list. What a list does not have is empty.
type Order struct {
	OrderID     string // orderId, or eshopOrderId of a cloud eSIM
	OrderNumber string // getOrderPackageDetails only
	OutTradeNo  string // our order id; empty if it was not ordered by API
	ICCID, EID  string
	PackageCode string
	PackageName string
	State       int          // PackageStates, or something undocumented
	Price       *order.Money // what was paid; nil if it is no amount
	Refunded    bool
	Renewal     bool
	// UTC; zero if empty or no date.
	CreatedAt, UpdatedAt, StartsAt, EndsAt time.Time
	UsedBytes                              int64 // packageOrderRecord only
}

type orderJSON struct {
	OrderID      ID   `json:"orderId"`
	EshopOrderID ID   `json:"eshopOrderId"`
	OrderNumber  ID   `json:"orderNumber"`
	OutTradeNo   Text `json:"outTradeNo"`
	ICCID        Text `json:"iccid"`
	EID          Text `json:"eid"`
	PackageCode  Text `json:"packageCode"`
	PackageName  Text `json:"packageName"`
	State        Text `json:"state"`
	Price        Text `json:"price"`
	Currency     Text `json:"currency"`
	IsRefund     Text `json:"isRefund"`
	Renew        Text `json:"renew"`
	CreateDate   Text `json:"createDate"`
	UpdateDate   Text `json:"updateDate"`
	StartDate    Text `json:"startDate"`
	EndDate      Text `json:"endDate"`
	UsageBytes   Text `json:"flowUsageBytes"`
}

func (c *Client) orders(rows []orderJSON) []Order {
	out := make([]Order, 0, len(rows))
	for _, r := range rows {
		o := Order{OrderID: string(r.OrderID), OrderNumber: string(r.OrderNumber), OutTradeNo: plain(r.OutTradeNo),
			ICCID: plain(r.ICCID), EID: plain(r.EID), PackageCode: plain(r.PackageCode), PackageName: plain(r.PackageName),
			State: number(r.State), Price: supplier.Amount(string(r.Price), string(r.Currency)),
			Refunded: r.IsRefund == "1" || r.IsRefund == "true", Renewal: r.Renew == "1",
			CreatedAt: c.Time(string(r.CreateDate)), UpdatedAt: c.Time(string(r.UpdateDate)),
			StartsAt: c.Time(string(r.StartDate)), EndsAt: c.Time(string(r.EndDate)), UsedBytes: int64(number(r.UsageBytes))}
		if r.EshopOrderID != "" { // beside it a cloud row's orderId is deprecated (D)
			o.OrderID = string(r.EshopOrderID)
		}
		out = append(out, o)
	}
	return out
}

// number reads an integer that may be quoted; 0 if it is none.
func number(t Text) int {
	n, err := strconv.ParseInt(string(t), 10, 64)
	if err != nil {
		return 0
	}
	return int(n)
}

// OrderDetails reads one page of the package orders among our order ids, at most
// MaxDetailIDs, that are in one state (D: 批量查询订单对应套餐详情). Pages count from
// 1 and hold at most MaxDetailPage; a page with fewer rows than asked is the last.
// A miss in one state proves nothing: ask for all PackageStates.
func (c *Client) OrderDetails(ctx context.Context, outTradeNos []string, state, page, pageSize int) ([]Order, error) {
	var rows []orderJSON
	_, err := c.read(ctx, "package/getOrderPackageDetails", params{}.list("outTradeNoArrStr", outTradeNos).
		number("state", state).number("page", page).number("pageSize", pageSize), &rows)
	return c.orders(rows), err
}

// RecordFilter narrows a list of orders. What is zero does not filter.
type RecordFilter struct {
	CreatedFrom, CreatedTo time.Time
	UpdatedFrom, UpdatedTo time.Time
	OrderIDs               []string // the supplier's
	States                 []int    // packages on SIMs only
	NewestFirst            bool     // packages on SIMs only; else by time of creation, oldest first
	Page, PageSize         int      // from 1; 0 is the first page, and MaxPackagePage
}

func (c *Client) filter(f RecordFilter, p params) params {
	for _, d := range []struct {
		name string
		at   time.Time
	}{{"createDateStart", f.CreatedFrom}, {"createDateEnd", f.CreatedTo}, {"updateDateStart", f.UpdatedFrom}, {"updateDateEnd", f.UpdatedTo}} {
		if !d.at.IsZero() {
			p = p.text(d.name, c.date(d.at))
		}
	}
	var states []string
	for _, s := range f.States {
		states = append(states, strconv.Itoa(s))
	}
	p = p.list("orderIdArrStr", f.OrderIDs).list("stateArrStr", states)
	if f.NewestFirst {
		p = p.text("orderBy", "createDateDesc")
	}
	if f.PageSize == 0 {
		f.PageSize = MaxPackagePage
	}
	return p.number("page", max(f.Page, 1)).number("pageSize", f.PageSize)
}

// PackageRecords reads one page of a card's package orders, whoever made them, and
// how many there are on all pages (D: 查询卡片套餐订购记录).
func (c *Client) PackageRecords(ctx context.Context, iccid string, f RecordFilter) ([]Order, int, error) {
	var rows []orderJSON
	e, err := c.read(ctx, "package/packageOrderRecord", c.filter(f, params{}.text("iccid", iccid)), &rows)
	return c.orders(rows), max(number(e.Total), len(rows)), err
}

// CloudRecords is the same for a cloud eSIM (D: 查询云esim卡片订购记录). Its rows are
// documented without outTradeNo: they are told apart by OrderID.
func (c *Client) CloudRecords(ctx context.Context, eid string, f RecordFilter) ([]Order, int, error) {
	var data struct {
		List  []orderJSON `json:"list"`
		Total Text        `json:"total"`
	}
	f.States, f.NewestFirst = nil, false
	_, err := c.read(ctx, "cloudesim/pkg/record/list", c.filter(f, params{}.text("eid", eid)), &data)
	return c.orders(data.List), max(number(data.Total), len(data.List)), err
}

// PoolOrder is one row of pool/record/list.
type PoolOrder struct {
	RecordID, OrderNo, OutTradeNo, TypeCode string
	// Status: 0 new, 1 assigned, 2 waiting for activation, 3 active, below 0 void (D).
	Status int
	// UTC; zero if not told.
	CreatedAt, ActiveAt, ExpiresAt time.Time
	TotalBytes                     int64
}

// PoolFilter narrows PoolRecords; what is empty does not filter.
type PoolFilter struct {
	OutTradeNos, OrderNos  []string
	CreatedFrom, CreatedTo time.Time
	Page, PageSize         int // from 1; 0 is the first page, and MaxPoolPage
}

// PoolRecords reads one page of a pool's packages (D: 获取池套餐记录). The answer has
// no total: a page with fewer rows than asked is the last.
func (c *Client) PoolRecords(ctx context.Context, poolObjectID string, f PoolFilter) ([]PoolOrder, error) {
	if f.PageSize == 0 {
		f.PageSize = MaxPoolPage
	}
	p := params{}.digits("pool_object_id", poolObjectID).list("out_trade_no_arr", f.OutTradeNos).list("order_no_arr", f.OrderNos)
	if !f.CreatedFrom.IsZero() {
		p = p.number("create_at_start", int(f.CreatedFrom.Unix()))
	}
	if !f.CreatedTo.IsZero() {
		p = p.number("create_at_end", int(f.CreatedTo.Unix()))
	}
	var data struct {
		List []struct {
			RecordID   ID   `json:"pool_record_id"`
			OrderNo    ID   `json:"order_no"`
			OutTradeNo Text `json:"out_trade_no"`
			TypeCode   Text `json:"pool_type_code"`
			Status     Text `json:"status_code"`
			CreatedAt  Text `json:"create_at"`
			ActiveAt   Text `json:"active_timestamp"`
			ExpiresAt  Text `json:"expire_timestamp"`
			Total      Text `json:"total"`
		} `json:"list"`
	}
	_, err := c.read(ctx, "pool/record/list", p.number("page", max(f.Page, 1)).number("page_size", f.PageSize), &data)
	out := make([]PoolOrder, 0, len(data.List))
	for _, r := range data.List {
		out = append(out, PoolOrder{RecordID: string(r.RecordID), OrderNo: string(r.OrderNo), OutTradeNo: plain(r.OutTradeNo),
			TypeCode: plain(r.TypeCode), Status: number(r.Status), TotalBytes: int64(number(r.Total)),
			CreatedAt: unix(r.CreatedAt), ActiveAt: unix(r.ActiveAt), ExpiresAt: unix(r.ExpiresAt)})
	}
	return out, err
}

func unix(t Text) time.Time {
	if at, ok := ParseTimestamp(string(t)); ok && at.Unix() > 0 {
		return at
	}
	return time.Time{}
}
