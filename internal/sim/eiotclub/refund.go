package eiotclub

import (
	"math/big"
	"time"
)

// refundable applies the documented rule (seed 002, 套餐退款接口 and 查询可退款金额, D): within 24 hours of the purchase
// the whole amount; after that min(unused days/total days, unused data/total data) × paid for packages limited by
// data, unused days/total days × paid for the others; rounded down to the cent, for yen to the yen. That a begun day
// counts as used is I.
func (o *Order) refundable(now time.Time) Money {
	if now.Sub(o.PlacedAt) <= 24*time.Hour {
		return o.Price
	}
	if o.state(now) == 2 || o.Package.Days == 0 {
		return Money{0, o.Price.Currency}
	}
	unused := int64(o.Package.Days)
	if now.After(o.StartAt) {
		unused = int64(o.EndAt.Sub(now) / (24 * time.Hour))
	}
	share := big.NewRat(unused, int64(o.Package.Days))
	if total := o.Package.MB << 20; o.Package.Type == 2 && total > 0 {
		if data := big.NewRat(o.remain(), total); data.Cmp(share) < 0 {
			share = data
		}
	}
	share.Mul(share, new(big.Rat).SetInt64(o.Price.Minor))
	return Money{new(big.Int).Quo(share.Num(), share.Denom()).Int64(), o.Price.Currency}
}

// refund pays an order back and tells of it. The caller holds the book's lock.
func (s *Sim) refund(o *Order, back Money, now time.Time) {
	inUse := o.state(now) == 1
	o.Refunded, o.RefundedAt, o.UpdatedAt = &back, now, now
	s.book.enter(Entry{At: now, Kind: "refund", Amount: back.Minor, Order: o.label()})
	s.notes.refunded(o, now)
	if inUse {
		s.notes.ended(o, now) // D: 当前套餐被停用(使用完毕、到期、退订等情况下)
	}
}

// refundPackage is 套餐退款接口 (D). Only packages that wait or are in use can be refunded: 42008.
func (s *Sim) refundPackage(c *call) reply {
	if c.p.text("remark") == "" {
		return refuse(45106)
	}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	o, code := s.packageOrder(c)
	switch {
	case code != 0:
		return refuse(code)
	case o.state(c.now) == 2:
		return refuse(42008)
	}
	s.refund(o, o.refundable(c.now), c.now)
	return ok(struct{}{})
}

// packageRefundAmount is 查询可退款金额 (D): the amount as a decimal string and in cents.
func (s *Sim) packageRefundAmount(c *call) reply {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	o, code := s.packageOrder(c)
	switch {
	case code != 0:
		return refuse(code)
	case o.Refunded != nil:
		return refuse(42008)
	}
	m := o.refundable(c.now)
	return ok(struct {
		Amount    string `json:"amount"`
		AmountInt int64  `json:"amount_int"`
		Currency  string `json:"currency"`
	}{m.String(), m.Minor, m.Currency})
}

// esimRefund is eSIM订单退款 (D): 45113 unless the order succeeded.
func (s *Sim) esimRefund(c *call) reply {
	return s.refundOnline(c, s.esimOrder, 45111)
}

// cloudRefund is 账户下云esim卡订单退款 (D): 45113 unless the order succeeded.
func (s *Sim) cloudRefund(c *call) reply {
	return s.refundOnline(c, s.cloudOrder, 42004)
}

func (s *Sim) refundOnline(c *call, find func(*call) *Order, missing int) reply {
	if c.p.text("remark") == "" {
		return refuse(45106)
	}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	o := find(c)
	switch {
	case o == nil:
		return refuse(missing)
	case o.status(c.now) != 2:
		return refuse(45113)
	}
	s.refund(o, o.refundable(c.now), c.now)
	return ok(struct{}{})
}

func (s *Sim) esimRefundAmount(c *call) reply  { return s.refundAmount(c, s.esimOrder, 45111) }
func (s *Sim) cloudRefundAmount(c *call) reply { return s.refundAmount(c, s.cloudOrder, 42004) }

// refundAmount is 查询eSIM订单可退金额 and its cloud sibling (D): cents as a number.
func (s *Sim) refundAmount(c *call, find func(*call) *Order, missing int) reply {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	o := find(c)
	switch {
	case o == nil:
		return refuse(missing)
	case o.status(c.now) != 2:
		return refuse(45113)
	}
	m := o.refundable(c.now)
	return ok(struct {
		Amount   int64  `json:"amount"`
		Currency string `json:"currency"`
	}{m.Minor, m.Currency})
}
