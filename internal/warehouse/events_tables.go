package warehouse

import (
	"slices"
	"time"
)

// EventKey is what each row of an event table has.
type EventKey struct {
	Epoch       time.Time // when the stream was made, in milliseconds
	Sequence    uint64    // the message's number in it
	PublishedAt time.Time // when the stream stored the message
	ArchivedAt  time.Time
	Raw         string // the message's data as JSON, without what is secret
}

// Amount is money, or none with an empty currency.
type Amount struct {
	Micros   int64 // millionths
	Currency string
}

// OrderEvent is a row of simline.order_events.
type OrderEvent struct {
	EventKey
	EventID                                     string
	OrderID, Supplier, Product, Account         string
	State, Certainty, Evidence                  string
	SupplierOrderID, SupplierOrderNumber        string
	ICCIDs                                      []string // the first is the row's iccid
	EID, PackageCode                            string
	Quantity                                    uint16
	Total, MaxTotal, Balance                    Amount
	ErrorKind, ErrorCode, ErrorMessage, Waiting string
	Attempt                                     uint32
	At, AcceptedAt, FirstSentAt                 time.Time
}

// Webhook is a row of simline.webhooks. Orders, SupplierOrders and Packages are
// parallel.
type Webhook struct {
	EventKey
	MessageID, Supplier, Account, Event, NotificationID string
	SentAt, ReceivedAt                                  time.Time
	ICCID, EID                                          string
	Cards, Orders, SupplierOrders, Packages             []string
	AlertType                                           uint8
	AlertValue                                          string
	OrderAmount, RefundAmount                           int64 // millionths
}

// Finding is a row of simline.findings.
type Finding struct {
	EventKey
	FindingID, Kind, Severity, Status           string
	Supplier, Account, OrderID, SupplierOrderID string
	ICCID, EID, TaskID, Window                  string
	Ours, Theirs                                string
	Amount                                      Amount
	FirstSeen, LastSeen                         time.Time
	Evidence, SuggestedAction                   string
}

// CDREvent is a row of simline.cdr_events.
type CDREvent struct {
	EventKey
	EventID, Kind, Account, File, SHA256                   string
	Size, Rows, Inserted, Known, Rejects, Conflicts, Bytes uint64
	WindowStart, WindowEnd, GeneratedAt, At                time.Time
}

// Audit is a row of simline.audit.
type Audit struct {
	EventKey
	Action, Target, Actor, Reason, Via string
	At                                 time.Time
}

