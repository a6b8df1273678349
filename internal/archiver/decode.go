package archiver

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

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
	pending     uint64 // messages behind it when it was sent
	data        string
	ack         func() error // this and all before it
}

func (m record) key(epoch, now time.Time, data string) warehouse.EventKey {
	return warehouse.EventKey{Epoch: epoch, Sequence: m.sequence, PublishedAt: m.publishedAt, ArchivedAt: now, Raw: redact(data)}
}

// envelope is what we need of a CloudEvents event. The streams hold only what
// our own workers published, so it is read once and without wire's strictness;
// what cannot be read at all is set aside.
type envelope struct {
	id   string
	time time.Time
	data string
}

// field takes in a member.
func (e *envelope) field(name, v string) (err error) {
	switch name {
	case "id":
		e.id, err = text(v)
	case "time":
		e.time, err = moment(v)
	case "data":
		e.data = v
	}
	return err
}

// open reads the envelope of m.
func (m record) open() (env envelope, err error) {
	err = walkObject(strings.Trim(m.data, " \t\r\n"), env.field)
	switch {
	case err != nil:
		return env, &wire.Error{Reason: wire.ReasonMalformed, Text: err.Error()}
	case len(env.data) == 0 || env.data[0] != '{':
		return env, &wire.Error{Reason: wire.ReasonSchema, Text: "no CloudEvents data"}
	}
	return env, nil
}

// read unmarshals the data into v; for what is rare.
func (e envelope) read(v any) error {
	if err := json.Unmarshal([]byte(e.data), v); err != nil {
		return &wire.Error{Reason: wire.ReasonSchema, Text: err.Error()}
	}
	return nil
}

// openOurs reads the envelope of m if it is as wire.Envelope writes it, with the
// data at its end. The data is not looked into: who reads it must read to its end,
// since something else might stand behind it.
func (m record) openOurs() (env envelope, ok bool) {
	s := strings.Trim(m.data, " \t\r\n")
	const before = `,"data":` // within a string its quotes would be escaped
	i := strings.Index(s, before+"{")
	if i < 0 || s[len(s)-1] != '}' {
		return env, false
	}
	err := walkMembers(s[:i+1], env.field)
	env.data = s[i+len(before) : len(s)-1]
	return env, err == nil
}

// decodeOrder reads order.Record where it lies: order events are most of what is
// archived. A test holds it to encoding/json's reading.
func decodeOrder(m record, epoch, now time.Time) (e warehouse.OrderEvent, err error) {
	env, ours := m.openOurs()
	if ours {
		err = readOrder(&e, env.data)
	}
	if !ours || err != nil {
		if env, err = m.open(); err != nil {
			return e, err
		}
		if err = readOrder(&e, env.data); err != nil {
			return e, err
		}
	}
	e.EventKey, e.EventID = m.key(epoch, now, env.data), env.id
	return e, nil
}

func readOrder(e *warehouse.OrderEvent, data string) error {
	*e = warehouse.OrderEvent{Quantity: 1}
	if err := walkObject(data, func(name, v string) error { return orderField(e, name, v) }); err != nil {
		return &wire.Error{Reason: wire.ReasonSchema, Text: err.Error()}
	}
	if e.OrderID == "" || !order.State(e.State).Valid() {
		return &wire.Error{Reason: wire.ReasonSchema, Text: "no order event"}
	}
	return nil
}

func orderField(e *warehouse.OrderEvent, name, v string) (err error) {
	switch name {
	case "order_id":
		return into(&e.OrderID, v)
	case "supplier":
		return into(&e.Supplier, v)
	case "product":
		return into(&e.Product, v)
	case "account":
		return into(&e.Account, v)
	case "state":
		return into(&e.State, v)
	case "certainty":
		return into(&e.Certainty, v)
	case "evidence":
		return into(&e.Evidence, v)
	case "supplier_order_id":
		return into(&e.SupplierOrderID, v)
	case "supplier_order_number":
		return into(&e.SupplierOrderNumber, v)
	case "waiting_for":
		return into(&e.Waiting, v)
	case "total":
		e.Total, err = moneyOf(v)
	case "balance":
		e.Balance, err = moneyOf(v)
	case "at":
		e.At, err = moment(v)
	case "accepted_at":
		e.AcceptedAt, err = moment(v)
	case "first_sent_at":
		e.FirstSentAt, err = moment(v)
	case "attempt":
		var n int64
		n, err = whole(v)
		e.Attempt = uint32(max(0, min(n, math.MaxUint32)))
	case "error":
		return orderError(e, v)
	case "esims":
		return walkList(v, func(v string) error {
			return walkObject(v, func(name, v string) error {
				if name != "iccid" {
					return nil
				}
				return addCard(e, v)
			})
		})
	case "request":
		return walkObject(v, func(name, v string) error { return requestField(e, name, v) })
	}
	return err
}

func orderError(e *warehouse.OrderEvent, v string) error {
	if v == "null" {
		return nil
	}
	return walkObject(v, func(name, v string) (err error) {
		switch name {
		case "kind":
			return into(&e.ErrorKind, v)
		case "code":
			return into(&e.ErrorCode, v)
		case "message":
			err = into(&e.ErrorMessage, v)
			e.ErrorMessage = redactText(e.ErrorMessage)
		}
		return err
	})
}

