package wire

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/simline/simline/internal/order"
)

// Meta is what came around a message's data.
type Meta struct {
	ID          string    // CloudEvents id, empty for a bare message
	Time        time.Time // CloudEvents time, zero for a bare message
	TraceParent string
}

// DecodeRequest reads an order request, bare or as CloudEvents, and writes it in
// one form, so that the same request always hashes the same: the account
// defaults to "default", esimfly's quantity to 1, times are UTC. What is null is
// absent; a quantity or account that is given and empty is refused, not guessed.
// Its error is an *Error.
func DecodeRequest(b []byte) (order.Request, Meta, error) {
	var in requestIn
	if in.quick(b) {
		r, err := in.request()
		return r, Meta{}, err
	}
	return decodeRequest(b)
}

// decodeRequest is DecodeRequest of what quick does not know.
func decodeRequest(b []byte) (order.Request, Meta, error) {
	d, err := open(b)
	if err != nil {
		return order.Request{}, d.meta(), err
	}
	var in requestIn
	if err := d.decode(&in); err != nil {
		return in.Request, d.meta(), err
	}
	r, err := in.request()
	return r, d.meta(), err
}

// request is what came in its one form, or what is wrong with it.
func (in *requestIn) request() (order.Request, error) {
	r := in.Request
	r.Account = order.DefaultAccount
	if in.Account != nil {
		r.Account = *in.Account
	}
	if in.Quantity != nil {
		if r.Quantity = *in.Quantity; r.Quantity == 0 {
			return r, schemaError("quantity is 0")
		}
	}
	if in.DurationDays != nil {
		if r.DurationDays = *in.DurationDays; r.DurationDays == 0 {
			return r, schemaError("duration_days is 0")
		}
	}
	if r.Supplier == order.ESIMFly && r.Product == order.ProductESIM && r.Quantity == 0 {
		r.Quantity = 1
	}
	if r.ExpiresAt != nil {
		if err := checkTime("expires_at", *r.ExpiresAt); err != nil {
			return r, schemaError("%v", err)
		}
		utc := r.ExpiresAt.UTC()
		r.ExpiresAt = &utc
	}
	var err error
	if r.Metadata, err = canonicalObject(r.Metadata); err != nil {
		return r, err
	}
	if len(r.Metadata) > order.MaxMetadata {
		return r, &Error{Reason: ReasonTooLarge, Text: fmt.Sprintf("metadata is %d bytes, over %d", len(r.Metadata), order.MaxMetadata)}
	}
	if slices.Contains(order.Suppliers, r.Supplier) && !slices.Contains(order.Products(r.Supplier), r.Product) {
		return r, &Error{Reason: ReasonUnknownProduct, Text: "supplier " + r.Supplier + " has no product " + quoteShort(r.Product)}
	}
	if err := r.Validate(); err != nil {
		return r, schemaError("%v", err)
	}
	return r, nil
}

