package eiotclub

import (
	"strings"
	"time"

	"github.com/simline/simline/internal/sim/fault"
)

// endpoints are the paths after /api/v3. Messages of success as in the documents' examples.
var endpoints map[string]endpoint

func init() { // a variable initializer would be a cycle: handlers reach answer, answer reaches the table's type
	endpoints = map[string]endpoint{
		"/package/orderPackage":                   {do: (*Sim).orderPackage},
		"/package/refundPackage":                  {do: (*Sim).refundPackage},
		"/package/queryRefundAmount":              {do: (*Sim).packageRefundAmount},
		"/package/queryPackage":                   {do: (*Sim).queryPackage},
		"/package/getOrderPackageDetails":         {do: (*Sim).orderPackageDetails},
		"/package/packageOrderRecord":             {do: (*Sim).packageOrderRecord},
		"/package/listOrderPackageByIccid":        {do: (*Sim).packagesByICCID, message: "操作成功"},
		"/package/listOrderPackageByProduct":      {do: (*Sim).packagesByProduct, message: "操作成功"},
		"/package/queryOrderPackageByPackageCode": {do: (*Sim).packageByCode, message: "操作成功"},

		"/esim/goods":             {do: (*Sim).esimGoods, intCode: true},
		"/esim/purchase":          {do: (*Sim).esimPurchase, intCode: true},
		"/esim/refund":            {do: (*Sim).esimRefund, intCode: true},
		"/esim/orderStatus":       {do: (*Sim).esimOrderStatus, message: "操作成功"},
		"/esim/queryRefundAmount": {do: (*Sim).esimRefundAmount, message: "操作成功"},

		"/cloudesim/purchase":          {do: (*Sim).cloudPurchase},
		"/cloudesim/orderStatus":       {do: (*Sim).cloudOrderStatus},
		"/cloudesim/refund":            {do: (*Sim).cloudRefund},
		"/cloudesim/queryRefundAmount": {do: (*Sim).cloudRefundAmount},
		"/cloudesim/pkg/list":          {do: (*Sim).cloudPackages},
		"/cloudesim/pkg/record/list":   {do: (*Sim).cloudRecords},

		"/pool/sub":         {do: (*Sim).poolSub},
		"/pool/unsub":       {do: (*Sim).poolUnsub},
		"/pool/list":        {do: (*Sim).poolList},
		"/pool/create":      {do: (*Sim).poolCreate},
		"/pool/pkg/list":    {do: (*Sim).poolPackages},
		"/pool/record/list": {do: (*Sim).poolRecords},

		"/card/reset":            {do: (*Sim).cardReset},
		"/task/query":            {do: (*Sim).taskQuery},
		"/card/getCardsInfo":     {do: (*Sim).cardInfo},
		"/card/getAllCardInfo":   {do: (*Sim).allCardInfo},
		"/card/product":          {do: (*Sim).cardProduct},
		"/card/transferPkg":      {do: (*Sim).transferPackage},
		"/cloudesim/transferPkg": {do: (*Sim).transferCloud},
		"/card/refreshUsage":     {do: (*Sim).refreshUsage},
		"/agent/balance":         {do: (*Sim).agentBalance, message: "操作成功"},
		"/cdr/traffic/query":     {do: (*Sim).trafficQuery},
	}
}

// validOut applies 42001: "outTradeNo is empty or format is wrong (max 32)" (D). What else makes the format wrong is
// not said; the simulator refuses spaces, commas (they separate ids in look-ups) and control characters (I).
func validOut(out string) bool {
	return out != "" && len(out) <= 32 && !strings.ContainsFunc(out, func(r rune) bool { return r <= ' ' || r == ',' || r > '~' })
}

// buy is the one way to an order: look for the outTradeNo, let draft say what it would be or why not, take the money,
// write it down. All of it under one lock, so that of many equal calls at once exactly one buys.
func (s *Sim) buy(c *call, out string, exists int, draft func(b *book) (*Order, int), data func(*Order) any) reply {
	if !validOut(out) {
		return refuse(42001)
	}
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if first := b.byOut[out]; first != nil {
		first.Calls++
		return s.duplicate(c, first, exists, data)
	}
	if b.burnt[out] {
		return refuse(exists)
	}
	o, code := draft(b)
	if code == 0 && o.Price.Minor > b.balance {
		code = 45112
	}
	if code != 0 {
		if s.cfg.RefusalBurnsID {
			b.burnt[out] = true
		}
		return refuse(code)
	}
	o.OutTradeNo, o.Channel, o.Calls = out, "API", 1
	b.insert(o, c.now, true)
	if g := b.goods[o.Code]; o.Product == ESimProduct && g.Stock > 0 {
		g.Stock--
	}
	s.notes.bought(o, c.now)
	s.settleDue(c.now) // a package that begins at once says so at once
	return ok(data(o))
}

// duplicate refuses a repeated outTradeNo with 42002, on eSIMs 503016 (D), without data (I) unless a fault says else.
// An outTradeNo is one for all products (I).
func (s *Sim) duplicate(c *call, first *Order, code int, data func(*Order) any) reply {
	rules := s.faults.Take(fault.Duplicate, c.path, first.OutTradeNo, first.ID())
	r := refuse(code)
	if _, replay := fault.Has(rules, fault.DuplicateReplay); replay {
		r = ok(data(first))
	}
	if _, with := fault.Has(rules, fault.DuplicateWithData); with {
		r.data = data(first)
	}
	return r
}

