package eiotclub

import (
	"encoding/json"
	"slices"
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
