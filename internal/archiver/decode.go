package archiver

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

// record is one message as it came off its stream.
type record struct {
	subject     string
	header      nats.Header
	messageID   string // Nats-Msg-Id
	sequence    uint64
	publishedAt time.Time
	data        []byte
	ack         func() error // this and all before it
}

func (m record) key(epoch, now time.Time, data json.RawMessage) warehouse.EventKey {
	return warehouse.EventKey{Epoch: epoch, Sequence: m.sequence, PublishedAt: m.publishedAt, ArchivedAt: now, Raw: redact(data)}
}

// envelope is what we need of a CloudEvents event. The streams hold only what
// our own workers published, so it is read once and without wire's strictness;
// what cannot be read at all is set aside.
type envelope struct {
	ID   string          `json:"id"`
	Time time.Time       `json:"time"`
	Data json.RawMessage `json:"data"`
}

// open reads the envelope of m and its data into v, unless v is nil.
func (m record) open(v any) (envelope, error) {
	var env envelope
	if err := json.Unmarshal(m.data, &env); err != nil {
		return env, &wire.Error{Reason: wire.ReasonMalformed, Text: err.Error()}
	}
	if len(env.Data) == 0 || env.Data[0] != '{' {
		return env, &wire.Error{Reason: wire.ReasonSchema, Text: "no CloudEvents data"}
	}
	if v == nil {
		return env, nil
	}
	if err := json.Unmarshal(env.Data, v); err != nil {
		return env, &wire.Error{Reason: wire.ReasonSchema, Text: err.Error()}
	}
	return env, nil
}

func decodeOrder(m record, epoch, now time.Time) (warehouse.OrderEvent, error) {
	var r order.Record
	env, err := m.open(&r)
	if err != nil {
		return warehouse.OrderEvent{}, err
	}
	if r.OrderID == "" || !r.State.Valid() {
		return warehouse.OrderEvent{}, &wire.Error{Reason: wire.ReasonSchema, Text: "no order event"}
	}
	e := warehouse.OrderEvent{
		EventKey: m.key(epoch, now, env.Data), EventID: env.ID,
		OrderID: r.OrderID, Supplier: r.Supplier, Product: r.Product, Account: r.Account,
		State: string(r.State), Certainty: string(r.Certainty), Evidence: string(r.Evidence),
		SupplierOrderID: r.SupplierOrderID, SupplierOrderNumber: r.SupplierOrderNumber,
		EID: r.Request.EID, Quantity: uint16(max(1, min(r.Request.Quantity, 1000))),
		PackageCode: firstOf(r.Request.PackageCode, r.Request.GoodsCode, r.Request.PoolTypeCode),
		Total:       amount(r.Total), MaxTotal: amount(r.Request.MaxTotal), Balance: amount(r.Balance),
		Waiting: r.WaitingFor, Attempt: uint32(max(0, r.Attempt)), At: r.At, AcceptedAt: r.AcceptedAt,
	}
	if r.FirstSentAt != nil {
		e.FirstSentAt = *r.FirstSentAt
	}
	if r.Error != nil {
		e.ErrorKind, e.ErrorCode, e.ErrorMessage = r.Error.Kind, r.Error.Code, redactText(r.Error.Message)
	}
	if r.Request.ICCID != "" {
		e.ICCIDs = append(e.ICCIDs, r.Request.ICCID)
	}
	for _, s := range r.ESIMs {
		if s.ICCID != "" && s.ICCID != r.Request.ICCID {
			e.ICCIDs = append(e.ICCIDs, s.ICCID)
		}
	}
	return e, nil
}

