package order

import "time"

// Record is the whole of an order after one of its events: the data of
// simline.order.<state>.v1, and what the engine needs to go on from it alone.
type Record struct {
	OrderID   string    `json:"order_id"`
	Supplier  string    `json:"supplier"`
	Product   string    `json:"product"`
	Account   string    `json:"account"`
	State     State     `json:"state"`
	Certainty Certainty `json:"certainty"`
	Evidence  Evidence  `json:"evidence,omitempty"`

	// SupplierOrderID is orderId (package, eSIM), eshopOrderId (cloud eSIM),
	// order_no (pool), orderReference (eSIMfly).
	SupplierOrderID     string `json:"supplier_order_id,omitempty"`
	SupplierOrderNumber string `json:"supplier_order_number,omitempty"` // orderNumber; package only
	ESIMs               []ESIM `json:"esims,omitempty"`
	Total               *Money `json:"total,omitempty"`   // what it cost, if the supplier said
	Balance             *Money `json:"balance,omitempty"` // the account's balance after it, if the supplier said
	Error               *Error `json:"error,omitempty"`   // why it stands where it stands

	// Attempt counts the calls that place the order, 0 before the first.
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"` // when the state was decided, UTC

	// What follows lets any worker take the order up where another left it.

	Request     Request `json:"request"`
	RequestHash string  `json:"request_hash"`
	// SupplierRequestID is what the call carried as its idempotency key:
	// outTradeNo (EIOTCLUB), RT-RequestID (eSIMfly).
	SupplierRequestID string `json:"supplier_request_id,omitempty"`
	// Round grows only after a certain refusal and is part of eSIMfly's id.
	Round int `json:"round,omitempty"`
	// Writer is the token of the worker's write; it tells a lost acknowledgement
	// of our own write from another worker's.
	Writer string `json:"writer,omitempty"`
	// NotBefore: nothing is done with the order before this moment.
	NotBefore *time.Time `json:"not_before,omitempty"`
	// WaitingFor says what a waiting order waits for: an error kind, "switch",
	// "breaker", "budget", "spend_limit", "card" or "ledger".
	WaitingFor string `json:"waiting_for,omitempty"`
	// AcceptedAt is when the request was first seen; FirstSentAt and LastSentAt
	// bound the calls that may have placed it.
	AcceptedAt  time.Time  `json:"accepted_at"`
	FirstSentAt *time.Time `json:"first_sent_at,omitempty"`
	LastSentAt  *time.Time `json:"last_sent_at,omitempty"`
	// InDoubt: an earlier call may have placed the order and nothing has settled
	// it; no refusal of a later call proves that it was not placed.
	InDoubt bool `json:"in_doubt,omitempty"`
	// Resends counts the calls that were made while the order was in doubt.
	Resends int `json:"resends,omitempty"`
	// CancelRequested: upstream withdrew the order while it could not be cancelled
	// yet; it is not sent again.
	CancelRequested bool `json:"cancel_requested,omitempty"`
	// SpendReserved counts against the account's daily limit of SpendDay (UTC,
	// 2026-01-15), set before the first call where there is such a limit.
	SpendReserved *Money `json:"spend_reserved,omitempty"`
	SpendDay      string `json:"spend_day,omitempty"`
	// BalanceBefore is the account's balance last seen before the first call.
	BalanceBefore *Money `json:"balance_before,omitempty"`
	// Looks counts the looks since the last call; LookLog keeps the last few for
	// a person.
	Looks   int    `json:"looks,omitempty"`
	LookLog []Look `json:"look_log,omitempty"`
	// Conflicts is evidence that contradicts what the order was settled by: noted
	// here, set aside as a dead letter, and for a person to judge. The order stays as
	// it was, At included.
	Conflicts []Conflict `json:"conflicts,omitempty"`
	// Reason is a person's, of a hold or a cancel.
	Reason string `json:"reason,omitempty"`
}

// ESIM is one eSIM that was bought.
type ESIM struct {
	ICCID           string `json:"iccid,omitempty"`
	ActivationCode  string `json:"activation_code,omitempty"` // secret: never in logs or ClickHouse
	QRCodeURL       string `json:"qr_code_url,omitempty"`     // secret likewise
	AppleInstallURL string `json:"apple_install_url,omitempty"`
	Status          string `json:"status,omitempty"`
}

// Error is the supplier's error, or ours, as kind, code and text.
type Error struct {
	Kind    string `json:"kind"` // exists, busy, no_funds, out_of_stock, setup, refused, price, unknown
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// Look is one look-up and what it said.
type Look struct {
	At    time.Time `json:"at"`
	Where string    `json:"where"` // endpoint or source
	Said  string    `json:"said"`  // "found", "not_found", "error: …"
}

// Conflict is one piece of evidence that contradicts an order.
type Conflict struct {
	At              time.Time `json:"at"`       // when it was noted, UTC
	Evidence        Evidence  `json:"evidence"` // where it came from
	Certainty       Certainty `json:"certainty"`
	SupplierOrderID string    `json:"supplier_order_id,omitempty"`
	StateThere      string    `json:"state_there,omitempty"` // placed, fulfilled, refunded, rejected
	Reason          string    `json:"reason,omitempty"`      // a person's
}

// MaxConflicts bounds Record.Conflicts; the first ones stay.
const MaxConflicts = 20

// There says whether it is certain that the supplier has the order, and known under
// what id.
func (r Record) There() bool { return r.Certainty == CertainPlaced && r.SupplierOrderID != "" }

// Noted returns r with c among its conflicts; false if the like of it is there
// already, or too many are.
func (r Record) Noted(c Conflict) (Record, bool) {
	for _, known := range r.Conflicts {
		if known.At = c.At; known == c {
			return r, false
		}
	}
	if len(r.Conflicts) >= MaxConflicts {
		return r, false
	}
	r.Conflicts = append(append([]Conflict(nil), r.Conflicts...), c)
	return r, true
}

// MaxLookLog bounds Record.LookLog; the oldest go first.
const MaxLookLog = 20

// Logged returns r with look added to its log.
func (r Record) Logged(look Look) Record {
	log := append(append([]Look(nil), r.LookLog...), look)
	if len(log) > MaxLookLog {
		log = log[len(log)-MaxLookLog:]
	}
	r.LookLog = log
	return r
}
