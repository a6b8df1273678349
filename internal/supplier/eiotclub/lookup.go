package eiotclub

import (
	"cmp"
	"context"
	"fmt"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// Lookup asks for one order by whatever it can be found by. Found false is the
// supplier's own "no such order" in every place that was asked, each with an
// answer; any place without one is an error. supplier.ErrNoLookup if nothing that
// is known of the order leads to it: sending the same purchase again is then the
// only question that the supplier answers.
func (c *Client) Lookup(ctx context.Context, q supplier.Query) (supplier.Sighting, error) {
	switch q.Product {
	case order.ProductPackage:
		return c.lookupPackage(ctx, q)
	case order.ProductESIM:
		return c.lookupESIM(ctx, q)
	case order.ProductCloudESIMPackage:
		return c.lookupCloud(ctx, q)
	case order.ProductPoolPackage:
		return c.lookupPool(ctx, q)
	}
	return supplier.Sighting{}, fmt.Errorf("%s: %w", q.Product, supplier.ErrNoLookup)
}

// lookupPackage asks the details by our id in each state, then the card's own
// records, which need no state, then for the order by its supplier's id.
func (c *Client) lookupPackage(ctx context.Context, q supplier.Query) (supplier.Sighting, error) {
	row, found, err := c.findInDetails(ctx, q.OrderID)
	if err != nil {
		return supplier.Sighting{}, err
	}
	where := "getOrderPackageDetails"
	// The details are documented without orderId, though their example shows it.
	if !found || row.OrderID == "" {
		where += " packageOrderRecord"
		record, there, err := c.findInRecords(ctx, q.ICCID, q.OrderID)
		if err != nil {
			return supplier.Sighting{}, err
		}
		if there {
			record.OrderNumber = row.OrderNumber
			row, found = record, true
		}
	}
	if found {
		return sighted(q, row, where), nil
	}
	if q.SupplierOrderID == "" {
		return supplier.Sighting{Where: where}, nil
	}
	where += " queryPackage"
	state, found, err := c.QueryPackage(ctx, q.ICCID, q.SupplierOrderID)
	if err != nil || !found {
		return supplier.Sighting{Where: where}, err
	}
	return supplier.Sighting{Found: true, Where: where, Placement: supplier.Placement{State: state,
		SupplierOrderID: q.SupplierOrderID, SupplierOrderNumber: q.SupplierOrderNumber}}, nil
}

func (c *Client) findInDetails(ctx context.Context, orderID string) (Order, bool, error) {
	for _, state := range PackageStates {
		rows, err := c.OrderDetails(ctx, []string{orderID}, state, 1, MaxDetailPage)
		if err != nil && !hasCode(err, "42004") { // "order does not exist" is an answer too
			return Order{}, false, err
		}
		if row, ok := byOutTradeNo(rows, orderID); ok {
			return row, true, nil
		}
	}
	return Order{}, false, nil
}

// maxRecordPages bounds the search in one card's records, newest first.
const maxRecordPages = 10

func (c *Client) findInRecords(ctx context.Context, iccid, orderID string) (Order, bool, error) {
	seen := 0
	for page := 1; page <= maxRecordPages; page++ {
		rows, total, err := c.PackageRecords(ctx, iccid, RecordFilter{NewestFirst: true, Page: page, PageSize: 100})
		if err != nil && !hasCode(err, "42004", "42405") { // nor has a card that the account does not have orders
			return Order{}, false, err
		}
		if row, ok := byOutTradeNo(rows, orderID); ok {
			return row, true, nil
		}
		if seen += len(rows); len(rows) == 0 || seen >= total {
			return Order{}, false, nil
		}
	}
	return Order{}, false, odd("package/packageOrderRecord", fmt.Errorf("not among the card's newest %d orders, and there are more", seen))
}

func byOutTradeNo(rows []Order, orderID string) (Order, bool) {
	for _, r := range rows {
		if r.OutTradeNo == orderID {
			return r, true
		}
	}
	return Order{}, false
}

// sighted is a row as the answer to a query. That the records show a package, in
// whatever state, is what makes its order fulfilled.
func sighted(q supplier.Query, row Order, where string) supplier.Sighting {
	s := supplier.Sighting{Found: true, Where: where, Placement: supplier.Placement{State: order.Fulfilled, Total: row.Price,
		SupplierOrderID: cmp.Or(row.OrderID, q.SupplierOrderID), SupplierOrderNumber: cmp.Or(row.OrderNumber, q.SupplierOrderNumber)}}
	if row.Refunded {
		s.State = order.Refunded
	}
	differs := func(name, there, asked string) {
		if there != "" && asked != "" && there != asked {
			s.Mismatch = append(s.Mismatch, name)
		}
	}
	differs("iccid", row.ICCID, q.ICCID)
	differs("eid", row.EID, q.EID)
	differs("package_code", row.PackageCode, q.PackageCode)
	return s
}

// QueryPackage asks for one package order by the supplier's id (D: 0 not
// successful, 1 successful, -1 refunded). Not successful is read as not yet: the
// document does not say that it is final.
func (c *Client) QueryPackage(ctx context.Context, iccid, supplierOrderID string) (order.State, bool, error) {
	const op = "package/queryPackage"
	var d struct {
		Status Text `json:"status"`
	}
	_, err := c.read(ctx, op, params{}.text("iccid", iccid).text("orderId", supplierOrderID), &d)
	if hasCode(err, "42004") {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	switch d.Status {
	case "1":
		return order.Fulfilled, true, nil
	case "0":
		return order.Placed, true, nil
	case "-1":
		return order.Refunded, true, nil
	}
	return "", false, odd(op, fmt.Errorf("status %.20q is not documented", d.Status))
}

// purchaseState reads the status of eSIM and cloud eSIM orders (D: 1 processing,
// 2 success, 3 refunded, -1 failed).
func purchaseState(op string, status Text) (order.State, error) {
	switch status {
	case "1":
		return order.Placed, nil
	case "2":
		return order.Fulfilled, nil
	case "3":
		return order.Refunded, nil
	case "-1":
		return order.Rejected, nil
	}
	return "", odd(op, fmt.Errorf("status %.20q is not documented", status))
}

func (c *Client) lookupESIM(ctx context.Context, q supplier.Query) (supplier.Sighting, error) {
	if q.SupplierOrderID == "" {
		return supplier.Sighting{}, fmt.Errorf("esim/orderStatus wants the supplier's order id: %w", supplier.ErrNoLookup)
	}
	p, found, err := c.ESIMOrderStatus(ctx, q.SupplierOrderID)
	return supplier.Sighting{Found: found, Placement: p, Where: "esim/orderStatus"}, err
}

// ESIMOrderStatus asks for one eSIM order (D: 查询eSIM订单详情). A success whose ICCID
// or activation code is still missing is Placed: what was bought is not in hand.
func (c *Client) ESIMOrderStatus(ctx context.Context, supplierOrderID string) (supplier.Placement, bool, error) {
	const op = "esim/orderStatus"
	var d struct {
		Status         Text `json:"status"`
		ICCID          Text `json:"iccid"`
		ActivationCode Text `json:"activationCode"`
	}
	_, err := c.read(ctx, op, params{}.text("orderId", supplierOrderID), &d)
	if hasCode(err, "45111", "42004") {
		return supplier.Placement{}, false, nil
	}
	if err != nil {
		return supplier.Placement{}, false, err
	}
	state, err := purchaseState(op, d.Status)
	if err != nil {
		return supplier.Placement{}, false, err
	}
	p := supplier.Placement{SupplierOrderID: supplierOrderID, State: state, ESIMs: esims(d.ICCID, d.ActivationCode)}
	if state == order.Fulfilled && p.ESIMs == nil {
		p.State = order.Placed
	}
	return p, true, nil
}

// lookupCloud asks by eshopOrderId. Without it the card's records are read in case
// they carry our id, which the document does not promise: rows without it prove
// nothing, so there is no "not found" by our id.
func (c *Client) lookupCloud(ctx context.Context, q supplier.Query) (supplier.Sighting, error) {
	if q.SupplierOrderID != "" {
		p, found, err := c.CloudOrderStatus(ctx, q.SupplierOrderID)
		return supplier.Sighting{Found: found, Placement: p, Where: "cloudesim/orderStatus"}, err
	}
	rows, _, err := c.CloudRecords(ctx, q.EID, RecordFilter{})
	if err != nil {
		return supplier.Sighting{}, err
	}
	if row, ok := byOutTradeNo(rows, q.OrderID); ok {
		return sighted(q, row, "cloudesim/pkg/record/list"), nil
	}
	return supplier.Sighting{}, fmt.Errorf("cloud eSIM records do not carry our id: %w", supplier.ErrNoLookup)
}

// CloudOrderStatus asks for one cloud eSIM order (D: 账户下云esim卡片订单状态).
func (c *Client) CloudOrderStatus(ctx context.Context, eshopOrderID string) (supplier.Placement, bool, error) {
	const op = "cloudesim/orderStatus"
	var d struct {
		Status Text `json:"status"`
	}
	_, err := c.read(ctx, op, params{}.digits("eshopOrderId", eshopOrderID), &d)
	if hasCode(err, "42004", "45111") {
		return supplier.Placement{}, false, nil
	}
	if err != nil {
		return supplier.Placement{}, false, err
	}
	state, err := purchaseState(op, d.Status)
	if err != nil {
		return supplier.Placement{}, false, err
	}
	return supplier.Placement{SupplierOrderID: eshopOrderID, State: state}, true, nil
}

// lookupPool asks the pool's records by our id. A void record (D: status below 0)
// is Refunded: pool/unsub takes a package back, and no other void is documented.
func (c *Client) lookupPool(ctx context.Context, q supplier.Query) (supplier.Sighting, error) {
	const where = "pool/record/list"
	rows, err := c.PoolRecords(ctx, q.PoolObjectID, PoolFilter{OutTradeNos: []string{q.OrderID}})
	if err != nil {
		return supplier.Sighting{}, err
	}
	for _, r := range rows {
		if r.OutTradeNo != q.OrderID {
			continue
		}
		s := supplier.Sighting{Found: true, Where: where, Placement: supplier.Placement{State: order.Fulfilled, SupplierOrderID: cmp.Or(r.OrderNo, q.SupplierOrderID)}}
		if r.Status < 0 {
			s.State = order.Refunded
		}
		if r.TypeCode != "" && r.TypeCode != q.PoolTypeCode {
			s.Mismatch = []string{"pool_type_code"}
		}
		return s, nil
	}
	return supplier.Sighting{Where: where}, nil
}
