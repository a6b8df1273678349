package eiotclub

import (
	"slices"
	"strconv"
	"time"
)

// poolStatus is the record's documented code: 0 init, 1 allocated, 2 to be activated, 3 active, below 0 invalid.
func (o *Order) poolStatus(now time.Time) int {
	switch {
	case o.Refunded != nil || o.Failed:
		return -1
	case !now.Before(o.EndAt):
		return -2 // I: some value below zero for what has expired
	}
	return 3
}

type poolRow struct {
	ID       int64  `json:"pool_record_id"`
	OrderNo  string `json:"order_no"`
	Out      string `json:"out_trade_no"`
	TypeCode string `json:"pool_type_code"`
	Status   int    `json:"status_code"`
	Expire   int64  `json:"expire_timestamp"`
	Active   int64  `json:"active_timestamp"`
	Total    int64  `json:"total"`
	Used     int64  `json:"used"` // D calls it "used" and describes it as what remains; here it is what was used
	CreateAt int64  `json:"create_at"`
}

// poolRecords is 获取池套餐记录 (D): pages of at most 1000, filters by ids, types, states and times in seconds. The
// answer has no total.
func (s *Sim) poolRecords(c *call) reply {
	id, ok1 := c.p.number("pool_object_id", 0)
	if !ok1 || c.p["page"] == "" || c.p["page_size"] == "" {
		return refuse(43332)
	}
	page, size, code := paging(c, "page", "page_size", 10, 1000)
	if code != 0 {
		return refuse(code)
	}
	in := func(name, v string) bool {
		l := c.p.list(name)
		return len(l) == 0 || slices.Contains(l, v)
	}
	valid := true
	within := func(name string, t time.Time) bool {
		from, ok1 := c.p.number(name+"_start", 0)
		to, ok2 := c.p.number(name+"_end", 0)
		valid = valid && ok1 && ok2
		return t.Unix() >= int64(from) && (to == 0 || t.Unix() <= int64(to))
	}
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pools[id] == nil {
		return refuse(42404)
	}
	rows := []poolRow{}
	for _, o := range b.byPool[id] {
		status := o.poolStatus(c.now)
		if in("order_no_arr", o.OrderNumber) && in("out_trade_no_arr", o.OutTradeNo) && in("pool_type_code_arr", o.Code) &&
			in("status_code_arr", strconv.Itoa(status)) && within("create_at", o.PlacedAt) &&
			within("active_timestamp", o.StartAt) && within("expire_timestamp", o.EndAt) && !s.hidden(c, o) {
			rows = append(rows, poolRow{o.OrderID, o.OrderNumber, o.OutTradeNo, o.Code, status, o.EndAt.Unix(), o.StartAt.Unix(),
				o.Package.MB << 20, o.UsedBytes, o.PlacedAt.Unix()})
		}
	}
	if !valid {
		return refuse(43332)
	}
	return ok(map[string]any{"list": paged(rows, page, size)})
}

// poolList is 获取池列表 (D): status 1 waiting, 2 active, -1 stopped.
func (s *Sim) poolList(c *call) reply {
	type row struct {
		ID        int    `json:"pool_object_id"`
		Lines     int    `json:"pool_lines"`
		Used      int    `json:"used_pool_lines"`
		Total     int64  `json:"total"`
		Remain    int64  `json:"remain"`
		Active    int    `json:"total_active"`
		Available int    `json:"available_days"`
		Expire    int64  `json:"expire_timestamp"`
		Status    int    `json:"status"`
		CreateAt  int64  `json:"create_at"`
		Memo      string `json:"memo"`
	}
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	wanted, memo := c.p.list("pool_object_id_arr"), c.p.text("memo")
	rows := []row{}
	for id, p := range b.pools {
		if len(wanted) > 0 && !slices.Contains(wanted, strconv.Itoa(id)) || memo != "" && memo != p.Memo {
			continue
		}
		r := row{ID: id, Used: len(p.Cards), Status: 1, CreateAt: p.CreatedAt.Unix(), Memo: p.Memo}
		for _, o := range b.byPool[id] {
			if o.poolStatus(c.now) < 0 {
				continue
			}
			r.Status = 2
			r.Lines += b.poolTypes[o.Code].Lines
			r.Total += o.Package.MB << 20
			r.Remain += o.remain()
			r.Active += o.Package.Days
			r.Expire = max(r.Expire, o.EndAt.Unix())
			r.Available = max(r.Available, int(o.EndAt.Sub(c.now)/(24*time.Hour)))
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b row) int { return a.ID - b.ID })
	return ok(map[string]any{"list": rows})
}

// poolCreate is 创建池 (D).
func (s *Sim) poolCreate(c *call) reply {
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.poolTypes[c.p["pool_type_code"]]; !known {
		return refuse(42007)
	}
	id := SeedPoolID
	for b.pools[id] != nil {
		id++
	}
	b.pools[id] = &Pool{ID: id, Memo: c.p["memo"], CreatedAt: c.now}
	return ok(map[string]int{"pool_object_id": id})
}

// poolPackages is 获取池套餐列表 (D). Prices are in no document, so in no answer.
func (s *Sim) poolPackages(c *call) reply {
	type row struct {
		Code  string `json:"pool_type_code"`
		Lines int    `json:"pool_lines"`
		Days  int    `json:"total_active"`
		Bytes int64  `json:"total_data"`
	}
	rows := []row{}
	for _, p := range s.cfg.PoolTypes {
		rows = append(rows, row{p.Code, p.Lines, p.Days, p.Bytes})
	}
	return ok(map[string]any{"list": rows})
}

// poolUnsub is 取消订购池套餐 (D), by order_no or out_trade_no. What is paid back is not said; the package's rule is
// used (I).
func (s *Sim) poolUnsub(c *call) reply {
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	id, valid := c.p.number("pool_object_id", 0)
	o := b.byOut[c.p.text("out_trade_no")]
	if no := c.p.text("order_no"); no != "" {
		o = b.byNumber[no]
	}
	switch {
	case !valid || b.pools[id] == nil:
		return refuse(42404)
	case o == nil || o.Product != PoolProduct || o.PoolID != id:
		return refuse(42004)
	case o.poolStatus(c.now) < 0:
		return refuse(42008)
	}
	s.refund(o, o.refundable(c.now), c.now)
	return ok(struct{}{})
}
