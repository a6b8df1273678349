package warehouse

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// OrderRow is an order as mart.orders has it, for lists; the ledger's last event
// may be a second newer.
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
// id or number of an order, exactly; at most limit orders, the newest first.
func (db *DB) FindOrders(ctx context.Context, text string, limit int) ([]OrderRow, error) {
	text = strings.TrimSpace(text)
	// Ids first, by the filters of the events table; then the whole of those orders.
	return db.orders(ctx, `order_id IN (SELECT order_id FROM simline.order_events
			WHERE order_id = ? OR has(iccids, ?) OR eid = ? OR supplier_order_id = ? OR supplier_order_number = ?
			GROUP BY order_id ORDER BY max((epoch, sequence)) DESC LIMIT ?)`, limit, text, text, text, text, text, limit)
}

// OrderFilter picks orders; an empty field picks all.
type OrderFilter struct{ State, Supplier, Account string }

// scanned is how many events RecentOrders looks back over at most.
const scanned = 1_000_000

// RecentOrders lists orders by their latest step, the newest first, those that
// match; before, if not zero, is the UpdatedAt that they must come before. It reads
// the events from their end, so it costs what it returns.
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
	inner := strings.Join(where, " AND ")
	args = append(args, limit)
	rows, err := db.orders(ctx, `order_id IN (SELECT order_id FROM (SELECT order_id, epoch, sequence FROM simline.order_events WHERE `+inner+`
			ORDER BY epoch DESC, sequence DESC LIMIT `+fmt.Sprint(scanned)+`) LIMIT 1 BY order_id LIMIT ?)`, limit, args...)
	if err != nil {
		return nil, err
	}
	// An order that was in the state once and went on is none of them.
	out := rows[:0]
	for _, r := range rows {
		if (f.State == "" || r.State == f.State) && (before.IsZero() || r.UpdatedAt.Before(before)) {
			out = append(out, r)
		}
	}
	return out, nil
}

func (db *DB) orders(ctx context.Context, where string, limit int, args ...any) ([]OrderRow, error) {
	rows, err := db.conn.Query(ctx, "SELECT "+orderColumns+" FROM mart.orders WHERE "+where+" ORDER BY updated_at DESC, order_id LIMIT "+fmt.Sprint(limit), args...)
	if err != nil {
		return nil, fmt.Errorf("read orders: %w", err)
	}
	defer rows.Close()
	var out []OrderRow
	for rows.Next() {
		var r OrderRow
		if err := rows.Scan(&r.OrderID, &r.Supplier, &r.Product, &r.Account, &r.State, &r.Certainty, &r.SupplierOrderID, &r.Total, &r.Currency,
			&r.ErrorKind, &r.ErrorCode, &r.WaitingFor, &r.AcceptedAt, &r.UpdatedAt); err != nil {
			return nil, fmt.Errorf("read orders: %w", err)
		}
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read orders: %w", err)
	}
	return out, nil
}
