package eiotclub

import (
	"container/heap"
	"fmt"
	"strings"
	"time"
)

// noteRow is one package in a notification's data; ICCID and orderId, or EID and eshopOrderId for cloud eSIMs (D).
type noteRow struct {
	ICCID        string `json:"iccid,omitempty"`
	EID          string `json:"eid,omitempty"`
	OrderID      int64  `json:"orderId,omitempty"`
	EshopOrderID int64  `json:"eshopOrderId,omitempty"`
	PackageName  string `json:"packageName"`
	PackageCode  string `json:"packageCode"`
	State        int    `json:"state"`
	GzhName      string `json:"gzhPackageName"`
	CreateDate   string `json:"createDate"`
	StartDate    string `json:"startDate,omitempty"`
	EndDate      string `json:"endDate,omitempty"`
	PackageType  int    `json:"packageType"`
	OutTradeNo   string `json:"outTradeNo,omitempty"` // only for orders of the API (D)
	FromICCID    string `json:"fromIccid,omitempty"`
	FromEID      string `json:"fromEid,omitempty"`
	FromOrderID  int64  `json:"fromOrderId,omitempty"`
	SalesChannel string `json:"salesChannel,omitempty"`
}

func (o *Order) noteRow(now time.Time, dates, channel bool) noteRow {
	r := noteRow{PackageName: o.Package.Name, PackageCode: o.Package.Code, State: o.state(now), GzhName: o.Package.GzhName,
		CreateDate: stamp(o.PlacedAt), PackageType: o.Package.Type, OutTradeNo: o.OutTradeNo}
	if o.Product == CloudProduct {
		r.EID, r.EshopOrderID, r.FromEID = o.EID, o.OrderID, o.FromICCID
	} else {
		r.ICCID, r.OrderID, r.FromICCID = o.ICCID, o.OrderID, o.FromICCID
	}
	if dates {
		r.StartDate, r.EndDate = stamp(o.StartAt), stamp(o.EndAt)
	}
	if channel {
		r.SalesChannel, r.FromOrderID = o.Channel, o.FromOrderID
	}
	return r
}

// event picks the name of a notification for a SIM or for a cloud eSIM.
func (o *Order) event(sim, cloud string) string {
	if o.Product == CloudProduct {
		return cloud
	}
	return sim
}

// off reports whether nobody is to be told: no URL, or an eSIM or a pool, which no documented notification is about.
func (n *notifier) off(o *Order) bool {
	return n.s.cfg.WebhookURL == "" || o.Product != PackageProduct && o.Product != CloudProduct
}

// bought tells of a new package (订购通知).
func (n *notifier) bought(o *Order, now time.Time) {
	if n.off(o) {
		return
	}
	n.add(o.event("SubPkgList", "CloudESimSubPkgList"), now, o, "", false, n.dataField([]noteRow{o.noteRow(now, false, true)}))
}

// began tells that a package took effect (套餐生效).
func (n *notifier) began(o *Order, now time.Time) {
	if n.off(o) {
		return
	}
	n.add(o.event("PkgEffective", "CloudESimPkgActivate"), now, o, "", false, n.dataField(o.noteRow(now, true, true)))
}

// ended tells that the package in use came to an end: used up, expired or refunded (达量到期通知).
func (n *notifier) ended(o *Order, now time.Time) {
	if n.off(o) {
		return
	}
	n.add(o.event("PkgQuantityList", "CloudESimPkgDeactivate"), now, o, "", false, n.dataField([]noteRow{o.noteRow(now, false, false)}))
}

// refunded tells of a refund (退款通知).
func (n *notifier) refunded(o *Order, now time.Time) {
	if n.off(o) {
		return
	}
	n.add(o.event("Refund", "CloudESimRefund"), now, o, "", false, refundFields(o)...)
}

func refundFields(o *Order) []field {
	back := Money{Currency: o.Price.Currency}
	if o.Refunded != nil {
		back = *o.Refunded
	}
	f := []field{textField("orderAmount", twoDecimals(o.Price)), textField("refundAmount", twoDecimals(back))}
	if o.OutTradeNo != "" {
		f = append(f, textField("outTradeNo", o.OutTradeNo))
	}
	if o.Product == CloudProduct {
		return append(f, textField("eid", o.EID), intField("eshopOrderId", o.OrderID))
	}
	return append(f, textField("iccid", o.ICCID), intField("orderId", o.OrderID))
}