func requestField(e *warehouse.OrderEvent, name, v string) (err error) {
	switch name {
	case "iccid":
		// The card that the order is for stands first, wherever it was written.
		cards := e.ICCIDs
		e.ICCIDs = nil
		err = addCard(e, v)
		for _, c := range cards {
			if !slices.Contains(e.ICCIDs, c) {
				e.ICCIDs = append(e.ICCIDs, c)
			}
		}
	case "eid":
		return into(&e.EID, v)
	case "package_code", "goods_code", "pool_type_code":
		var s string
		if s, err = text(v); s != "" && (e.PackageCode == "" || name == "package_code") {
			e.PackageCode = s
		}
	case "quantity":
		var n int64
		n, err = whole(v)
		e.Quantity = uint16(max(1, min(n, 1000)))
	case "max_total":
		e.MaxTotal, err = moneyOf(v)
	}
	return err
}

func addCard(e *warehouse.OrderEvent, v string) error {
	s, err := text(v)
	if err == nil && s != "" && !slices.Contains(e.ICCIDs, s) {
		e.ICCIDs = append(e.ICCIDs, s)
	}
	return err
}

// decodeWebhook reads a notification. One whose data cannot be read is kept all
// the same, with the common fields that could be.
func decodeWebhook(m record, epoch, now time.Time) (warehouse.Webhook, error) {
	env, err := m.open()
	if err != nil {
		return warehouse.Webhook{}, err
	}
	tokens := strings.Split(m.subject, ".")
	if len(tokens) != 5 {
		return warehouse.Webhook{}, &wire.Error{Reason: wire.ReasonMismatch, Text: "subject is not webhooks.v1.<supplier>.<account>.<event>"}
	}
	n, _ := eiotclub.ParseNotification([]byte(env.data)) // what could be read of it
	// By the supplier's own id, whatever it was published under: a repeat of years
	// later is the same notification.
	id := firstOf(m.messageID, env.id)
	if n.ID != "" {
		id = tokens[2] + ":" + tokens[3] + ":" + n.ID
	}
	w := warehouse.Webhook{
		EventKey: m.key(epoch, now, env.data), MessageID: id,
		Supplier: tokens[2], Account: tokens[3], Event: tokens[4],
		NotificationID: n.ID, SentAt: n.Timestamp, ReceivedAt: env.time, ICCID: n.ICCID, EID: n.EID,
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
	env, err := m.open()
	if err != nil {
		return warehouse.Finding{}, err
	}
	var f wire.Finding
	if err := env.read(&f); err != nil {
		return warehouse.Finding{}, err
	}
	if f.FindingID == "" {
		return warehouse.Finding{}, &wire.Error{Reason: wire.ReasonSchema, Text: "no finding"}
	}
	return warehouse.Finding{
		EventKey: m.key(epoch, now, env.data), FindingID: f.FindingID, Kind: f.Kind, Severity: f.Severity, Status: f.Status,
		Supplier: f.Supplier, Account: f.Account, OrderID: f.OrderID, SupplierOrderID: f.SupplierOrderID,
		ICCID: f.ICCID, EID: f.EID, TaskID: f.TaskID, Window: f.Window, Ours: redact(string(f.Ours)), Theirs: redact(string(f.Theirs)),
		Amount: amount(f.Amount), FirstSeen: f.FirstSeen, LastSeen: f.LastSeen, Evidence: redactText(f.Evidence), SuggestedAction: f.SuggestedAction,
	}, nil
}

func decodeCDREvent(m record, epoch, now time.Time) (warehouse.CDREvent, error) {
	env, err := m.open()
	if err != nil {
		return warehouse.CDREvent{}, err
	}
	if strings.HasPrefix(m.subject, bus.SubjectCDRGap("")) {
		var g wire.CDRGap
		if err := env.read(&g); err != nil {
			return warehouse.CDREvent{}, err
		}
		return warehouse.CDREvent{EventKey: m.key(epoch, now, env.data), EventID: env.id, Kind: "gap",
			Account: g.Account, WindowStart: g.WindowStart, WindowEnd: g.WindowEnd, At: g.Since}, nil
	}
	var l wire.CDRLoaded
	if err := env.read(&l); err != nil {
		return warehouse.CDREvent{}, err
	}
	return warehouse.CDREvent{EventKey: m.key(epoch, now, env.data), EventID: env.id, Kind: "loaded",
		Account: l.Account, File: l.File, SHA256: l.SHA256, Size: count(l.Size),
		WindowStart: l.WindowStart, WindowEnd: l.WindowEnd, GeneratedAt: l.GeneratedAt, At: l.LoadedAt,
		Rows: count(l.Rows), Inserted: count(l.Inserted), Known: count(l.Known), Rejects: count(l.Rejects),
		Conflicts: count(l.Conflicts), Bytes: count(l.Bytes)}, nil
}

func decodeAudit(m record, epoch, now time.Time) (warehouse.Audit, error) {
	env, err := m.open()
	if err != nil {
		return warehouse.Audit{}, err
	}
	var a wire.Audit
	if err := env.read(&a); err != nil {
		return warehouse.Audit{}, err
	}
	if a.Action == "" || a.Actor == "" {
		return warehouse.Audit{}, &wire.Error{Reason: wire.ReasonSchema, Text: "no audit record"}
	}
	return warehouse.Audit{EventKey: m.key(epoch, now, env.data), Action: a.Action, Target: a.Target, Actor: a.Actor,
		Reason: redactText(a.Reason), Via: a.Via, At: a.At}, nil
}

func count(n int64) uint64 { return uint64(max(0, n)) }

func amount(m *order.Money) warehouse.Amount {
	if m == nil {
		return warehouse.Amount{}
	}
	return warehouse.Amount{Micros: m.Amount.Shift(6).IntPart(), Currency: m.Currency}
}

// plainAmount reads a supplier's decimal string; 0 if it is none, the raw
// notification stands beside it.
func plainAmount(s string) int64 {
	micros, _ := warehouse.ParseMicros(s)
	return micros
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}