// card finds a card of the account by its ICCID or EID, adopting unknown ones unless the account is strict.
func (s *Sim) card(b *book, iccid, eid string) *Card {
	if c := b.cards[iccid+eid]; c != nil {
		return c
	}
	if s.cfg.StrictCards {
		return nil
	}
	return b.addCard(Card{ICCID: iccid, EID: eid})
}

func digitsOnly(v string, min, max int) bool {
	return len(v) >= min && len(v) <= max && !strings.ContainsFunc(v, func(r rune) bool { return r < '0' || r > '9' })
}

// orderPackage is seed 001 套餐订购接口 (D): a main package begins at once, or when those before it have ended.
func (s *Sim) orderPackage(c *call) reply {
	return s.buy(c, c.p["outTradeNo"], 42002, func(b *book) (*Order, int) {
		iccid := c.p.text("iccid")
		if !digitsOnly(iccid, 18, 20) {
			return nil, 41003
		}
		card := s.card(b, iccid, "")
		if card == nil {
			return nil, 42405
		}
		pkg, known := b.packages[c.p["packageCode"]]
		switch {
		case !known:
			return nil, 41018
		case pkg.ProductCode != card.ProductCode:
			return nil, 41050
		}
		return &Order{Product: PackageProduct, ICCID: iccid, Code: pkg.Code, Package: pkg, Price: Money{pkg.Price, b.currency}}, 0
	}, packageData)
}

func packageData(o *Order) any {
	return struct {
		OrderNumber string `json:"orderNumber"`
		OrderID     int64  `json:"orderId"` // D: a number here, a string in /package/queryPackage
	}{o.OrderNumber, o.OrderID}
}

// esimPurchase is seed 000 购买eSIM (D). While the eSIM is processing, iccid and activationCode are empty, as in the
// document's example (I).
func (s *Sim) esimPurchase(c *call) reply {
	return s.buy(c, c.p["outTradeNo"], 503016, func(b *book) (*Order, int) {
		g := b.goods[c.p["eSIMGoodsCode"]]
		switch {
		case g == nil:
			return nil, 45109
		case g.Stock == 0:
			return nil, 45110
		}
		iccid := withCheckDigit("89423000" + pad(b.rng.Int64N(1e10), 10))
		o := &Order{Product: ESimProduct, ICCID: iccid, Code: g.Code, Package: g.Package, Price: Money{g.Price, "USD"},
			Activation: "LPA:1$rsp.eiotclub.example$" + strings.ToUpper(uuid(b.rng)), ReadyAt: c.now.Add(s.cfg.ESimProcessing)}
		b.addCard(Card{ICCID: iccid, ProductCode: g.Package.ProductCode})
		return o, 0
	}, func(o *Order) any { return s.esimData(o, c.now) })
}

func (s *Sim) esimData(o *Order, now time.Time) any {
	d := struct {
		OrderID    string `json:"orderId"`
		ICCID      string `json:"iccid"`
		Activation string `json:"activationCode"`
	}{OrderID: o.OrderNumber}
	if !now.Before(o.ReadyAt) {
		d.ICCID, d.Activation = o.ICCID, o.Activation
	}
	return d
}

// cloudPurchase is 账户下云esim卡套餐购买 (D). The codes of its refusals are not documented with it; the general
// table's are used (I): 900911 card not found, 42007 no such package.
func (s *Sim) cloudPurchase(c *call) reply {
	return s.buy(c, c.p["outTradeNo"], 42002, func(b *book) (*Order, int) {
		eid := c.p.text("eid")
		if !digitsOnly(eid, 20, 33) {
			return nil, 43332
		}
		if s.card(b, "", eid) == nil {
			return nil, 900911
		}
		pkg, known := b.cloudPackages[c.p["packageCode"]]
		if !known {
			return nil, 42007
		}
		return &Order{Product: CloudProduct, EID: eid, Code: pkg.Code, Package: pkg, Price: Money{pkg.Price, "USD"}}, 0
	}, func(o *Order) any {
		return struct {
			OutTradeNo   string `json:"outTradeNo"`
			OrderID      string `json:"orderId"` // deprecated (D)
			EshopOrderID int64  `json:"eshopOrderId"`
		}{o.OutTradeNo, o.OrderNumber, o.OrderID}
	})
}

// poolSub is 订购池套餐 (D); 42002 is the one refusal that it documents.
func (s *Sim) poolSub(c *call) reply {
	return s.buy(c, c.p["out_trade_no"], 42002, func(b *book) (*Order, int) {
		id, ok := c.p.number("pool_object_id", 0)
		if pool := b.pools[id]; !ok || pool == nil {
			return nil, 42404
		}
		t, known := b.poolTypes[c.p["pool_type_code"]]
		if !known {
			return nil, 42007
		}
		pkg := Package{Code: t.Code, Type: 2, MB: t.Bytes >> 20, Days: t.Days}
		return &Order{Product: PoolProduct, PoolID: id, Code: t.Code, Package: pkg, Price: Money{t.Price, b.currency}}, 0
	}, func(o *Order) any {
		return struct {
			OrderNo string `json:"order_no"`
		}{o.OrderNumber}
	})
}
