package eiotclub

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"
)

// hidden reports whether a fault keeps an order out of this look. The caller holds the book's lock.
func (s *Sim) hidden(c *call, o *Order) bool {
	return s.faults.Hidden(c.path, c.now.Sub(o.PlacedAt), o.OutTradeNo, o.ID(), o.ICCID+o.EID)
}

// packageRow is one row of getOrderPackageDetails and packageOrderRecord; the two differ in a few fields (D).
type packageRow struct {
	OrderNumber string      `json:"orderNumber,omitempty"`
	OutTradeNo  string      `json:"outTradeNo,omitempty"`
	ICCID       string      `json:"iccid"`
	PackageCode string      `json:"packageCode"`
	OrderID     int64       `json:"orderId"`
	Price       json.Number `json:"price"`
	Currency    string      `json:"currency"`
	State       int         `json:"state"`
	TotalActive int         `json:"totalActive"`
	FlowTotal   json.Number `json:"flowTotal"`
	PackageName string      `json:"packageName"`
	PackageType int         `json:"packageType"`
	CreateDate  string      `json:"createDate"`
	Renew       int         `json:"renew"`
	PeriodType  int         `json:"periodType"`
	IsRefund    int         `json:"isRefund"`
	StartDate   string      `json:"startDate"`
	EndDate     string      `json:"endDate"`
	FlowRemain  json.Number `json:"flowRemain"`
	GzhName     string      `json:"gzhPackageName"`
	UpdateDate  string      `json:"updateDate,omitempty"`
	UsageBytes  *int64      `json:"flowUsageBytes,omitempty"`
}

func (o *Order) row(now time.Time) packageRow {
	r := packageRow{OutTradeNo: o.OutTradeNo, ICCID: o.ICCID, PackageCode: o.Package.Code, OrderID: o.OrderID,
		Price: o.Price.number(), Currency: o.Price.Currency, State: o.shownState(now), TotalActive: o.Package.Days,
		FlowTotal: json.Number(strconv.FormatInt(o.Package.MB, 10)), PackageName: o.Package.Name, PackageType: o.Package.Type,
		CreateDate: stamp(o.PlacedAt), PeriodType: 2, FlowRemain: mb(o.remain()), GzhName: o.Package.GzhName}
	if !now.Before(o.StartAt) && !o.neverBegan() {
		r.StartDate, r.EndDate = stamp(o.StartAt), stamp(o.EndAt)
	}
	if o.Refunded != nil {
		r.IsRefund, r.FlowRemain = 1, "0"
		if r.StartDate != "" {
			r.EndDate = stamp(o.RefundedAt)
		}
	}
	return r
}

func (o *Order) remain() int64 { return max(o.Package.MB<<20-o.UsedBytes, 0) }

// mb writes bytes as megabytes with two decimals, as the document's float64 fields do.
func mb(bytes int64) json.Number {
	return Money{(bytes*100 + 1<<19) >> 20, ""}.number()
}

// orderPackageDetails is 批量查询订单对应套餐详情 (D): at most 50 ids of either kind (42009), state required (43332),
// pages of at most 50 (42407). The document's example names three order numbers and three outTradeNos and gets six
// rows: the two lists are added up. No ids at all is a parameter error (I). The answer carries no total.
func (s *Sim) orderPackageDetails(c *call) reply {
	numbers, outs := c.p.list("orderNumberArrStr"), c.p.list("outTradeNoArrStr")
	state, ok1 := c.p.number("state", -1)
	page, ok2 := c.p.number("page", 0)
	size, ok3 := c.p.number("pageSize", 0)
	switch {
	case !ok1 || !ok2 || state < 0 || state > 2 || page < 1 || len(numbers)+len(outs) == 0:
		return refuse(43332)
	case !ok3 || size < 1 || size > 50:
		return refuse(42407)
	case len(numbers) > 50 || len(outs) > 50:
		return refuse(42009)
	}
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := map[*Order]bool{}
	rows := []packageRow{}
	add := func(o *Order) {
		if o == nil || seen[o] || o.Product != PackageProduct || o.state(c.now) != state {
			return
		}
		seen[o] = true
		if !s.hidden(c, o) {
			r := o.row(c.now)
			r.OrderNumber = o.OrderNumber
			rows = append(rows, r)
		}
	}
	for _, n := range numbers {
		add(b.byNumber[n])
	}
	for _, n := range outs {
		add(b.byOut[n])
	}
	return ok(paged(rows, page, size))
}

