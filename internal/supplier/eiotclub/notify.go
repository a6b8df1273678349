package eiotclub

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/simline/simline/internal/order"
)

// The 20 notifications that EIOTCLUB documents (seed 002, 异步通知 and CloudESIM异步通知).
const (
	EventFlowAlert           = "FlowAlert"            // little data left
	EventSubPkgList          = "SubPkgList"           // packages were bought
	EventPkgEffective        = "PkgEffective"         // a package began
	EventPkgQuantityList     = "PkgQuantityList"      // packages ended
	EventRefund              = "Refund"               // a package was refunded
	EventCardStopped         = "CardStopped"          // no package left, offline
	EventSwitchProduct       = "SwitchProduct"        // cards changed their product
	EventCardIMEILocked      = "CardIMEILocked"       // device lock
	EventIMEIUnLock          = "IMEIUnLock"           // device lock lifted
	EventCardMovedInIMEIPool = "CardMovedInIMEIPool"  // moved into an IMEI pool
	EventCardMovedOut        = "CardMovedOutIMEIPool" // moved out of an IMEI pool

	EventCloudFlowAlert     = "CloudESimFlowAlert"
	EventCloudSubPkgList    = "CloudESimSubPkgList"
	EventCloudPkgActivate   = "CloudESimPkgActivate"
	EventCloudPkgDeactivate = "CloudESimPkgDeactivate"
	EventCloudRefund        = "CloudESimRefund"
	EventCloudCardStopped   = "CloudESimCardStopped"
	EventCloudSwitchProduct = "CloudESimSwitchProduct"
	EventCloudLocked        = "CloudESimLocked"
	EventCloudUnLock        = "CloudESimUnLock"
)

// shape is what a notification's body holds beyond the common fields.
type shape int

const (
	shapeOther    shape = iota // not in the table: kept, never refused
	shapeCard                  // iccid or eid alone
	shapeAlert                 // and alert_type, alert_value
	shapePackages              // data: packages
	shapeRefund                // and an order's amounts
	shapeProducts              // data: cards with their new product
	shapePool                  // and plockGroupId
)

var shapes = map[string]shape{
	EventFlowAlert: shapeAlert, EventCloudFlowAlert: shapeAlert,
	EventSubPkgList: shapePackages, EventCloudSubPkgList: shapePackages,
	EventPkgEffective: shapePackages, EventCloudPkgActivate: shapePackages,
	EventPkgQuantityList: shapePackages, EventCloudPkgDeactivate: shapePackages,
	EventRefund: shapeRefund, EventCloudRefund: shapeRefund,
	EventCardStopped: shapeCard, EventCloudCardStopped: shapeCard,
	EventSwitchProduct: shapeProducts, EventCloudSwitchProduct: shapeProducts,
	EventCardIMEILocked: shapeCard, EventIMEIUnLock: shapeCard,
	EventCloudLocked: shapeCard, EventCloudUnLock: shapeCard,
	EventCardMovedInIMEIPool: shapePool, EventCardMovedOut: shapePool,
}

// Events lists the 20 documented ones, in no order.
func Events() []string { return slices.Collect(maps.Keys(shapes)) }

// KnownEvent says whether event is one of the 20 documented ones.
func KnownEvent(event string) bool { return shapes[event] != shapeOther }

// Notification is one callback of EIOTCLUB. Which parts are filled depends on
// its event; a part that an event does not have is empty.
type Notification struct {
	ID        string    // unique per notification
	Event     string    // as sent; one of the Event constants or something newer
	Timestamp time.Time // UTC; zero if it was missing or is no number
	Nonce     string

	ICCID, EID string // the card or cloud eSIM, where the body names one

	AlertType  int    // 1: under 100 MB, 2: under 10 %, 3: under 7 days
	AlertValue string // what set it off

	Packages []Package // SubPkgList, PkgEffective, PkgQuantityList and their cloud forms
	Refund   *Refund   // Refund, CloudESimRefund
	Products []Product // SwitchProduct, CloudESimSwitchProduct

	PoolGroupID string // IMEI pool
}