// decodeWebhook reads a notification. One whose data cannot be read is kept all
// the same, with the common fields that could be.
func decodeWebhook(m record, epoch, now time.Time) (warehouse.Webhook, error) {
	env, err := m.open(nil)
	if err != nil {
		return warehouse.Webhook{}, err
	}
	tokens := strings.Split(m.subject, ".")
	if len(tokens) != 5 {
		return warehouse.Webhook{}, &wire.Error{Reason: wire.ReasonMismatch, Text: "subject is not webhooks.v1.<supplier>.<account>.<event>"}
	}
	n, _ := eiotclub.ParseNotification(env.Data) // what could be read of it
	// By the supplier's own id, whatever it was published under: a repeat of years
	// later is the same notification.
	id := firstOf(m.messageID, env.ID)
	if n.ID != "" {
		id = tokens[2] + ":" + tokens[3] + ":" + n.ID
	}
	w := warehouse.Webhook{
		EventKey: m.key(epoch, now, env.Data), MessageID: id,
		Supplier: tokens[2], Account: tokens[3], Event: tokens[4],
		NotificationID: n.ID, SentAt: n.Timestamp, ReceivedAt: env.Time, ICCID: n.ICCID, EID: n.EID,
		AlertType: uint8(max(0, min(n.AlertType, 255))), AlertValue: n.AlertValue,
	}
	card := func(id string) {
		if id != "" {
			w.Cards = append(w.Cards, id)
		}
	}
	for _, o := range n.Orders() {
		w.Orders = append(w.Orders, o.OutTradeNo)
		w.SupplierOrders = append(w.SupplierOrders, o.SupplierOrderID)
		w.Packages = append(w.Packages, o.PackageCode)
		card(firstOf(o.ICCID, o.EID))
		w.ICCID, w.EID = firstOf(w.ICCID, o.ICCID), firstOf(w.EID, o.EID)
	}
	for _, p := range n.Products {
		card(firstOf(string(p.ICCID), string(p.EID)))
		w.ICCID, w.EID = firstOf(w.ICCID, string(p.ICCID)), firstOf(w.EID, string(p.EID))
	}
	if len(w.Cards) == 0 {
		card(n.ICCID)
		card(n.EID)
	}
	if n.Refund != nil {
		w.OrderAmount, w.RefundAmount = plainAmount(n.Refund.OrderAmount), plainAmount(n.Refund.RefundAmount)
	}
	return w, nil
}

func decodeFinding(m record, epoch, now time.Time) (warehouse.Finding, error) {
	var f wire.Finding
	env, err := m.open(&f)
	if err != nil {
		return warehouse.Finding{}, err
	}
	if f.FindingID == "" {
		return warehouse.Finding{}, &wire.Error{Reason: wire.ReasonSchema, Text: "no finding"}
	}
	return warehouse.Finding{
		EventKey: m.key(epoch, now, env.Data), FindingID: f.FindingID, Kind: f.Kind, Severity: f.Severity, Status: f.Status,
		Supplier: f.Supplier, Account: f.Account, OrderID: f.OrderID, SupplierOrderID: f.SupplierOrderID,
		ICCID: f.ICCID, EID: f.EID, TaskID: f.TaskID, Window: f.Window, Ours: redact(f.Ours), Theirs: redact(f.Theirs),
		Amount: amount(f.Amount), FirstSeen: f.FirstSeen, LastSeen: f.LastSeen, Evidence: redactText(f.Evidence), SuggestedAction: f.SuggestedAction,
	}, nil
}

func decodeCDREvent(m record, epoch, now time.Time) (warehouse.CDREvent, error) {
	if strings.HasPrefix(m.subject, bus.SubjectCDRGap("")) {
		var g wire.CDRGap
		env, err := m.open(&g)
		if err != nil {
			return warehouse.CDREvent{}, err
		}
		return warehouse.CDREvent{EventKey: m.key(epoch, now, env.Data), EventID: env.ID, Kind: "gap",
			Account: g.Account, WindowStart: g.WindowStart, WindowEnd: g.WindowEnd, At: g.Since}, nil
	}
	var l wire.CDRLoaded
	env, err := m.open(&l)
	if err != nil {
		return warehouse.CDREvent{}, err
	}
	return warehouse.CDREvent{EventKey: m.key(epoch, now, env.Data), EventID: env.ID, Kind: "loaded",
		Account: l.Account, File: l.File, SHA256: l.SHA256, Size: count(l.Size),
		WindowStart: l.WindowStart, WindowEnd: l.WindowEnd, GeneratedAt: l.GeneratedAt, At: l.LoadedAt,
		Rows: count(l.Rows), Inserted: count(l.Inserted), Known: count(l.Known), Rejects: count(l.Rejects),
		Conflicts: count(l.Conflicts), Bytes: count(l.Bytes)}, nil
}

func count(n int64) uint64 { return uint64(max(0, n)) }

func amount(m *order.Money) warehouse.Amount {
	if m == nil {
		return warehouse.Amount{}
	}
	return warehouse.Amount{Value: m.Amount, Currency: m.Currency}
}

// plainAmount reads a supplier's decimal string; 0 if it is none, the raw
// notification stands beside it.
func plainAmount(s string) decimal.Decimal {
	m, err := order.NewMoney(s, "XXX")
	if err != nil {
		return decimal.Zero
	}
	return m.Amount
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}