// packageOrderRecord is 查询卡片套餐订购记录 (D): every package order of a card, whoever bought it, oldest first, or
// newest first with orderBy createDateDesc; total counts what the filters leave. 500 rows a page unless asked (I).
func (s *Sim) packageOrderRecord(c *call) reply {
	iccid := c.p.text("iccid")
	if iccid == "" {
		return refuse(41003)
	}
	f, code := s.recordFilter(c)
	if code != 0 {
		return refuse(code)
	}
	page, size, code := paging(c, "page", "pageSize", 500, 1000)
	if code != 0 {
		return refuse(code)
	}
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.cfg.StrictCards && b.cards[iccid] == nil {
		return refuse(42405)
	}
	var found []*Order
	for _, o := range b.byICCID[iccid] {
		if f(o) && !s.hidden(c, o) {
			found = append(found, o)
		}
	}
	if c.p["orderBy"] == "createDateDesc" {
		slices.Reverse(found)
	}
	rows := []packageRow{}
	for _, o := range paged(found, page, size) {
		r, used := o.row(c.now), o.UsedBytes
		r.UpdateDate, r.UsageBytes = stamp(o.UpdatedAt), &used
		rows = append(rows, r)
	}
	total := len(found)
	return reply{data: rows, total: &total}
}

// recordFilter reads the filters that packageOrderRecord and cloudesim/pkg/record/list share.
func (s *Sim) recordFilter(c *call) (func(*Order) bool, int) {
	var states []int
	for _, v := range append(c.p.list("stateArrStr"), c.p.list("state")...) {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > 2 {
			return nil, 43332
		}
		states = append(states, n)
	}
	ids := c.p.list("orderIdArrStr")
	var from, to, upFrom, upTo time.Time
	for name, t := range map[string]*time.Time{"createDateStart": &from, "createDateEnd": &to, "updateDateStart": &upFrom, "updateDateEnd": &upTo} {
		var ok bool
		if *t, ok = c.p.date(name); !ok {
			return nil, 42409
		}
	}
	within := func(t, from, to time.Time) bool {
		t = t.Truncate(time.Second)
		return (from.IsZero() || !t.Before(from)) && (to.IsZero() || !t.After(to))
	}
	return func(o *Order) bool {
		return (len(states) == 0 || slices.Contains(states, o.state(c.now))) &&
			(len(ids) == 0 || slices.Contains(ids, strconv.FormatInt(o.OrderID, 10))) &&
			within(o.PlacedAt, from, to) && within(o.UpdatedAt, upFrom, upTo)
	}, 0
}

// paging reads a page and its size; D: pages count from 1, the size has a documented maximum.
func paging(c *call, pageName, sizeName string, def, most int) (page, size, code int) {
	page, ok1 := c.p.number(pageName, 1)
	size, ok2 := c.p.number(sizeName, def)
	switch {
	case !ok1 || page < 1:
		return 0, 0, 42403
	case !ok2 || size < 1 || size > most:
		return 0, 0, 42407
	}
	return page, size, 0
}

func paged[T any](rows []T, page, size int) []T {
	lo := min((page-1)*size, len(rows))
	return rows[lo:min(lo+size, len(rows))]
}

// queryPackage is 查询套餐订购订单状态 (D): 0 not successful, 1 successful, -1 refunded.
func (s *Sim) queryPackage(c *call) reply {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	o, code := s.packageOrder(c)
	if code != 0 {
		return refuse(code)
	}
	status := 1
	switch {
	case o.Refunded != nil:
		status = -1
	case o.Failed:
		status = 0
	}
	return ok(map[string]int{"status": status})
}

// packageOrder finds the order that iccid and orderId name together. The caller holds the book's lock.
func (s *Sim) packageOrder(c *call) (*Order, int) {
	if c.p.text("iccid") == "" {
		return nil, 41003
	}
	id, err := strconv.ParseInt(c.p.text("orderId"), 10, 64)
	if err != nil {
		return nil, 42003
	}
	o := s.book.byID[id]
	if o == nil || o.Product != PackageProduct || o.ICCID != c.p.text("iccid") || s.hidden(c, o) {
		return nil, 42004
	}
	return o, 0
}

