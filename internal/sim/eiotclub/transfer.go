package eiotclub

// transferPackage is 卡片转移套餐 (D): the package leaves the old card and goes on, as a row of channel TRANSFER, on the
// new one. orderId decides when orderNumber is there too. What is left of data and days moves along (I).
func (s *Sim) transferPackage(c *call) reply {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	o := s.book.find(c.p.text("orderId"))
	if c.p.text("orderId") == "" {
		o = s.book.byNumber[c.p.text("orderNumber")]
	}
	if o == nil || o.Product != PackageProduct || o.ICCID != c.p.text("oldIccid") {
		return refuse(42004)
	}
	to := c.p.text("newIccid")
	if !digitsOnly(to, 18, 20) {
		return refuse(41003)
	}
	n, code := s.transfer(c, o, to, "")
	if code != 0 {
		return refuse(code)
	}
	return ok(struct {
		Code string `json:"newPkgCode"`
		ID   int64  `json:"newOrderId"`
	}{n.Package.Code, n.OrderID})
}

// transferCloud is 云 esim 转移套餐 (D).
func (s *Sim) transferCloud(c *call) reply {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	o := s.book.find(c.p.text("oldEshopOrderId"))
	if o == nil || o.Product != CloudProduct || o.EID != c.p.text("oldEid") {
		return refuse(42004)
	}
	to := c.p.text("newEid")
	if !digitsOnly(to, 20, 33) {
		return refuse(43332)
	}
	n, code := s.transfer(c, o, "", to)
	if code != 0 {
		return refuse(code)
	}
	return ok(struct {
		Code string `json:"newPkgCode"`
		ID   int64  `json:"newEshopOrderId"`
	}{n.Package.Code, n.OrderID})
}

// transfer moves what is left of an order. No money moves. The caller holds the book's lock.
func (s *Sim) transfer(c *call, o *Order, iccid, eid string) (*Order, int) {
	switch {
	case s.card(s.book, iccid, eid) == nil:
		return nil, 42405
	case o.state(c.now) == 2:
		return nil, 42006
	}
	n := &Order{Product: o.Product, ICCID: iccid, EID: eid, Code: o.Code, Package: o.Package, UsedBytes: o.UsedBytes,
		Price: Money{0, o.Price.Currency}, Channel: "TRANSFER", FromICCID: o.ICCID + o.EID, FromOrderID: o.OrderID}
	if o.state(c.now) == 1 {
		n.EndAt = o.EndAt
	}
	o.EndAt, o.UpdatedAt = c.now, c.now
	if o.StartAt.After(c.now) {
		o.StartAt = c.now
	}
	s.notes.ended(o, c.now)
	s.book.insert(n, c.now, false)
	s.notes.bought(n, c.now)
	s.settleDue(c.now)
	return n, 0
}