// keyColumns are those of EventKey; of finds it in a row.
func keyColumns[R any](of func(*R) *EventKey) []eventColumn[R] {
	raw := stringColumn("raw", func(r *R) string { return of(r).Raw })
	raw.large = true
	return []eventColumn[R]{
		milliColumn("epoch", func(r *R) time.Time { return of(r).Epoch }),
		uintColumn("sequence", func(r *R) uint64 { return of(r).Sequence }),
		microColumn("published_at", func(r *R) time.Time { return of(r).PublishedAt }),
		microColumn("archived_at", func(r *R) time.Time { return of(r).ArchivedAt }),
		raw,
	}
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// OrderEvents is simline.order_events.
var OrderEvents = EventTable[OrderEvent]{"simline.order_events", slices.Concat(keyColumns(func(r *OrderEvent) *EventKey { return &r.EventKey }), []eventColumn[OrderEvent]{
	stringColumn("event_id", func(r *OrderEvent) string { return r.EventID }),
	stringColumn("order_id", func(r *OrderEvent) string { return r.OrderID }),
	stringColumn("supplier", func(r *OrderEvent) string { return r.Supplier }),
	stringColumn("product", func(r *OrderEvent) string { return r.Product }),
	stringColumn("account", func(r *OrderEvent) string { return r.Account }),
	stringColumn("state", func(r *OrderEvent) string { return r.State }),
	stringColumn("certainty", func(r *OrderEvent) string { return r.Certainty }),
	stringColumn("evidence", func(r *OrderEvent) string { return r.Evidence }),
	stringColumn("supplier_order_id", func(r *OrderEvent) string { return r.SupplierOrderID }),
	stringColumn("supplier_order_number", func(r *OrderEvent) string { return r.SupplierOrderNumber }),
	stringColumn("iccid", func(r *OrderEvent) string { return first(r.ICCIDs) }),
	stringsColumn("iccids", func(r *OrderEvent) []string { return r.ICCIDs }),
	stringColumn("eid", func(r *OrderEvent) string { return r.EID }),
	stringColumn("package_code", func(r *OrderEvent) string { return r.PackageCode }),
	uint16Column("quantity", func(r *OrderEvent) uint16 { return r.Quantity }),
	moneyColumn("total_amount", func(r *OrderEvent) int64 { return r.Total.Micros }),
	stringColumn("total_currency", func(r *OrderEvent) string { return r.Total.Currency }),
	moneyColumn("max_total_amount", func(r *OrderEvent) int64 { return r.MaxTotal.Micros }),
	stringColumn("max_total_currency", func(r *OrderEvent) string { return r.MaxTotal.Currency }),
	moneyColumn("balance_amount", func(r *OrderEvent) int64 { return r.Balance.Micros }),
	stringColumn("balance_currency", func(r *OrderEvent) string { return r.Balance.Currency }),
	stringColumn("error_kind", func(r *OrderEvent) string { return r.ErrorKind }),
	stringColumn("error_code", func(r *OrderEvent) string { return r.ErrorCode }),
	stringColumn("error_message", func(r *OrderEvent) string { return r.ErrorMessage }),
	stringColumn("waiting_for", func(r *OrderEvent) string { return r.Waiting }),
	uint32Column("attempt", func(r *OrderEvent) uint32 { return r.Attempt }),
	microColumn("at", func(r *OrderEvent) time.Time { return r.At }),
	microColumn("accepted_at", func(r *OrderEvent) time.Time { return r.AcceptedAt }),
	microColumn("first_sent_at", func(r *OrderEvent) time.Time { return r.FirstSentAt }),
})}

// Webhooks is simline.webhooks.
var Webhooks = EventTable[Webhook]{"simline.webhooks", slices.Concat(keyColumns(func(r *Webhook) *EventKey { return &r.EventKey }), []eventColumn[Webhook]{
	stringColumn("message_id", func(r *Webhook) string { return r.MessageID }),
	stringColumn("supplier", func(r *Webhook) string { return r.Supplier }),
	stringColumn("account", func(r *Webhook) string { return r.Account }),
	stringColumn("event", func(r *Webhook) string { return r.Event }),
	stringColumn("notification_id", func(r *Webhook) string { return r.NotificationID }),
	milliColumn("sent_at", func(r *Webhook) time.Time { return r.SentAt }),
	microColumn("received_at", func(r *Webhook) time.Time { return r.ReceivedAt }),
	stringColumn("iccid", func(r *Webhook) string { return r.ICCID }),
	stringColumn("eid", func(r *Webhook) string { return r.EID }),
	stringsColumn("cards", func(r *Webhook) []string { return r.Cards }),
	stringsColumn("order_ids", func(r *Webhook) []string { return r.Orders }),
	stringsColumn("supplier_order_ids", func(r *Webhook) []string { return r.SupplierOrders }),
	stringsColumn("package_codes", func(r *Webhook) []string { return r.Packages }),
	uint8Column("alert_type", func(r *Webhook) uint8 { return r.AlertType }),
	stringColumn("alert_value", func(r *Webhook) string { return r.AlertValue }),
	moneyColumn("order_amount", func(r *Webhook) int64 { return r.OrderAmount }),
	moneyColumn("refund_amount", func(r *Webhook) int64 { return r.RefundAmount }),
})}

// Findings is simline.findings.
var Findings = EventTable[Finding]{"simline.findings", slices.Concat(keyColumns(func(r *Finding) *EventKey { return &r.EventKey }), []eventColumn[Finding]{
	stringColumn("finding_id", func(r *Finding) string { return r.FindingID }),
	stringColumn("kind", func(r *Finding) string { return r.Kind }),
	stringColumn("severity", func(r *Finding) string { return r.Severity }),
	stringColumn("status", func(r *Finding) string { return r.Status }),
	stringColumn("supplier", func(r *Finding) string { return r.Supplier }),
	stringColumn("account", func(r *Finding) string { return r.Account }),
	stringColumn("order_id", func(r *Finding) string { return r.OrderID }),
	stringColumn("supplier_order_id", func(r *Finding) string { return r.SupplierOrderID }),
	stringColumn("iccid", func(r *Finding) string { return r.ICCID }),
	stringColumn("eid", func(r *Finding) string { return r.EID }),
	stringColumn("task_id", func(r *Finding) string { return r.TaskID }),
	stringColumn("window", func(r *Finding) string { return r.Window }),
	stringColumn("ours", func(r *Finding) string { return r.Ours }),
	stringColumn("theirs", func(r *Finding) string { return r.Theirs }),
	moneyColumn("amount", func(r *Finding) int64 { return r.Amount.Micros }),
	stringColumn("currency", func(r *Finding) string { return r.Amount.Currency }),
	milliColumn("first_seen", func(r *Finding) time.Time { return r.FirstSeen }),
	milliColumn("last_seen", func(r *Finding) time.Time { return r.LastSeen }),
	stringColumn("evidence", func(r *Finding) string { return r.Evidence }),
	stringColumn("suggested_action", func(r *Finding) string { return r.SuggestedAction }),
})}

// CDREvents is simline.cdr_events.
var CDREvents = EventTable[CDREvent]{"simline.cdr_events", slices.Concat(keyColumns(func(r *CDREvent) *EventKey { return &r.EventKey }), []eventColumn[CDREvent]{
	stringColumn("event_id", func(r *CDREvent) string { return r.EventID }),
	stringColumn("kind", func(r *CDREvent) string { return r.Kind }),
	stringColumn("account", func(r *CDREvent) string { return r.Account }),
	stringColumn("file", func(r *CDREvent) string { return r.File }),
	uintColumn("size", func(r *CDREvent) uint64 { return r.Size }),
	stringColumn("sha256", func(r *CDREvent) string { return r.SHA256 }),
	secondColumn("window_start", func(r *CDREvent) time.Time { return r.WindowStart }),
	secondColumn("window_end", func(r *CDREvent) time.Time { return r.WindowEnd }),
	secondColumn("generated_at", func(r *CDREvent) time.Time { return r.GeneratedAt }),
	uintColumn("rows", func(r *CDREvent) uint64 { return r.Rows }),
	uintColumn("inserted", func(r *CDREvent) uint64 { return r.Inserted }),
	uintColumn("known", func(r *CDREvent) uint64 { return r.Known }),
	uintColumn("rejects", func(r *CDREvent) uint64 { return r.Rejects }),
	uintColumn("conflicts", func(r *CDREvent) uint64 { return r.Conflicts }),
	uintColumn("bytes", func(r *CDREvent) uint64 { return r.Bytes }),
	microColumn("at", func(r *CDREvent) time.Time { return r.At }),
})}

// Audits is simline.audit.
var Audits = EventTable[Audit]{"simline.audit", slices.Concat(keyColumns(func(r *Audit) *EventKey { return &r.EventKey }), []eventColumn[Audit]{
	stringColumn("action", func(r *Audit) string { return r.Action }),
	stringColumn("target", func(r *Audit) string { return r.Target }),
	stringColumn("actor", func(r *Audit) string { return r.Actor }),
	stringColumn("reason", func(r *Audit) string { return r.Reason }),
	stringColumn("via", func(r *Audit) string { return r.Via }),
	milliColumn("at", func(r *Audit) time.Time { return r.At }),
})}
