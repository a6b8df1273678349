package eiotclub

import (
	"encoding/json"
	"slices"
	"strings"
)

// agentBalance is 查询客户账户余额 (D): a decimal string with two digits.
func (s *Sim) agentBalance(c *call) reply {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	return ok(struct {
		Currency string `json:"currency"`
		Balance  string `json:"balance"`
	}{s.book.currency, twoDecimals(Money{s.book.balance, s.book.currency})})
}

// packagesByICCID is 查询卡片可订购套餐信息 (D): price is a float in the account's currency.
func (s *Sim) packagesByICCID(c *call) reply {
	iccid := c.p.text("iccid")
	if !digitsOnly(iccid, 13, 20) {
		return refuse(41003)
	}
	type row struct {
		Operator    int         `json:"operator"`
		Code        string      `json:"packageCode"`
		Name        string      `json:"packageName"`
		ProductCode string      `json:"productCode"`
		Price       json.Number `json:"price"`
		Type        int         `json:"packageType"`
		GzhPrice    json.Number `json:"gzhPrice"`
		GzhName     string      `json:"gzhPackageName"`
		GzhStatus   int         `json:"gzhStatus"`
		FlowSize    int64       `json:"flowSize"`
		PeriodSize  int         `json:"periodSize"`
		PeriodType  int         `json:"periodType"`
	}
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	card := s.card(b, iccid, "")
	if card == nil {
		return refuse(42405)
	}
	rows := []row{}
	for _, p := range b.packages {
		if p.ProductCode == card.ProductCode {
			rows = append(rows, row{5, p.Code, p.Name, p.ProductCode, Money{p.Price, b.currency}.number(), p.Type,
				Money{p.Price * 13 / 10, b.currency}.number(), p.GzhName, 1, p.MB, p.Days, 2})
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.Code, b.Code) })
	return ok(rows)
}

type zone struct {
	Name      string    `json:"name"`
	Img       string    `json:"img"`
	Countries []country `json:"countries"`
}

type country struct {
	Name      string     `json:"name"`
	Img       string     `json:"img"`
	Operators []operator `json:"operators"`
}

type operator struct {
	Name string `json:"name"`
	Type string `json:"networkType"`
}

var someZone = zone{"Europe", "", []country{{"Germany", "", []operator{{"Telekom", "4G/5G"}}}, {"Finland", "", []operator{{"Elisa", "4G"}}}}}

type packageInfo struct {
	Price       *json.Number `json:"price,omitempty"`
	Code        string       `json:"packageCode"`
	Name        string       `json:"packageName"`
	ProductCode string       `json:"productCode"`
	Type        int          `json:"packageType"`
	FlowSize    int64        `json:"flowSize"`
	PeriodSize  int          `json:"periodSize"`
	PeriodType  int          `json:"periodType"`
	Zone        zone         `json:"zone"`
}

func (p Package) info() packageInfo {
	return packageInfo{nil, p.Code, p.Name, p.ProductCode, p.Type, p.MB, p.Days, 2, someZone}
}

// packagesByProduct is 查询指定产品下可订购的套餐 (D).
func (s *Sim) packagesByProduct(c *call) reply {
	rows := []packageInfo{}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	for _, p := range s.book.packages {
		if p.ProductCode == c.p.text("productCode") {
			r, price := p.info(), Money{p.Price, s.book.currency}.number()
			r.Price = &price
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b packageInfo) int { return strings.Compare(a.Code, b.Code) })
	return ok(rows)
}

// packageByCode is 根据套餐编码查询套餐信息 (D).
func (s *Sim) packageByCode(c *call) reply {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	p, known := s.book.packages[c.p.text("packageCode")]
	if !known {
		return refuse(42007)
	}
	return ok(p.info())
}

// esimGoods is 查询可订购的eSIM商品 (D): price in US cents, an integer; the list is not paged.
func (s *Sim) esimGoods(c *call) reply {
	type row struct {
		Code    string      `json:"code"`
		Name    string      `json:"name"`
		Price   int64       `json:"price"`
		Package packageInfo `json:"package"`
	}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	rows := []row{}
	for _, g := range s.book.goods {
		rows = append(rows, row{g.Code, g.Name, g.Price, g.Package.info()})
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.Code, b.Code) })
	return ok(map[string]any{"list": rows})
}

// cloudPackages is 查询云esim卡片可购买套餐 (D): price in US cents, data in bytes.
func (s *Sim) cloudPackages(c *call) reply {
	type row struct {
		Price       int64  `json:"price"`
		Bytes       int64  `json:"flowSizeBytes"`
		Code        string `json:"packageCode"`
		ProductCode string `json:"productCode"`
		Name        string `json:"packageName"`
		Type        int    `json:"packageType"`
		PeriodSize  int    `json:"periodSize"`
		PeriodType  int    `json:"periodType"`
		Zone        zone   `json:"zone"`
	}
	eid := c.p.text("eid")
	if !digitsOnly(eid, 20, 33) {
		return refuse(43332)
	}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	if s.card(s.book, "", eid) == nil {
		return refuse(900911)
	}
	rows := []row{}
	for _, p := range s.book.cloudPackages {
		rows = append(rows, row{p.Price, p.MB << 20, p.Code, p.ProductCode, p.Name, p.Type, p.Days, 2, someZone})
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.Code, b.Code) })
	return ok(map[string]any{"list": rows})
}