// twoDecimals: D 保留两位小数, yen included (I).
func twoDecimals(m Money) string {
	if digits(m.Currency) == 0 {
		return m.String() + ".00"
	}
	return m.String()
}

func (n *notifier) stopped(o *Order, now time.Time) {
	if n.off(o) {
		return
	}
	n.add(o.event("CardStopped", "CloudESimCardStopped"), now, o, "", false, cardField(o.ICCID, o.EID))
}

func cardField(iccid, eid string) field {
	if eid != "" {
		return textField("eid", eid)
	}
	return textField("iccid", iccid)
}

// Tick lets the packages begin and end that the clock has passed, with their notifications.
func (s *Sim) Tick() {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	s.settleDue(s.cfg.Clock())
}

// settleDue is Tick under the book's lock.
func (s *Sim) settleDue(now time.Time) {
	b := s.book
	for len(b.due) > 0 && !b.due[0].at.After(now) {
		d := heap.Pop(&b.due).(dueItem)
		o := d.o
		if o.Refunded != nil || o.Failed {
			continue
		}
		o.UpdatedAt = d.at
		if !d.end {
			s.notes.began(o, now)
			continue
		}
		s.notes.ended(o, now)
		if !b.lastEnd[o.ICCID+o.EID].After(now) {
			s.notes.stopped(o, now)
		}
	}
}

// Notify makes any one of the 20 notifications by hand.
func (s *Sim) Notify(event string, about Subject) (Notification, error) {
	if s.cfg.WebhookURL == "" {
		return Notification{}, fmt.Errorf("notify %s: no webhook URL is configured", event)
	}
	now := s.cfg.Clock()
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	fields, o, err := s.notes.fields(event, about, now)
	if err != nil {
		return Notification{}, err
	}
	note := s.notes.add(event, now, o, about.ICCID+about.EID, about.BadSign, fields...)
	s.notes.mu.Lock() // it may be on its way already
	defer s.notes.mu.Unlock()
	return *note, nil
}

func (n *notifier) fields(event string, about Subject, now time.Time) ([]field, *Order, error) {
	o := n.s.book.find(about.Order)
	order := func() (*Order, error) {
		if o == nil {
			return nil, fmt.Errorf("notify %s: no order %q in the book", event, about.Order)
		}
		return o, nil
	}
	card := cardField(about.ICCID, about.EID)
	if (card.name == "eid") != strings.HasPrefix(event, "CloudESim") && o == nil {
		return nil, nil, fmt.Errorf("notify %s: an ICCID or an EID is wanted, whichever the event is about", event)
	}
	switch event {
	case "FlowAlert", "CloudESimFlowAlert":
		return []field{card, intField("alert_type", int64(max(about.AlertType, 1))), textField("alert_value", about.AlertValue)}, o, nil
	case "CardStopped", "CloudESimCardStopped", "CardIMEILocked", "IMEIUnLock", "CloudESimLocked", "CloudESimUnLock":
		return []field{card}, o, nil
	case "CardMovedInIMEIPool", "CardMovedOutIMEIPool":
		return []field{card, intField("plockGroupId", int64(about.PoolGroup))}, o, nil
	case "SwitchProduct", "CloudESimSwitchProduct":
		return []field{n.dataField([]map[string]string{{card.name: card.text, "productCode": about.ProductCode}})}, o, nil
	}
	o, err := order()
	if err != nil {
		return nil, nil, err
	}
	switch event {
	case "SubPkgList", "CloudESimSubPkgList":
		return []field{n.dataField([]noteRow{o.noteRow(now, false, true)})}, o, nil
	case "PkgEffective", "CloudESimPkgActivate":
		return []field{n.dataField(o.noteRow(now, true, true))}, o, nil
	case "PkgQuantityList", "CloudESimPkgDeactivate":
		return []field{n.dataField([]noteRow{o.noteRow(now, false, false)})}, o, nil
	case "Refund", "CloudESimRefund":
		return refundFields(o), o, nil
	}
	return nil, nil, fmt.Errorf("notify: unknown event %q", event)
}
