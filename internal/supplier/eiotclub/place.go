package eiotclub

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// RequestID is what a purchase carries so that it cannot be made twice: the
// outTradeNo, one for life per order whatever the round (D: a repeated one is
// refused).
func (c *Client) RequestID(orderID string, _ int) string { return orderID }

// Place makes one purchase. The error, always a *supplier.Error, says by its kind
// whether the order was placed; Unknown is everything that is not plainly either.
func (c *Client) Place(ctx context.Context, p supplier.Purchase) (supplier.Placement, error) {
	op, params, read := purchase(p.Request)
	if op == "" {
		return supplier.Placement{}, &supplier.Error{Op: "purchase", Kind: supplier.Refused, Code: "(unknown product)", Message: p.Product}
	}
	e, answer, err := c.call(ctx, op, params, p.Until)
	if err == nil {
		placement, err := read(e.Data)
		if err == nil && placement.SupplierOrderID == "" {
			err = fmt.Errorf("code %q and no order id", e.Code)
		}
		if err != nil { // it says success, but what was bought cannot be told
			return supplier.Placement{}, answer.Error(op, supplier.Unknown, "(odd data)", string(e.Message), err)
		}
		return placement, nil
	}
	failure := supplier.AsError(op, err)
	// A refusal with an order id in it: of a duplicate that is the order that is
	// there; of anything else it contradicts itself, and nobody knows.
	if there, err := read(e.Data); err == nil && there.SupplierOrderID != "" {
		if failure.Kind == supplier.Exists {
			failure.Existing = &there
		} else {
			failure.Kind = supplier.Unknown
		}
	}
	return supplier.Placement{}, failure
}

// purchase is the call for a request, and how its data is read (D: 套餐订购接口,
// 购买eSIM, 账户下云esim卡套餐购买, 订购池套餐).
func purchase(r order.Request) (op string, p params, read func(json.RawMessage) (supplier.Placement, error)) {
	switch r.Product {
	case order.ProductPackage:
		return "package/orderPackage",
			make(params, 0, 3).text("iccid", r.ICCID).text("packageCode", r.PackageCode).text("outTradeNo", r.OrderID), readPackage
	case order.ProductESIM:
		return "esim/purchase",
			params{}.text("eSIMGoodsCode", r.GoodsCode).text("outTradeNo", r.OrderID), readESIM
	case order.ProductCloudESIMPackage:
		return "cloudesim/purchase",
			params{}.text("eid", r.EID).text("packageCode", r.PackageCode).text("outTradeNo", r.OrderID), readCloud
	case order.ProductPoolPackage:
		return "pool/sub",
			params{}.digits("pool_object_id", r.PoolObjectID).text("pool_type_code", r.PoolTypeCode).text("out_trade_no", r.OrderID), readPool
	}
	return "", nil, nil
}

func readPackage(data json.RawMessage) (supplier.Placement, error) {
	var d struct {
		OrderNumber ID `json:"orderNumber"`
		OrderID     ID `json:"orderId"`
	}
	var quick bool
	if d.OrderNumber, d.OrderID, quick = quickIDs(data, "orderNumber", "orderId"); !quick {
		if err := json.Unmarshal(data, &d); err != nil {
			return supplier.Placement{}, err
		}
	}
	// Placed and no more: the package is there once the supplier's records show it.
	return supplier.Placement{State: order.Placed, SupplierOrderID: string(d.OrderID), SupplierOrderNumber: string(d.OrderNumber)}, nil
}

func readESIM(data json.RawMessage) (supplier.Placement, error) {
	var d struct {
		OrderID        ID   `json:"orderId"`
		ICCID          Text `json:"iccid"`
		ActivationCode Text `json:"activationCode"`
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return supplier.Placement{}, err
	}
	p := supplier.Placement{State: order.Placed, SupplierOrderID: string(d.OrderID)}
	p.ESIMs = esims(d.ICCID, d.ActivationCode)
	if p.ESIMs != nil {
		p.State = order.Fulfilled
	}
	return p, nil
}

// esims is the one eSIM of an order, once both of its details are there.
func esims(iccid, activationCode Text) []order.ESIM {
	e := order.ESIM{ICCID: plain(iccid), ActivationCode: plain(activationCode)}
	if e.ICCID == "" || e.ActivationCode == "" {
		return nil
	}
	return []order.ESIM{e}
}

func readCloud(data json.RawMessage) (supplier.Placement, error) {
	var d struct {
		EshopOrderID ID `json:"eshopOrderId"`
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return supplier.Placement{}, err
	}
	return supplier.Placement{State: order.Placed, SupplierOrderID: string(d.EshopOrderID)}, nil
}

func readPool(data json.RawMessage) (supplier.Placement, error) {
	var d struct {
		OrderNo ID `json:"order_no"`
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return supplier.Placement{}, err
	}
	return supplier.Placement{State: order.Placed, SupplierOrderID: string(d.OrderNo)}, nil
}

// ID is an id of the supplier's as text. D calls orderId a number in one place
// and a string in another; a number's digits count, 101106255 all the same when a
// server writes 1.01106255E8. Empty, null and zero are no id; an object, a list
// or a truth value is an error: whoever sends that means something else.
type ID string

// UnmarshalJSON takes a string, a number or null.
func (i *ID) UnmarshalJSON(b []byte) error {
	*i = ""
	var s string
	switch b[0] {
	case 'n':
		return nil
	case '"':
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		s = strings.TrimSpace(s)
	default:
		if s = string(b); len(s) <= 18 && strings.Trim(s, "0123456789") == "" {
			break // plain digits, as nearly always
		}
		d, ok := supplier.Decimal(s)
		if !ok || !d.IsInteger() || d.Sign() < 0 {
			return fmt.Errorf("%.40s is no id", b)
		}
		s = d.BigInt().String()
	}
	if len(s) > maxID {
		return fmt.Errorf("an id of %d bytes", len(s))
	}
	if s != "0" {
		*i = ID(s)
	}
	return nil
}

// maxID is the longest id taken for one, in bytes; documented ones have up to 36.
const maxID = 128

// plain is a text that is no JSON of an odd type, for fields that may be wrong
// without making the order so.
func plain(t Text) string {
	if s := string(t); s != "true" && s != "false" && !strings.ContainsAny(s, "{}[]") {
		return s
	}
	return ""
}