// Package is one package of a notification's data. Dates are as sent; they look
// like UTC+8, which the document does not say (see Date).
type Package struct {
	ICCID          Text `json:"iccid,omitempty"`
	EID            Text `json:"eid,omitempty"`
	OrderID        Text `json:"orderId,omitempty"`      // packages on a SIM
	EshopOrderID   Text `json:"eshopOrderId,omitempty"` // packages on a cloud eSIM
	PackageName    Text `json:"packageName,omitempty"`
	PackageCode    Text `json:"packageCode,omitempty"`
	State          Text `json:"state,omitempty"` // 0 waiting, 1 in use, 2 finished
	GzhPackageName Text `json:"gzhPackageName,omitempty"`
	PackageType    Text `json:"packageType,omitempty"` // 2 limited data, 3 limited time, 4 limited time and speed
	CreateDate     Text `json:"createDate,omitempty"`
	StartDate      Text `json:"startDate,omitempty"`
	EndDate        Text `json:"endDate,omitempty"`
	OutTradeNo     Text `json:"outTradeNo,omitempty"` // our order id; only for orders made by API
	FromICCID      Text `json:"fromIccid,omitempty"`
	FromEID        Text `json:"fromEid,omitempty"`
	FromOrderID    Text `json:"fromOrderId,omitempty"`
	SalesChannel   Text `json:"salesChannel,omitempty"` // USER, SYSTEM, TRANSFER, PLATFORM, API
	CustomData     Text `json:"customData,omitempty"`
}

// Refund is money given back for one order. Amounts are decimal strings in the
// account's currency, empty if the notification left them out.
type Refund struct {
	OrderID, EshopOrderID, OutTradeNo string
	OrderAmount, RefundAmount         string
}

// Product is a card's new product.
type Product struct {
	ICCID       Text `json:"iccid,omitempty"`
	EID         Text `json:"eid,omitempty"`
	ProductCode Text `json:"productCode,omitempty"`
}

// Text is a scalar that is a string in one place of the document and a number
// in another: its text, digits as sent. null is empty; anything else is its JSON,
// since a field of an odd type must not cost us the whole notification.
type Text string

// UnmarshalJSON takes any value.
func (t *Text) UnmarshalJSON(b []byte) error {
	switch {
	case len(b) > 0 && b[0] == '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*t = Text(s)
	case bytes.Equal(b, []byte("null")):
		*t = ""
	default:
		*t = Text(b)
	}
	return nil
}

type notificationJSON struct {
	ID           Text            `json:"id"`
	Event        Text            `json:"event"`
	Timestamp    Text            `json:"timestamp"`
	Nonce        Text            `json:"nonce"`
	ICCID        Text            `json:"iccid"`
	EID          Text            `json:"eid"`
	AlertType    Text            `json:"alert_type"`
	AlertValue   Text            `json:"alert_value"`
	OrderID      Text            `json:"orderId"`
	EshopOrderID Text            `json:"eshopOrderId"`
	OutTradeNo   Text            `json:"outTradeNo"`
	OrderAmount  Text            `json:"orderAmount"`
	RefundAmount Text            `json:"refundAmount"`
	PoolGroupID  Text            `json:"plockGroupId"`
	Data         json.RawMessage `json:"data"`
}

