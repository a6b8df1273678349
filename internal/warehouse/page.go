package warehouse

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// collect reads every row of a query by scan.
func collect[T any](ctx context.Context, db *DB, what string, scan func(driver.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := db.conn.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", what, err)
		}
		out = append(out, v)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return out, nil
}

// StateCount is how many orders stand in a state.
type StateCount struct {
	State  string
	Orders uint64
}

// OrderCounts counts the orders whose latest step came after since, by the state
// that it brought them to.
func (db *DB) OrderCounts(ctx context.Context, since time.Time) ([]StateCount, error) {
	return collect(ctx, db, "orders by state", func(r driver.Rows) (c StateCount, err error) {
		err = r.Scan(&c.State, &c.Orders)
		return c, err
	}, `SELECT s, count() FROM (SELECT toString(argMax(state, (epoch, sequence))) AS s FROM simline.order_events
		WHERE at >= fromUnixTimestamp64Micro(toInt64(?), 'UTC') GROUP BY order_id) GROUP BY s`, since.UnixMicro())
}

// OrderNotification is a notification that speaks of an order.
type OrderNotification struct {
	ID, Event          string
	ReceivedAt, SentAt time.Time
}

// NotificationsOf lists the notifications that speak of an order, each once, by
// when it was received first.
func (db *DB) NotificationsOf(ctx context.Context, orderID string) ([]OrderNotification, error) {
	return collect(ctx, db, "notifications of an order", func(r driver.Rows) (n OrderNotification, err error) {
		err = r.Scan(&n.ID, &n.Event, &n.ReceivedAt, &n.SentAt)
		return n, err
	}, `SELECT any(notification_id), any(toString(event)), min(received_at) AS first, any(sent_at) FROM simline.webhooks
		WHERE has(order_ids, ?) GROUP BY message_id ORDER BY first LIMIT 200`, orderID)
}

// AuditRow is what a person did.
type AuditRow struct {
	At                                 time.Time
	Action, Target, Actor, Reason, Via string
}

// AuditOf lists what people did to target (to anything, if empty), the newest
// first.
func (db *DB) AuditOf(ctx context.Context, target string, limit int) ([]AuditRow, error) {
	return collect(ctx, db, "the audit", func(r driver.Rows) (a AuditRow, err error) {
		err = r.Scan(&a.At, &a.Action, &a.Target, &a.Actor, &a.Reason, &a.Via)
		return a, err
	}, `SELECT at, toString(action), target, actor, reason, toString(via) FROM simline.audit FINAL
		WHERE target = ? OR ? = '' ORDER BY epoch DESC, sequence DESC LIMIT ?`, target, target, limit)
}

// Slot is one half hour of an account.
type Slot struct {
	Account     string
	Start       time.Time
	Status      string // on_time, late, only_overlapped, missing or due
	Files       uint64
	WithRejects bool
}

// Coverage lists the half hours of every account since a moment, by account and
// time.
func (db *DB) Coverage(ctx context.Context, since time.Time) ([]Slot, error) {
	return collect(ctx, db, "coverage", func(r driver.Rows) (s Slot, err error) {
		var bad uint8
		err = r.Scan(&s.Account, &s.Start, &s.Status, &s.Files, &bad)
		s.WithRejects = bad == 1
		return s, err
	}, "SELECT toString(account), event_time, toString(status), files, with_rejects FROM mart.cdr_coverage WHERE event_time >= ? ORDER BY account, event_time", since.UTC())
}

// Freshness says up to when an account's usage is complete.
type Freshness struct {
	Account    string
	Complete   time.Time
	Gaps, Late uint64
	LastLoaded time.Time
}

// Freshness lists every account that ever had a file.
func (db *DB) Freshness(ctx context.Context) ([]Freshness, error) {
	return collect(ctx, db, "freshness", func(r driver.Rows) (f Freshness, err error) {
		err = r.Scan(&f.Account, &f.Complete, &f.Gaps, &f.Late, &f.LastLoaded)
		return f, err
	}, "SELECT toString(account), event_time, gaps, late, last_loaded FROM mart.data_freshness ORDER BY account")
}

// Used is the usage of one account in one hour or day.
type Used struct {
	Account        string
	At             time.Time
	Bytes, Records uint64
}

// UsageHours sums usage by account and hour since a moment.
func (db *DB) UsageHours(ctx context.Context, since time.Time) ([]Used, error) {
	return db.usage(ctx, "SELECT toString(account), event_hour AS t, sum(bytes), sum(records) FROM mart.usage_hourly WHERE event_hour >= ? GROUP BY account, t ORDER BY account, t", since)
}

// UsageDays sums usage by account and day since a moment's day.
func (db *DB) UsageDays(ctx context.Context, since time.Time) ([]Used, error) {
	return db.usage(ctx, "SELECT toString(account), toDateTime(event_date, 'UTC') AS t, sum(bytes), sum(records) FROM mart.usage_daily WHERE event_date >= toDate(?) GROUP BY account, t ORDER BY account, t", since)
}

func (db *DB) usage(ctx context.Context, query string, since time.Time) ([]Used, error) {
	return collect(ctx, db, "usage", func(r driver.Rows) (u Used, err error) {
		err = r.Scan(&u.Account, &u.At, &u.Bytes, &u.Records)
		return u, err
	}, query, since.UTC())
}