// canonicalObject checks that raw is an object (or absent, or null) and sorts
// its names, so that two spellings of one object hash alike.
func canonicalObject(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 || string(raw) == "null" || string(raw) == "{}" {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v map[string]any
	if err := dec.Decode(&v); err != nil {
		return nil, schemaError("metadata is not an object: %v", err)
	}
	if len(v) == 0 {
		return nil, nil
	}
	out, err := json.Marshal(v)
	if err != nil {
		return nil, schemaError("metadata: %v", err)
	}
	return out, nil
}

func quoteShort(s string) string {
	return fmt.Sprintf("%.32q", s)
}

// Cancel withdraws an order that has not been placed.
type Cancel struct {
	OrderID string `json:"order_id"`
	Account string `json:"account,omitempty"` // empty means "default"
	Reason  string `json:"reason,omitempty"`
}

// DecodeCancel reads a cancel, bare or as CloudEvents.
func DecodeCancel(b []byte) (Cancel, Meta, error) {
	var c Cancel
	meta, err := decodeInto(b, &c)
	return c, meta, err
}

func (c *Cancel) fill() { c.Account = cmp.Or(c.Account, order.DefaultAccount) }

// Validate says what is wrong with a cancel.
func (c *Cancel) Validate() error {
	switch {
	case !order.ValidID(c.OrderID):
		return fmt.Errorf("order_id %.40q is not 1 to 32 of A-Z, a-z, 0-9, _ and -", c.OrderID)
	case !order.ValidAccount(c.Account):
		return fmt.Errorf("account %.40q is not a name", c.Account)
	}
	return checkTexts(map[string]string{"reason": c.Reason})
}

// Evidence is what someone learnt about an order outside of orderer's own calls.
type Evidence struct {
	OrderID             string          `json:"order_id"`
	Supplier            string          `json:"supplier"`
	Account             string          `json:"account"`
	Source              order.Evidence  `json:"source"` // lookup, notification or person
	Certainty           order.Certainty `json:"certainty"`
	SupplierOrderID     string          `json:"supplier_order_id,omitempty"`
	SupplierOrderNumber string          `json:"supplier_order_number,omitempty"`
	// StateThere is the order's state at the supplier in our words: placed,
	// fulfilled, refunded, rejected; empty if only its existence was seen.
	StateThere string       `json:"state_there,omitempty"`
	ESIMs      []order.ESIM `json:"esims,omitempty"`
	Total      *order.Money `json:"total,omitempty"`
	ObservedAt time.Time    `json:"observed_at"`
	// SendAgain is a person's: the order was not placed and is to be sent again.
	SendAgain bool `json:"send_again,omitempty"`
	// Actor and Reason are a person's, and required of one: they are the audit.
	Actor  string `json:"actor,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// DecodeEvidence reads evidence in its CloudEvents form, or bare.
func DecodeEvidence(b []byte) (Evidence, Meta, error) {
	var ev Evidence
	meta, err := decodeInto(b, &ev)
	return ev, meta, err
}

func (ev *Evidence) fill() { ev.Account = cmp.Or(ev.Account, order.DefaultAccount) }

// Validate says what is wrong with a piece of evidence.
func (ev *Evidence) Validate() error {
	switch {
	case !order.ValidID(ev.OrderID):
		return fmt.Errorf("order_id %.40q is not an order id", ev.OrderID)
	case !slices.Contains(order.Suppliers, ev.Supplier):
		return fmt.Errorf("supplier %.40q is not known", ev.Supplier)
	case !order.ValidAccount(ev.Account):
		return fmt.Errorf("account %.40q is not a name", ev.Account)
	case !slices.Contains(evidenceSources, ev.Source):
		return fmt.Errorf("source %.40q is not lookup, notification or person", ev.Source)
	case !slices.Contains(certainties, ev.Certainty):
		return fmt.Errorf("certainty %.40q is not placed, not_placed or unknown", ev.Certainty)
	case !slices.Contains(statesThere, ev.StateThere):
		return fmt.Errorf("state_there %.40q is not placed, fulfilled, refunded or rejected", ev.StateThere)
	case ev.Source == order.EvidencePerson && (ev.Actor == "" || ev.Reason == ""):
		return errors.New("a person's word needs actor and reason: they are the audit")
	}
	texts := map[string]string{"supplier_order_id": ev.SupplierOrderID, "supplier_order_number": ev.SupplierOrderNumber, "actor": ev.Actor, "reason": ev.Reason}
	if err := checkTexts(texts); err != nil {
		return err
	}
	return checkTime("observed_at", ev.ObservedAt)
}

var (
	evidenceSources = []order.Evidence{order.EvidenceLookup, order.EvidenceNotification, order.EvidencePerson}
	certainties     = []order.Certainty{order.CertainPlaced, order.CertainNotPlaced, order.CertainUnknown}
	statesThere     = []string{"", string(order.Placed), string(order.Fulfilled), string(order.Refunded), string(order.Rejected)}
)

// ReadOrderEvent reads the record of an event of the ledger, for who reads very
// many: what orderer alone writes need not be checked as what upstream sends.
func ReadOrderEvent(b []byte) (order.Record, error) {
	var e struct {
		Data *order.Record `json:"data"`
	}
	if err := json.Unmarshal(b, &e); err != nil {
		return order.Record{}, schemaError("order event: %v", err)
	}
	if e.Data == nil {
		return order.Record{}, schemaError("order event without data")
	}
	return *e.Data, nil
}

// DecodeOrderEvent reads one event of ORDER_EVENTS.
func DecodeOrderEvent(b []byte) (order.Record, Meta, error) {
	env, err := ParseEnvelope(b)
	if err != nil {
		return order.Record{}, Meta{}, err
	}
	d := document{env: env}
	var r order.Record
	if err := json.Unmarshal(env.Data, &r); err != nil {
		return r, d.meta(), schemaError("order event: %v", err)
	}
	return r, d.meta(), nil
}