// esimOrderStatus is 查询eSIM订单详情 (D): 1 processing, 2 success, 3 refunded, -1 failed, by the supplier's orderId;
// iccid and activationCode are there when the order succeeded.
func (s *Sim) esimOrderStatus(c *call) reply {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	o := s.esimOrder(c)
	if o == nil {
		return refuse(45111)
	}
	d := struct {
		Status     int    `json:"status"`
		ICCID      string `json:"iccid,omitempty"`
		Activation string `json:"activationCode,omitempty"`
	}{Status: o.status(c.now)}
	if d.Status >= 2 {
		d.ICCID, d.Activation = o.ICCID, o.Activation
	}
	return ok(d)
}

func (s *Sim) esimOrder(c *call) *Order {
	o := s.book.byNumber[c.p.text("orderId")]
	if o == nil || o.Product != ESimProduct || s.hidden(c, o) {
		return nil
	}
	return o
}

// status is that of eSIM and cloud eSIM orders.
func (o *Order) status(now time.Time) int {
	switch {
	case o.Refunded != nil:
		return 3
	case o.Failed:
		return -1
	case now.Before(o.ReadyAt):
		return 1
	}
	return 2
}

// cloudOrderStatus is 账户下云esim卡片订单状态 (D), by eshopOrderId or the deprecated orderId.
func (s *Sim) cloudOrderStatus(c *call) reply {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	o := s.cloudOrder(c)
	if o == nil {
		return refuse(42004)
	}
	return ok(struct {
		Status int    `json:"status"`
		EID    string `json:"eid"`
	}{o.status(c.now), o.EID})
}

func (s *Sim) cloudOrder(c *call) *Order {
	o := s.book.byNumber[c.p.text("orderId")]
	if id, err := strconv.ParseInt(c.p.text("eshopOrderId"), 10, 64); err == nil {
		o = s.book.byID[id]
	}
	if o == nil || o.Product != CloudProduct || s.hidden(c, o) {
		return nil
	}
	return o
}

type cloudRow struct {
	EID          string      `json:"eid"`
	OrderID      int64       `json:"orderId"` // deprecated; an integer here, a string in the purchase (D)
	EshopOrderID int64       `json:"eshopOrderId"`
	PackageName  string      `json:"packageName"`
	PackageCode  string      `json:"packageCode"`
	PackageType  int         `json:"packageType"`
	GzhName      string      `json:"gzhPackageName"`
	State        int         `json:"state"`
	Price        json.Number `json:"price"`
	Currency     string      `json:"currency"`
	CreateDate   string      `json:"createDate"`
	StartDate    string      `json:"startDate"`
	EndDate      string      `json:"endDate"`
	TotalActive  int         `json:"totalActive"`
	PeriodType   int         `json:"periodType"`
	TotalBytes   int64       `json:"flowTotalBytes"`
	RemainBytes  int64       `json:"flowRemainBytes"`
	Renew        int         `json:"renew"`
	IsRefund     int         `json:"isRefund"`
}

// cloudRecords is 查询云esim卡片订购记录 (D): 500 rows a page, at most 1000. Its rows carry no outTradeNo.
func (s *Sim) cloudRecords(c *call) reply {
	eid := c.p.text("eid")
	if eid == "" {
		return refuse(43332)
	}
	f, code := s.recordFilter(c)
	if code != 0 {
		return refuse(code)
	}
	page, size, code := paging(c, "page", "pageSize", 500, 1000)
	if code != 0 {
		return refuse(code)
	}
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	rows := []cloudRow{}
	for _, o := range b.byEID[eid] {
		if !f(o) || s.hidden(c, o) {
			continue
		}
		p := o.row(c.now)
		rows = append(rows, cloudRow{eid, o.OrderID, o.OrderID, p.PackageName, p.PackageCode, p.PackageType, p.GzhName, p.State,
			p.Price, p.Currency, p.CreateDate, p.StartDate, p.EndDate, p.TotalActive, 2, o.Package.MB << 20, o.remain(), 0, p.IsRefund})
	}
	return ok(map[string]any{"list": paged(rows, page, size), "total": len(rows)})
}
