package eiotclub

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cardView is one card as /card/getCardsInfo and /card/getAllCardInfo show it; the latter adds the last eight (D).
// Data is in MB, dates in UTC+8.
type cardView struct {
	ICCID        string      `json:"iccid"`
	EID          string      `json:"eid,omitempty"`
	IMSI         string      `json:"imsi"`
	ActivateDate string      `json:"activateDate"`
	CardStatus   string      `json:"cardStatus"`
	IsRealName   int         `json:"isRealName"`
	Remain       json.Number `json:"monthRemainFlow"`
	Use          json.Number `json:"monthUseFlow"`
	RemainType   int         `json:"remainFlowType"`
	ProductCode  string      `json:"productCode"`
	EndDate      string      `json:"packageEndDate"`
	DataFlow     json.Number `json:"dataFlow"`
	RemainAll    json.Number `json:"remainFlow"`
	ExpectedEnd  string      `json:"expectedEndDate"`
	PoolStatus   int         `json:"imeiPoolStatus"`
	PoolUnlocks  int         `json:"imeiPoolUnlockCount"`
	IsIMEIPool   int         `json:"isIMEIPool"`
	Network      string      `json:"network"`
	UseAll       json.Number `json:"totalUseFlow"`
	PackageCode  string      `json:"packageCode"`
	PackageKind  int         `json:"packageKind"`
	Remark       string      `json:"remark,omitempty"`

	OrderID     int64       `json:"orderId,omitempty"`
	FlowTotal   json.Number `json:"flowTotal,omitempty"`
	FlowRemain  json.Number `json:"flowRemain,omitempty"`
	PackageType int         `json:"packageType,omitempty"`
	PackageName string      `json:"packageName,omitempty"`
	GzhName     string      `json:"gzhPackageName,omitempty"`
	IMEI        string      `json:"imei,omitempty"`
}

func (b *book) view(card *Card, now time.Time, long bool) cardView {
	v := cardView{ICCID: card.ICCID, IMSI: card.IMSI, CardStatus: "NON_ACTIVATED_NAME", ProductCode: card.ProductCode,
		Network: "CMCC", Remain: "0", Use: "0"}
	var total, remain, used int64
	for _, o := range b.byICCID[card.ICCID] {
		if v.ActivateDate == "" && !now.Before(o.StartAt) {
			v.ActivateDate = stamp(o.StartAt)
		}
		if v.CardStatus == "NON_ACTIVATED_NAME" {
			v.CardStatus = "DEACTIVATED_NAME"
		}
		used += o.UsedBytes
		st := o.state(now)
		if st == 2 {
			continue
		}
		total += o.Package.MB << 20
		remain += o.remain()
		v.ExpectedEnd = stamp(o.EndAt)
		if st != 1 {
			continue
		}
		v.CardStatus = "ACTIVATED_NAME"
		v.Remain, v.Use, v.EndDate = mb(o.remain()), mb(o.UsedBytes), stamp(o.EndAt)
		v.PackageCode, v.PackageKind = o.Package.Code, o.Package.Type-2
		if long {
			v.OrderID, v.FlowTotal, v.FlowRemain = o.OrderID, mb(o.Package.MB<<20), v.Remain
			v.PackageType, v.PackageName, v.GzhName = o.Package.Type, o.Package.Name, o.Package.GzhName
		}
	}
	if long {
		v.IMEI = card.IMEI
	}
	v.DataFlow, v.RemainAll, v.UseAll = mb(total), mb(remain), mb(used)
	return v
}

// cardInfo is 单卡信息查询 (D).
func (s *Sim) cardInfo(c *call) reply {
	iccid := c.p.text("iccid")
	if iccid == "" {
		return refuse(41003)
	}
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	card := b.cards[iccid]
	if card == nil || card.ICCID == "" {
		return refuse(42405)
	}
	return ok(b.view(card, c.now, false))
}

// allCardInfo is 查询账户下所有卡片接口 (D): 500 cards a page, filters by state and ICCIDs.
func (s *Sim) allCardInfo(c *call) reply {
	if c.p["pageNum"] == "" {
		return refuse(42403)
	}
	page, size, code := paging(c, "pageNum", "pageSize", 500, 500)
	if code != 0 {
		return refuse(code)
	}
	wanted, status := c.p.list("iccids"), c.p.text("cardStatus")
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	views := []cardView{}
	for _, card := range b.cardList {
		if card.ICCID == "" || len(wanted) > 0 && !slices.Contains(wanted, card.ICCID) {
			continue
		}
		if v := b.view(card, c.now, true); status == "" || status == v.CardStatus {
			views = append(views, v)
		}
	}
	return ok(map[string]any{"cardInfoList": paged(views, page, size), "totalPage": (len(views) + size - 1) / size})
}

