package wire

import (
	"bytes"
	"encoding/json"
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

func metaOf(e Envelope) Meta { return Meta{ID: e.ID, Time: e.Time, TraceParent: e.TraceParent} }

// DecodeRequest reads an order request, bare or as CloudEvents. The account
// defaults to "default" and esimfly's quantity to 1, so that the same request
// always hashes the same. Its error is an *Error.
func DecodeRequest(b []byte) (order.Request, Meta, error) {
	data, env, err := payload(b)
	if err != nil {
		return order.Request{}, Meta{}, err
	}
	var r order.Request
	if err := decodeStrict(data, &r); err != nil {
		return r, metaOf(env), err
	}
	if r.Account == "" {
		r.Account = order.DefaultAccount
	}
	if r.Supplier == order.ESIMFly && r.Product == order.ProductESIM && r.Quantity == 0 {
		r.Quantity = 1
	}
	if r.Metadata, err = canonicalObject(r.Metadata); err != nil {
		return r, metaOf(env), err
	}
	if slices.Contains(order.Suppliers, r.Supplier) && !slices.Contains(order.Products(r.Supplier), r.Product) {
		return r, metaOf(env), &Error{Reason: ReasonUnknownProduct, Text: "supplier " + r.Supplier + " has no product " + quoteShort(r.Product)}
	}
	if err := r.Validate(); err != nil {
		return r, metaOf(env), schemaError("%v", err)
	}
	return r, metaOf(env), nil
}

// canonicalObject checks that raw is an object (or absent, or null) and sorts
// its names, so that two spellings of one object hash alike.
func canonicalObject(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
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
	b, _ := json.Marshal(s[:min(len(s), 32)])
	return string(b)
}

// Cancel withdraws an order that has not been placed.
type Cancel struct {
	OrderID string `json:"order_id"`
	Account string `json:"account,omitempty"` // empty means "default"
	Reason  string `json:"reason,omitempty"`
}

// DecodeCancel reads a cancel, bare or as CloudEvents.
func DecodeCancel(b []byte) (Cancel, Meta, error) {
	data, env, err := payload(b)
	if err != nil {
		return Cancel{}, Meta{}, err
	}
	var c Cancel
	if err := decodeStrict(data, &c); err != nil {
		return c, metaOf(env), err
	}
	if c.Account == "" {
		c.Account = order.DefaultAccount
	}
	switch {
	case !order.ValidID(c.OrderID):
		return c, metaOf(env), schemaError("order_id %.40q is not 1 to 32 of A-Z, a-z, 0-9, _ and -", c.OrderID)
	case !order.ValidAccount(c.Account):
		return c, metaOf(env), schemaError("account %.40q is not a name", c.Account)
	case len(c.Reason) > 1000:
		return c, metaOf(env), schemaError("reason is over 1000 bytes")
	}
	return c, metaOf(env), nil
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
	// Actor and Reason are a person's, for the audit.
	Actor  string `json:"actor,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// DecodeEvidence reads evidence in its CloudEvents form, or bare.
func DecodeEvidence(b []byte) (Evidence, Meta, error) {
	data, env, err := payload(b)
	if err != nil {
		return Evidence{}, Meta{}, err
	}
	var ev Evidence
	if err := decodeStrict(data, &ev); err != nil {
		return ev, metaOf(env), err
	}
	switch {
	case !order.ValidID(ev.OrderID):
		err = schemaError("order_id %.40q is not an order id", ev.OrderID)
	case !slices.Contains(order.Suppliers, ev.Supplier):
		err = schemaError("supplier %.40q is not known", ev.Supplier)
	case !slices.Contains([]order.Evidence{order.EvidenceLookup, order.EvidenceNotification, order.EvidencePerson}, ev.Source):
		err = schemaError("source %.40q is not lookup, notification or person", ev.Source)
	case !slices.Contains([]order.Certainty{order.CertainPlaced, order.CertainNotPlaced, order.CertainUnknown}, ev.Certainty):
		err = schemaError("certainty %.40q is not placed, not_placed or unknown", ev.Certainty)
	case ev.ObservedAt.IsZero():
		err = schemaError("observed_at is missing")
	}
	return ev, metaOf(env), err
}

// DecodeOrderEvent reads one event of ORDER_EVENTS.
func DecodeOrderEvent(b []byte) (order.Record, Meta, error) {
	env, err := ParseEnvelope(b)
	if err != nil {
		return order.Record{}, Meta{}, err
	}
	var r order.Record
	if err := json.Unmarshal(env.Data, &r); err != nil {
		return r, metaOf(env), schemaError("order event: %v", err)
	}
	return r, metaOf(env), nil
}
