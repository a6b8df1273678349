package warehouse

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"
)

// OrderRow is an order as mart.orders has it, for lists; the ledger's last event
// may be a second newer. Total is what it cost: 0 with an empty currency unless it
// is placed for certain and the supplier said a price.
type OrderRow struct {
	OrderID         string          `json:"order_id"`
	Supplier        string          `json:"supplier"`
	Product         string          `json:"product"`
	Account         string          `json:"account"`
	State           string          `json:"state"`
	Certainty       string          `json:"certainty"`
	SupplierOrderID string          `json:"supplier_order_id,omitempty"`
	Total           decimal.Decimal `json:"total"`
	Currency        string          `json:"currency,omitempty"`
	ErrorKind       string          `json:"error_kind,omitempty"`
	ErrorCode       string          `json:"error_code,omitempty"`
	WaitingFor      string          `json:"waiting_for,omitempty"`
	AcceptedAt      time.Time       `json:"accepted_at"`
	UpdatedAt       time.Time       `json:"updated_at"`
}

const orderColumns = "order_id, supplier, product, account, state, certainty, supplier_order_id, total_amount, total_currency, error_kind, error_code, waiting_for, event_time, updated_at"

// FindOrders looks for text as an order id, a card (ICCID or EID) or the supplier's
// id or number of an order, exactly; at most limit orders, the latest step first.
// What the events table has filters for is asked first; the supplier's ids cost a
// look at their columns.
func (db *DB) FindOrders(ctx context.Context, text string, limit int) ([]OrderRow, error) {
	text = strings.TrimSpace(text)
	for _, where := range []string{"order_id = ? OR has(iccids, ?)", "supplier_order_id = ? OR supplier_order_number = ? OR eid = ?"} {
		args := []any{text, text, text}
		ids, err := db.orderIDs(ctx, where, limit, args[:strings.Count(where, "?")]...)
		if err != nil || len(ids) > 0 {
			return db.ordersOf(ctx, ids, err)
		}
	}
	return nil, nil
}

// OrderFilter picks orders; an empty field picks all.
type OrderFilter struct{ State, Supplier, Account string }

// RecentOrders lists orders by their latest step, the newest first, those that
// match; before, if not zero, is the UpdatedAt that they must come before. It reads
// the events from their end. An order that was in the state and went on is none of
// them, so there may be fewer than limit and more behind.
func (db *DB) RecentOrders(ctx context.Context, f OrderFilter, before time.Time, limit int) ([]OrderRow, error) {
	where, args := []string{"1"}, []any{}
	for _, c := range []struct{ column, value string }{{"state", f.State}, {"supplier", f.Supplier}, {"account", f.Account}} {
		if c.value != "" {
			where, args = append(where, c.column+" = ?"), append(args, c.value)
		}
	}
	if !before.IsZero() {
		where, args = append(where, "at < fromUnixTimestamp64Micro(toInt64(?), 'UTC')"), append(args, before.UnixMicro())
	}
	ids, err := db.orderIDs(ctx, strings.Join(where, " AND "), limit, args...)
	rows, err := db.ordersOf(ctx, ids, err)
	return slices.DeleteFunc(rows, func(r OrderRow) bool {
		return f.State != "" && r.State != f.State || !before.IsZero() && !r.UpdatedAt.Before(before)
	}), err
}

// orderIDs lists the orders that have events which match, by the latest of those.
func (db *DB) orderIDs(ctx context.Context, where string, limit int, args ...any) ([]string, error) {
	return collect(ctx, db, "orders", func(r driver.Rows) (id string, err error) {
		err = r.Scan(&id)
		return id, err
	}, "SELECT order_id FROM simline.order_events WHERE "+where+" ORDER BY epoch DESC, sequence DESC LIMIT 1 BY order_id LIMIT ?", append(args, limit)...)
}

// ordersOf reads the orders of a list of ids, unless that could not be had.
func (db *DB) ordersOf(ctx context.Context, ids []string, err error) ([]OrderRow, error) {
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	return collect(ctx, db, "orders", func(rows driver.Rows) (r OrderRow, err error) {
		err = rows.Scan(&r.OrderID, &r.Supplier, &r.Product, &r.Account, &r.State, &r.Certainty, &r.SupplierOrderID, &r.Total, &r.Currency,
			&r.ErrorKind, &r.ErrorCode, &r.WaitingFor, &r.AcceptedAt, &r.UpdatedAt)
		return r, err
	}, "SELECT "+orderColumns+" FROM mart.orders WHERE order_id IN (?) ORDER BY updated_at DESC, order_id", ids)
}