// cardProduct is 查询卡片归属的产品 (D).
func (s *Sim) cardProduct(c *call) reply {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	card := s.book.cards[c.p.text("iccid")]
	if card == nil {
		return refuse(42405)
	}
	return ok(map[string]string{"productCode": card.ProductCode})
}

// refreshUsage is 刷新套餐用量 (D): once in five minutes a card, else 44001.
func (s *Sim) refreshUsage(c *call) reply {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	iccid := c.p.text("iccid")
	if s.book.cards[iccid] == nil {
		return refuse(42405)
	}
	if last := s.book.refreshed[iccid]; !last.IsZero() && c.now.Sub(last) < 5*time.Minute {
		return refuse(44001)
	}
	s.book.refreshed[iccid] = c.now
	return ok(nil)
}

// cardReset is 批量重置卡 (D): at most 100 cards, done by a batch task. The documented answer has no data, so the task's
// id reaches the buyer some other way (the platform's task page); here it stands in the book.
func (s *Sim) cardReset(c *call) reply {
	iccids := c.p.list("iccids")
	switch {
	case len(iccids) == 0:
		return refuse(41001)
	case len(iccids) > 100:
		return refuse(41007)
	}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	s.book.addTask(iccids, c.now)
	return ok(nil)
}

func (b *book) addTask(iccids []string, now time.Time) *Task {
	t := &Task{ID: strconv.FormatInt(b.nextID, 10), ICCIDs: iccids, At: now}
	b.nextID++
	b.tasks[t.ID] = t
	return t
}

// taskQuery is 查询批处理任务状态 (D): at most 100 ids; status is a string: 0 waiting, 1 running, 2 success, -1 ended,
// -2 failed. Ids that are not known are left out; more than 100 are a parameter error (both I).
func (s *Sim) taskQuery(c *call) reply {
	ids := c.p.list("ids")
	if len(ids) == 0 || len(ids) > 100 {
		return refuse(43332)
	}
	type row struct {
		ID     string `json:"id"`
		Status string `json:"status"`
		Result string `json:"result"`
	}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	rows := []row{}
	for _, id := range ids {
		t := s.book.tasks[id]
		if t == nil || s.faults.Hidden(c.path, c.now.Sub(t.At), id) {
			continue
		}
		r := row{ID: id, Status: "2", Result: t.Result}
		switch age := c.now.Sub(t.At); {
		case t.Status != nil:
			r.Status = strconv.Itoa(*t.Status)
		case age < s.cfg.TaskDuration/2:
			r.Status = "0"
		case age < s.cfg.TaskDuration:
			r.Status = "1"
		default:
			r.Result = fmt.Sprintf("success: %d, failed: 0", len(t.ICCIDs))
		}
		rows = append(rows, r)
	}
	return ok(rows)
}

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

// trafficQuery is ICCID流量查询接口 (D): bytes by card from the CDR files, as a string, for the days startDate..endDate
// or a month; only cards with traffic are named. The days are UTC days of a record's start (I: CDR times are UTC).
func (s *Sim) trafficQuery(c *call) reply {
	iccids := c.p.list("iccids")
	if len(iccids) == 0 {
		return refuse(41001)
	}
	var from, to time.Time
	var err1, err2 error
	switch c.p["dateType"] {
	case "daily":
		from, err1 = time.Parse(time.DateOnly, c.p["startDate"])
		to, err2 = time.Parse(time.DateOnly, c.p["endDate"])
	case "monthly":
		from, err1 = time.Parse("2006-01", c.p["month"])
		to = from.AddDate(0, 1, -1)
	default:
		return refuse(43332)
	}
	switch {
	case err1 != nil:
		return refuse(41004)
	case err2 != nil:
		return refuse(41005)
	case to.Before(from) || to.Sub(from) > 366*24*time.Hour:
		return refuse(41006)
	}
	type row struct {
		ICCID   string `json:"iccid"`
		Traffic string `json:"traffic"`
	}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	rows := []row{}
	for _, iccid := range iccids {
		var sum int64
		for d := from; !d.After(to); d = d.AddDate(0, 0, 1) {
			sum += s.book.traffic[trafficKey{iccid, d.Format(time.DateOnly)}]
		}
		if sum > 0 {
			rows = append(rows, row{iccid, strconv.FormatInt(sum, 10)})
		}
	}
	return ok(rows)
}

func pad(n int64, width int) string { return fmt.Sprintf("%0*d", width, n) }
