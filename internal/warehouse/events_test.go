package warehouse_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/warehouse/warehousetest"
)

var (
	epoch = time.Date(2026, 1, 1, 0, 0, 0, 123e6, time.UTC)
	day   = time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
)

func money(s string) int64 {
	micros, ok := warehouse.ParseMicros(s)
	if !ok {
		panic(s)
	}
	return micros
}

// story is a small business: each event of each order, notifications, findings.
func story() (orders []warehouse.OrderEvent, hooks []warehouse.Webhook, findings []warehouse.Finding) {
	add := func(id, state, certainty string, at time.Duration, change func(*warehouse.OrderEvent)) {
		e := warehouse.OrderEvent{OrderID: id, Supplier: "eiotclub", Product: "package", Account: "default", State: state, Certainty: certainty,
			ICCIDs: []string{"8988" + id}, PackageCode: "P", Quantity: 1, At: day.Add(at), AcceptedAt: day, Attempt: 1}
		if change != nil {
			change(&e)
		}
		orders = append(orders, e)
	}
	paid := func(e *warehouse.OrderEvent) {
		e.SupplierOrderID, e.Total = "s-"+e.OrderID, warehouse.Amount{Micros: money("1.25"), Currency: "USD"}
	}
	failed := func(e *warehouse.OrderEvent) { e.ErrorKind, e.ErrorCode = "no_funds", "45112" }
	add("a", "intent", "unknown", time.Second, nil)
	add("b", "intent", "unknown", time.Second, nil)
	add("a", "placed", "placed", 2*time.Second, paid)
	add("b", "unknown", "unknown", 3*time.Second, func(e *warehouse.OrderEvent) { e.ErrorKind, e.ErrorCode = "unknown", "(timeout)" })
	add("a", "fulfilled", "placed", 4*time.Second, paid)
	add("b", "unknown", "unknown", 5*time.Second, func(e *warehouse.OrderEvent) { e.ErrorKind, e.ErrorCode = "unknown", "(timeout)" })
	add("c", "waiting", "not_placed", 6*time.Second, failed)
	add("c", "rejected", "not_placed", 7*time.Second, failed)
	add("b", "placed", "placed", 8*time.Second, paid)
	add("b", "refunded", "placed", 26*time.Hour, paid)
	add("d", "held", "unknown", 9*time.Second, nil)
	add("e", "fulfilled", "placed", 10*time.Second, func(e *warehouse.OrderEvent) {
		e.ICCIDs, e.Total = []string{"8901", "8902", "8903"}, warehouse.Amount{Micros: money("10"), Currency: "EUR"}
	})
	// A price was said, and the order came to nothing, or nobody knows.
	add("f", "placed", "placed", 11*time.Second, paid)
	add("f", "rejected", "not_placed", 12*time.Second, paid) // the supplier gave it up, and gives the money back
	add("g", "held", "placed", 11*time.Second, paid)
	add("g", "rejected", "not_placed", 12*time.Second, paid) // a person ruled it out
	add("h", "unknown", "unknown", 11*time.Second, nil)
	add("h", "rejected", "not_placed", 12*time.Second, paid) // the look that found it says that it failed
	add("i", "held", "unknown", 11*time.Second, paid)        // under its id lies another order, of that price
	add("j", "placed", "placed", 11*time.Second, paid)
	add("j", "held", "unknown", 12*time.Second, paid) // a person doubts it
	add("k", "placed", "placed", 11*time.Second, paid)
	add("k", "held", "placed", 12*time.Second, paid)
	add("k", "intent", "unknown", 13*time.Second, paid) // a person ruled it out, and has it bought again
	add("l", "placed", "placed", 11*time.Second, paid)
	add("l", "held", "placed", 12*time.Second, paid)
	add("l", "waiting", "not_placed", 13*time.Second, paid)
	add("l", "cancelled", "not_placed", 14*time.Second, paid)
	// And two that cost: bought at last for more, and its card known only later.
	add("m", "placed", "placed", 11*time.Second, paid)
	add("m", "held", "unknown", 12*time.Second, paid)
	add("m", "placed", "placed", 13*time.Second, func(e *warehouse.OrderEvent) {
		e.Total = warehouse.Amount{Micros: money("2.50"), Currency: "USD"}
	})
	add("n", "placed", "placed", 11*time.Second, func(e *warehouse.OrderEvent) { paid(e); e.ICCIDs = nil })
	add("n", "fulfilled", "placed", 12*time.Second, paid)
	hooks = []warehouse.Webhook{
		{MessageID: "eiotclub:default:1", Supplier: "eiotclub", Account: "default", Event: "SubPkgList", NotificationID: "1", SentAt: day, ReceivedAt: day.Add(time.Second),
			Cards: []string{"8988a", "8988b"}, Orders: []string{"a", "b"}, SupplierOrders: []string{"s-a", "s-b"}, Packages: []string{"P", "P"}},
		{MessageID: "eiotclub:default:2", Supplier: "eiotclub", Account: "default", Event: "Refund", NotificationID: "2", SentAt: day.Add(26 * time.Hour), ReceivedAt: day.Add(26 * time.Hour),
			ICCID: "8988b", Cards: []string{"8988b"}, Orders: []string{"b"}, SupplierOrders: []string{"s-b"}, Packages: []string{""}, OrderAmount: money("1.25"), RefundAmount: money("1.00")},
		// The same notification again, days later, after the stream's window.
		{MessageID: "eiotclub:default:2", Supplier: "eiotclub", Account: "default", Event: "Refund", NotificationID: "2", SentAt: day.Add(26 * time.Hour), ReceivedAt: day.Add(96 * time.Hour),
			ICCID: "8988b", Cards: []string{"8988b"}, Orders: []string{"b"}, SupplierOrders: []string{"s-b"}, Packages: []string{""}, OrderAmount: money("1.25"), RefundAmount: money("1.00")},
		{MessageID: "eiotclub:default:3", Supplier: "eiotclub", Account: "default", Event: "Refund", NotificationID: "3", SentAt: day.Add(26 * time.Hour), ReceivedAt: day.Add(26 * time.Hour),
			ICCID: "8988f", Cards: []string{"8988f"}, Orders: []string{"f"}, SupplierOrders: []string{"s-f"}, Packages: []string{""}, OrderAmount: money("1.25"), RefundAmount: money("1.25")},
		{MessageID: "eiotclub:default:4", Supplier: "eiotclub", Account: "default", Event: "Refund", NotificationID: "4", SentAt: day.Add(26 * time.Hour), ReceivedAt: day.Add(26 * time.Hour),
			ICCID: "8988z", Cards: []string{"8988z"}, Orders: []string{"z"}, SupplierOrders: []string{"s-z"}, Packages: []string{""}, OrderAmount: money("4"), RefundAmount: money("3")},
	}
	findings = []warehouse.Finding{
		{FindingID: "f1", Kind: "order_price", Severity: "warning", Status: "open", Amount: warehouse.Amount{Micros: money("-0.5"), Currency: "USD"}, FirstSeen: day, LastSeen: day},
		{FindingID: "f2", Kind: "order_stuck", Severity: "critical", Status: "open", FirstSeen: day, LastSeen: day},
		{FindingID: "f1", Kind: "order_price", Severity: "warning", Status: "open", Amount: warehouse.Amount{Micros: money("-0.7"), Currency: "USD"}, FirstSeen: day, LastSeen: day.Add(time.Hour)},
		{FindingID: "f2", Kind: "order_stuck", Severity: "critical", Status: "closed", FirstSeen: day, LastSeen: day.Add(time.Hour)},
	}
	return orders, hooks, findings
}