// ParseNotification reads a notification's body, whose signature was checked
// before. An event outside the table is no error: its common fields are filled.
// With an error what could be read is returned as well.
func ParseNotification(raw []byte) (Notification, error) {
	var w notificationJSON
	if err := json.Unmarshal(raw, &w); err != nil {
		return Notification{}, fmt.Errorf("notification: %w", err)
	}
	n := Notification{ID: string(w.ID), Event: string(w.Event), Nonce: string(w.Nonce), ICCID: string(w.ICCID), EID: string(w.EID)}
	n.Timestamp, _ = ParseTimestamp(string(w.Timestamp))
	var err error
	switch shapes[n.Event] {
	case shapeAlert:
		n.AlertType, _ = strconv.Atoi(string(w.AlertType)) // 0 says that it is none of the three
		n.AlertValue = string(w.AlertValue)
	case shapePackages:
		n.Packages, err = parseList[Package](w.Data)
	case shapeProducts:
		n.Products, err = parseList[Product](w.Data)
	case shapeRefund:
		n.Refund = &Refund{OrderID: string(w.OrderID), EshopOrderID: string(w.EshopOrderID), OutTradeNo: string(w.OutTradeNo),
			OrderAmount: string(w.OrderAmount), RefundAmount: string(w.RefundAmount)}
	case shapePool:
		n.PoolGroupID = string(w.PoolGroupID)
	}
	if err != nil {
		return n, fmt.Errorf("notification %s: data: %w", n.Event, err)
	}
	return n, nil
}

// parseList reads data in each form that is sent: a list or a single object, and
// either of them as JSON or, as in every documented example, inside a string.
func parseList[T any](data json.RawMessage) ([]T, error) {
	data = bytes.TrimSpace(data)
	if len(data) > 0 && data[0] == '"' {
		var inner string
		if err := json.Unmarshal(data, &inner); err != nil {
			return nil, err
		}
		data = []byte(strings.TrimSpace(inner))
	}
	switch {
	case len(data) == 0, bytes.Equal(data, []byte("null")):
		return nil, nil
	case data[0] == '[':
		var list []T
		err := json.Unmarshal(data, &list)
		return list, err
	case data[0] == '{':
		var one T
		err := json.Unmarshal(data, &one)
		return []T{one}, err
	}
	return nil, errors.New("neither a list nor an object")
}

// ParseTimestamp reads the documented ten digits of seconds, and milliseconds
// of thirteen; ok is false for anything else.
func ParseTimestamp(s string) (t time.Time, ok bool) {
	v, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil || v < 0 || len(s) > 13:
		return time.Time{}, false
	case len(s) == 13:
		return time.UnixMilli(v).UTC(), true
	}
	return time.Unix(v, 0).UTC(), true
}

// notificationZone is the zone of dates in notifications. The document names
// none; its SubPkgList example of 01:39 UTC speaks of an order of 09:34:47.
var notificationZone = time.FixedZone("UTC+8", 8*3600)

// Date reads createDate, startDate and endDate; ok is false for anything else.
func Date(s string) (t time.Time, ok bool) {
	t, err := time.ParseInLocation(time.DateTime, s, notificationZone)
	return t.UTC(), err == nil
}

// OrderNotice is what a notification says of one order.
type OrderNotice struct {
	OutTradeNo      string // our order id; empty if it was not ordered by API
	SupplierOrderID string // orderId, or eshopOrderId of a cloud eSIM
	ICCID, EID      string
	PackageCode     string
	// State is what the order has become there: Fulfilled (the package is listed,
	// began or ended) or Refunded.
	State order.State
	// Ended: the package is used up, expired or refunded; which of them is not said.
	Ended bool
	// OrderAmount and RefundAmount are a refund's, decimal strings or empty.
	OrderAmount, RefundAmount string
}

// Orders expands the notification into the orders it speaks of, in its order.
func (n Notification) Orders() []OrderNotice {
	if r := n.Refund; r != nil {
		return []OrderNotice{{OutTradeNo: r.OutTradeNo, SupplierOrderID: firstOf(r.EshopOrderID, r.OrderID), ICCID: n.ICCID, EID: n.EID,
			State: order.Refunded, OrderAmount: r.OrderAmount, RefundAmount: r.RefundAmount}}
	}
	var out []OrderNotice
	for _, p := range n.Packages {
		out = append(out, OrderNotice{OutTradeNo: string(p.OutTradeNo), SupplierOrderID: firstOf(string(p.EshopOrderID), string(p.OrderID)),
			ICCID: string(p.ICCID), EID: string(p.EID), PackageCode: string(p.PackageCode), State: order.Fulfilled,
			Ended: n.Event == EventPkgQuantityList || n.Event == EventCloudPkgDeactivate})
	}
	return out
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
