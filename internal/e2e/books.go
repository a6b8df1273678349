package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/simline/simline/internal/order"
)

// Figure is one comparison: what one book says against what another says.
type Figure struct {
	What       string
	Want, Got  string // "12 orders (simulators)" beside "12"
	OK         bool
	Complaints []string // the first few that differ
}

// Equal is a figure that two books must agree on.
func Equal(what string, want, got int64) Figure {
	return Figure{What: what, Want: fmt.Sprint(want), Got: fmt.Sprint(got), OK: want == got}
}

// Books are everybody's books at one moment.
type Books struct {
	Requested []string                // order ids that were asked for
	Sold      int                     // purchases in the simulators' books, under whatever id
	Bought    map[string]Purchase     // by order id, from the simulators
	Ledger    map[string]order.Record // last event of each order, from ORDER_EVENTS
	Archive   map[string]Archived     // mart.orders
	Notified  map[string]bool         // ids of notifications that were answered with SUCCESS
	Webhooks  map[string]int          // rows of simline.webhooks by notification id
	Usage     int64                   // bytes the generator put into CDRs, each id once
	MartUsage int64                   // SUM(bytes) of mart.usage_hourly
	Planted   []string                // what was planted: finding kinds, sorted
	Findings  []string                // open findings: kinds, sorted
	Stuck     []string                // orders that order_stuck was found of
}

// Purchase is an order in a supplier's book.
type Purchase struct {
	SupplierOrderID string
	Times           int // how often it was bought; more than once is money lost
}

// Archived is an order in mart.orders.
type Archived struct{ State, SupplierOrderID string }

// Compare holds the books against each other. heldAllowed says that an order may
// also end held, as one whose eSIMfly answer died with a killed worker must.
func (b Books) Compare(heldAllowed bool) []Figure {
	var figures []Figure
	twice := Figure{What: "bought more than once", Want: "0", OK: true}
	for id, p := range b.Bought {
		if p.Times > 1 {
			twice.Complain("%s: %d times", id, p.Times)
		}
	}
	twice.Got = fmt.Sprint(len(twice.Complaints))
	figures = append(figures, Equal("orders asked for = bought at the suppliers", int64(len(b.Requested)), int64(b.Sold)), twice)

	settled := Figure{What: "orders fulfilled in the ledger", Want: fmt.Sprint(len(b.Requested)), OK: true}
	ids := Figure{What: "reported with the supplier's true order id", Want: fmt.Sprint(len(b.Requested)), OK: true}
	archived := Figure{What: "orders in ClickHouse like the ledger", Want: fmt.Sprint(len(b.Requested)), OK: true}
	var done, held, right, alike int
	for _, id := range b.Requested {
		r, p, a := b.Ledger[id], b.Bought[id], b.Archive[id]
		switch {
		case r.State == order.Fulfilled:
			done++
		case r.State == order.Held && heldAllowed:
			held++
		default:
			settled.Complain("%s: state %q, error %+v", id, r.State, deref(r.Error))
		}
		if r.State == order.Fulfilled && r.SupplierOrderID != p.SupplierOrderID {
			ids.Complain("%s: %q, true %q", id, r.SupplierOrderID, p.SupplierOrderID)
		} else if r.State == order.Fulfilled || r.State == order.Held && heldAllowed {
			right++
		}
		if r.State != order.Begin && a.State == string(r.State) && a.SupplierOrderID == r.SupplierOrderID {
			alike++
		} else {
			archived.Complain("%s: %+v, ledger %q %q", id, a, r.State, r.SupplierOrderID)
		}
	}
	settled.Got, ids.Got, archived.Got = fmt.Sprint(done), fmt.Sprint(right), fmt.Sprint(alike)
	if held > 0 {
		settled.Got += fmt.Sprintf(" + %d held", held)
	}
	if len(b.Archive) != len(b.Requested) {
		archived.Complain("%d orders in mart.orders", len(b.Archive))
	}
	figures = append(figures, settled, ids, archived)

	hooks := Figure{What: "notifications answered SUCCESS, in ClickHouse once", Want: fmt.Sprint(len(b.Notified)), OK: true}
	once := 0
	for id := range b.Notified {
		if b.Webhooks[id] == 1 {
			once++
		} else {
			hooks.Complain("%s: %d rows", id, b.Webhooks[id])
		}
	}
	hooks.Got = fmt.Sprint(once)
	figures = append(figures, hooks, Equal("CDR bytes generated = SUM(bytes) of mart.usage_hourly", b.Usage, b.MartUsage))
	planted := slices.Clone(b.Planted)
	for _, id := range b.Stuck {
		if heldAllowed && b.Ledger[id].State == order.Held { // true: a person must settle it
			planted = append(planted, stuck)
		}
	}
	slices.Sort(planted)
	found := Figure{What: "discrepancies planted = open findings", Want: strings.Join(planted, " "), Got: strings.Join(b.Findings, " ")}
	found.OK = slices.Equal(planted, b.Findings)
	return append(figures, found)
}

// stuck is the finding of an order that has waited for too long.
const stuck = "order_stuck"

func deref(e *order.Error) order.Error {
	if e == nil {
		return order.Error{}
	}
	return *e
}

const maxComplaints = 5

// Complain notes one difference.
func (f *Figure) Complain(format string, args ...any) {
	f.OK = false
	if len(f.Complaints) < maxComplaints {
		f.Complaints = append(f.Complaints, fmt.Sprintf(format, args...))
	}
}

// warehouseBooks fills in what ClickHouse says.
func (b *Books) warehouseBooks(ctx context.Context, db clickhouse.Conn) error {
	b.Archive, b.Webhooks, b.Findings, b.Stuck = map[string]Archived{}, map[string]int{}, nil, nil
	rows, err := db.Query(ctx, "SELECT order_id, toString(state), supplier_order_id FROM mart.orders")
	if err != nil {
		return fmt.Errorf("mart.orders: %w", err)
	}
	for rows.Next() {
		var id string
		var a Archived
		if err := rows.Scan(&id, &a.State, &a.SupplierOrderID); err != nil {
			return fmt.Errorf("mart.orders: %w", err)
		}
		b.Archive[id] = a
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("mart.orders: %w", err)
	}
	rows, err = db.Query(ctx, "SELECT notification_id, count() FROM simline.webhooks FINAL GROUP BY notification_id")
	if err != nil {
		return fmt.Errorf("simline.webhooks: %w", err)
	}
	for rows.Next() {
		var id string
		var n uint64
		if err := rows.Scan(&id, &n); err != nil {
			return fmt.Errorf("simline.webhooks: %w", err)
		}
		b.Webhooks[id] = int(n)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("simline.webhooks: %w", err)
	}
	rows, err = db.Query(ctx, "SELECT kind, order_id FROM mart.findings_open ORDER BY kind")
	if err != nil {
		return fmt.Errorf("mart.findings_open: %w", err)
	}
	for rows.Next() {
		var kind, id string
		if err := rows.Scan(&kind, &id); err != nil {
			return fmt.Errorf("mart.findings_open: %w", err)
		}
		b.Findings = append(b.Findings, kind)
		if kind == stuck {
			b.Stuck = append(b.Stuck, id)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("mart.findings_open: %w", err)
	}
	if err := db.QueryRow(ctx, "SELECT toInt64(sum(bytes)) FROM mart.usage_hourly").Scan(&b.MartUsage); err != nil {
		return fmt.Errorf("mart.usage_hourly: %w", err)
	}
	return nil
}