// number gives rows their place in the stream.
func number[R any](rows []R, key func(*R) *warehouse.EventKey) []R {
	for i := range rows {
		*key(&rows[i]) = warehouse.EventKey{Epoch: epoch, Sequence: uint64(i + 1), PublishedAt: day, ArchivedAt: day, Raw: fmt.Sprintf(`{"i":%d,"s":"ü\"\\"}`, i)}
	}
	return rows
}

func archive[R any](t *testing.T, db *warehouse.DB, table warehouse.EventTable[R], token string, rows []R) {
	t.Helper()
	if err := insert(t.Context(), db, table, token, rows); err != nil {
		t.Fatal(err)
	}
}

// tell reads a query as lines of text.
func tell(t *testing.T, db *warehouse.DB, query string) []string {
	t.Helper()
	rows, err := db.Conn().Query(context.Background(), "SELECT arrayStringConcat(arrayMap(x -> toString(x), ["+query[:strings.Index(query, " FROM ")]+"]), ' ')"+query[strings.Index(query, " FROM "):])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEventMarts(t *testing.T) {
	db := warehousetest.Open(t)
	orders, hooks, findings := story()
	number(orders, func(r *warehouse.OrderEvent) *warehouse.EventKey { return &r.EventKey })
	number(hooks, func(r *warehouse.Webhook) *warehouse.EventKey { return &r.EventKey })
	number(findings, func(r *warehouse.Finding) *warehouse.EventKey { return &r.EventKey })
	// Everything twice and in pieces, under other tokens: what a crash may leave.
	for _, token := range []string{"x", "y"} {
		archive(t, db, warehouse.OrderEvents, token+"1", orders[:5])
		archive(t, db, warehouse.OrderEvents, token+"2", orders[3:])
		archive(t, db, warehouse.Webhooks, token, hooks)
		archive(t, db, warehouse.Findings, token, findings)
	}
	if err := db.Conn().Exec(t.Context(), "INSERT INTO simline.cdr (id, start_time, stop_time, iccid, imsi, data_usage, imei, mccmnc, account, file) VALUES (1, '2026-01-15 10:05:00', '2026-01-15 10:06:00', '8988a', '', 1000, '', '23410', 'default', 'f')"); err != nil {
		t.Fatal(err)
	}

	cases := []struct {
		name, query string
		want        []string
	}{
		{"one row per order", "order_id, state, certainty, settled, total_amount, total_currency, attempts, events FROM mart.orders ORDER BY order_id", []string{
			"a fulfilled placed 1 1.25 USD 1 3", "b refunded placed 1 1.25 USD 1 5", "c rejected not_placed 1 0  1 2", "d held unknown 0 0  1 1", "e fulfilled placed 1 10 EUR 1 1",
			"f rejected not_placed 1 0  1 2", "g rejected not_placed 1 0  1 2", "h rejected not_placed 1 0  1 2", "i held unknown 0 0  1 1", "j held unknown 0 0  1 2",
			"k intent unknown 0 0  1 3", "l cancelled not_placed 1 0  1 4", "m placed placed 0 2.5 USD 1 3", "n fulfilled placed 1 1.25 USD 1 2"}},
		{"times to each state", "intent_at, unknown_at, placed_at, refunded_at, fulfilled_at, outcome_at FROM mart.orders WHERE order_id = 'b'", []string{
			"2026-01-15 10:00:01.000000 2026-01-15 10:00:03.000000 2026-01-15 10:00:08.000000 2026-01-16 12:00:00.000000 1970-01-01 00:00:00.000000 2026-01-15 10:00:08.000000"}},
		{"funnel", "currency, orders, sent, placed, fulfilled, rejected, refunded, open, held, were_unknown, amount FROM mart.order_funnel_daily ORDER BY currency", []string{
			" 9 9 0 0 4 0 4 3 1 0", "EUR 1 1 1 1 0 0 0 0 0 10", "USD 4 4 4 2 0 1 1 0 1 6.25"}},
		{"latency", "event_hour, orders, seconds, max_seconds, fulfilled, fulfilled_seconds FROM mart.order_latency_hourly", []string{"2026-01-15 10:00:00 12 116 12 3 26"}},
		{"errors", "error_kind, error_code, errors, orders FROM mart.supplier_errors_daily ORDER BY error_kind", []string{"no_funds 45112 1 1", "unknown (timeout) 1 1"}},
		{"notifications", "event_date, event, notifications, orders, cards, refund_amount FROM mart.notifications_daily ORDER BY event", []string{
			"2026-01-16 Refund 3 3 3 5.25", "2026-01-15 SubPkgList 1 2 2 0"}},
		{"a card's timeline", "event_time, source, what, order_id, amount, bytes FROM mart.card_timeline WHERE card = '8988a' ORDER BY event_time, source", []string{
			"2026-01-15 10:00:00.000 usage 23410  0 1000", "2026-01-15 10:00:01.000 notification SubPkgList a 0 0", "2026-01-15 10:00:01.000 order intent a 0 0",
			"2026-01-15 10:00:02.000 order placed a 1.25 0", "2026-01-15 10:00:04.000 order fulfilled a 0 0"}},
		{"margin", "event_date, card, currency, orders, cost, refunded, bytes FROM mart.margin_by_card_daily ORDER BY card, event_date, currency", []string{
			"2026-01-15 8901 EUR 1 3.333334 0 0", "2026-01-15 8902 EUR 0 3.333333 0 0", "2026-01-15 8903 EUR 0 3.333333 0 0",
			"2026-01-15 8988a  0 0 0 1000", "2026-01-15 8988a USD 1 1.25 0 0", "2026-01-15 8988b USD 1 1.25 0 0", "2026-01-16 8988b USD 0 0 1 0",
			"2026-01-15 8988m USD 1 2.5 0 0", "2026-01-15 8988n USD 1 1.25 0 0", "2026-01-16 8988z  0 0 3 0"}},
		{"a given-up order's timeline", "event_time, source, what, order_id, amount, currency FROM mart.card_timeline WHERE card = '8988f' ORDER BY event_time, source", []string{
			"2026-01-15 10:00:11.000 order placed f 0 ", "2026-01-15 10:00:12.000 order rejected f 0 ", "2026-01-16 12:00:00.000 notification Refund f 0 "}},
		{"a card known later has its cost", "event_time, what, amount FROM mart.card_timeline WHERE card = '8988n'", []string{"2026-01-15 10:00:12.000 fulfilled 1.25"}},
		{"paid, by orders", "total_currency, sum(total_amount) FROM mart.orders GROUP BY total_currency ORDER BY total_currency", []string{" 0", "EUR 10", "USD 6.25"}},
		{"paid, by day", "currency, sum(placed), sum(amount), sum(refunded_orders_amount) FROM mart.order_funnel_daily GROUP BY currency ORDER BY currency", []string{" 0 0 0", "EUR 1 10 0", "USD 4 6.25 1.25"}},
		{"paid, by card", "currency, sum(orders), sum(cost), sum(refunded) FROM mart.margin_by_card_daily GROUP BY currency ORDER BY currency", []string{" 0 0 3", "EUR 1 10 0", "USD 4 6.25 1"}},
		{"paid, by timeline", "currency, sum(amount) FROM mart.card_timeline GROUP BY currency ORDER BY currency", []string{" -3", "EUR 10", "USD 5.25"}},
		{"a card's cost is one", "t.card, t.amount, m.paid FROM (SELECT card, currency, sum(amount) AS amount FROM mart.card_timeline GROUP BY card, currency) AS t" +
			" FULL JOIN (SELECT card, currency, sum(cost) - sum(refunded) AS paid FROM mart.margin_by_card_daily GROUP BY card, currency) AS m USING (card, currency) WHERE t.amount != m.paid", nil},
		{"open findings", "finding_id, amount, last_seen FROM mart.findings_open", []string{"f1 -0.7 2026-01-15 11:00:00.000"}},
		{"text and keys arrive as they were", "epoch, sequence, raw FROM simline.order_events FINAL WHERE sequence = 2", []string{`2026-01-01 00:00:00.123 2 {"i":1,"s":"ü\"\\"}`}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, tell(t, db, c.query)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Rows arrive as they were given, in both protocols, however many go into a block
// and whatever its memory held before; what an insert brings is a part of one file.
func TestManyEventsInABlock(t *testing.T) {
	db := warehousetest.Open(t)
	for name, db := range map[string]*warehouse.DB{"http": db, "columns": db.OverColumns()} {
		t.Run(name, func(t *testing.T) {
			in, epoch := warehouse.NewEventInserter(db, warehouse.OrderEvents), day.Add(time.Duration(len(name))*time.Hour)
			for round, n := range []int{1000, 40, 64, 129} {
				b := in.Block(7, 100)
				var want []string
				for i := range n {
					var cards []string
					for c := range (i + round) % 4 {
						cards = append(cards, fmt.Sprintf("%d-%d", i, c))
					}
					seq := uint64(round*10_000 + i + 1)
					e := warehouse.OrderEvent{EventKey: warehouse.EventKey{Epoch: epoch, Sequence: seq, PublishedAt: day, ArchivedAt: day, Raw: strings.Repeat("ü{}", i*6)},
						OrderID: fmt.Sprint("o", i), ICCIDs: cards, Quantity: uint16(i), Attempt: uint32(round)}
					b.Add(e)
					want = append(want, fmt.Sprintf("%d o%d %s %s %d %d %d", seq, i, strings.Join(cards, ","), append(cards, "")[0], i, round, len(e.Raw)))
				}
				if b.Len() != n {
					t.Errorf("%d rows of %d", b.Len(), n)
				}
				if err := in.Insert(t.Context(), fmt.Sprint(name, round), b); err != nil {
					t.Fatal(err)
				}
				got := tell(t, db, fmt.Sprintf("sequence, order_id, arrayStringConcat(iccids, ','), iccid, quantity, attempt, length(raw) FROM simline.order_events"+
					" WHERE epoch = fromUnixTimestamp64Milli(toInt64(%d), 'UTC') AND sequence > %d ORDER BY sequence", epoch.UnixMilli(), round*10_000))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("round %d: %s", round, diff)
				}
			}
		})
	}
	if got := tell(t, db, "part_type, max(data_uncompressed_bytes) > 10485760 FROM system.parts WHERE database = 'simline' AND table = 'order_events' AND level = 0 GROUP BY part_type"); len(got) != 1 || got[0] != "Compact 1" {
		t.Errorf("parts of an insert: %q, want compact ones only, and one above 10 MiB", got)
	}
}

func TestLastArchived(t *testing.T) {
	db := warehousetest.Open(t)
	last := func(epoch time.Time) uint64 {
		n, err := warehouse.LastArchived(t.Context(), db, warehouse.OrderEvents.Name, "ORDER_EVENTS", epoch)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := last(epoch); n != 0 {
		t.Errorf("%d in an empty table", n)
	}
	orders, _, _ := story()
	number(orders, func(r *warehouse.OrderEvent) *warehouse.EventKey { return &r.EventKey })
	archive(t, db, warehouse.OrderEvents, "x", orders)
	archive(t, db, warehouse.OrderEvents, "x", orders) // the token makes it a no-op
	if got := tell(t, db, "count() FROM simline.order_events"); got[0] != fmt.Sprint(len(orders)) {
		t.Errorf("%s rows, want %d", got[0], len(orders))
	}
	if n := last(epoch); n != uint64(len(orders)) {
		t.Errorf("last %d", n)
	}
	if n := last(epoch.Add(time.Millisecond)); n != 0 {
		t.Errorf("another stream of the same name: last %d", n)
	}
	if err := warehouse.InsertSkipped(t.Context(), db, warehouse.Skipped{Stream: "ORDER_EVENTS", Epoch: epoch, Sequence: 40, Subject: "s", Reason: "schema", Error: "e", At: day}); err != nil {
		t.Fatal(err)
	}
	if n := last(epoch); n != 40 {
		t.Errorf("last %d behind a skipped message, want 40", n)
	}
}

func TestParseMicros(t *testing.T) {
	good := map[string]int64{"0": 0, "5": 5e6, "5.00": 5e6, "-0.5": -5e5, "999999999999.999999": 999999999999999999, "0.000001": 1}
	for s, want := range good {
		if got, ok := warehouse.ParseMicros(s); !ok || got != want {
			t.Errorf("%s: %d %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "-", ".5", "5.", "1e3", "1,5", "+1", "--1", "1000000000000", "0.0000001", " 1"} {
		if got, ok := warehouse.ParseMicros(s); ok {
			t.Errorf("%q was read as %d", s, got)
		}
	}
}

func insert[R any](ctx context.Context, db *warehouse.DB, table warehouse.EventTable[R], token string, rows []R) error {
	in := warehouse.NewEventInserter(db, table)
	b := in.Block(len(rows), 0)
	b.Add(rows...)
	return in.Insert(ctx, token, b)
}
