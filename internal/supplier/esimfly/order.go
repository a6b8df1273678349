package esimfly

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// orderBody is the body of a purchase (D). Its bytes are what is signed.
type orderBody struct {
	PackageCode string      `json:"packageCode"`
	PackageName string      `json:"packageName"`
	Price       json.Number `json:"price"` // of one eSIM; must match the supplier's
	Quantity    int         `json:"quantity"`
	Duration    int         `json:"duration,omitempty"` // days
	FlagURL     string      `json:"flagUrl,omitempty"`
}

// currency of every amount. The wire carries none: a price in another would be
// taken for dollars (D shows "$", P says "always USD").
const currency = "USD"

// Place makes one purchase. The error, always a *supplier.Error, says by its kind
// whether the order was placed; Unknown is everything that is not plainly either.
// A duplicate refusal says that this request id arrived before, and no more.
func (c *Client) Place(ctx context.Context, p supplier.Purchase) (supplier.Placement, error) {
	const op = "esims/order"
	if p.Product != order.ProductESIM || p.Price == nil {
		return supplier.Placement{}, &supplier.Error{Op: op, Kind: supplier.Refused, Code: "(bad request)", Message: "an eSIM with its price is all that eSIMfly sells"}
	}
	if p.Price.Currency != currency {
		return supplier.Placement{}, &supplier.Error{Op: op, Kind: supplier.Refused, Code: "(currency)", Message: "eSIMfly counts in " + currency + ", the price is in " + p.Price.Currency}
	}
	body, err := json.Marshal(orderBody{PackageCode: p.PackageCode, PackageName: p.PackageName, Price: json.Number(p.Price.Amount.String()),
		Quantity: quantity(p.Request), Duration: p.DurationDays, FlagURL: p.FlagURL})
	if err != nil {
		return supplier.Placement{}, &supplier.Error{Op: op, Kind: supplier.Refused, Code: "(bad request)", Err: err}
	}
	answer, err := c.call(ctx, op, http.MethodPost, "/esims/order", RequestID(p.OrderID, p.Round), body, p.Until)
	var placement supplier.Placement
	if err == nil {
		placement, err = decodePlacement(op, answer, p.Request, c)
	}
	c.observe(op, answer, err)
	return placement, err
}

func quantity(r order.Request) int { return max(r.Quantity, 1) } // D: default 1

// esimJSON is one eSIM, in the answer to a purchase and in that to a question.
type esimJSON struct {
	ICCID           scalar `json:"iccid"`
	QRCodeURL       scalar `json:"qrCodeUrl"`
	AppleInstallURL scalar `json:"directAppleInstallUrl"`
	Status          scalar `json:"status"`
	IsPending       scalar `json:"isPending"`
}

// esimList is a list of eSIMs, or one by itself. Anything else is none: the order
// reference beside it is worth more than the details, which can be asked for.
type esimList []esimJSON

// UnmarshalJSON takes any value.
func (l *esimList) UnmarshalJSON(b []byte) error {
	*l = nil
	var many []esimJSON
	var one *esimJSON
	if json.Unmarshal(b, &many) == nil {
		*l = many
	} else if json.Unmarshal(b, &one) == nil && one != nil {
		*l = esimList{*one}
	}
	return nil
}

// pendingICCID begins what stands in for an ICCID while there is none (D).
const pendingICCID = "PENDING"

// details are the eSIMs of an order and how many of them are in hand. One that is
// pending is listed without the made-up ICCID.
func details(list []esimJSON) (out []order.ESIM, inHand int) {
	for _, e := range list {
		esim := order.ESIM{ICCID: string(e.ICCID), QRCodeURL: string(e.QRCodeURL), AppleInstallURL: string(e.AppleInstallURL), Status: string(e.Status)}
		if strings.HasPrefix(esim.ICCID, pendingICCID) {
			esim.ICCID = ""
		}
		if esim.ICCID != "" && e.IsPending != "true" && !strings.EqualFold(esim.Status, pendingICCID) {
			inHand++
		}
		out = append(out, esim)
	}
	return out, inHand
}

func decodePlacement(op string, a supplier.Answer, r order.Request, c *Client) (supplier.Placement, error) {
	var d struct {
		OrderReference scalar   `json:"orderReference"`
		Status         scalar   `json:"status"`
		FinalPrice     scalar   `json:"final_price"`
		NewBalance     scalar   `json:"newBalance"`
		ESIMs          esimList `json:"esims"`
	}
	if err := decode(op, a, c.http.Now(), &d); err != nil {
		return supplier.Placement{}, err
	}
	reference := string(d.OrderReference)
	if reference == "" || len(reference) > maxReference || strings.ContainsAny(reference, "{}[]") || reference == "false" || reference == "true" {
		return supplier.Placement{}, a.Error(op, supplier.Unknown, "(odd data)", "", errors.New("success and no order reference"))
	}
	p := supplier.Placement{SupplierOrderID: reference, State: order.Placed,
		Total: supplier.Amount(string(d.FinalPrice), currency), Balance: supplier.Amount(string(d.NewBalance), currency)}
	var inHand int
	p.ESIMs, inHand = details(d.ESIMs)
	if completed(string(d.Status)) && inHand >= quantity(r) {
		p.State = order.Fulfilled
	}
	return p, nil
}

// maxReference is the longest order reference taken for one, in bytes.
const maxReference = 128

func completed(status string) bool { return strings.EqualFold(status, "completed") }

// Lookup asks for one order by the reference that the answer to its purchase
// carried; supplier.ErrNoLookup without it, since eSIMfly knows no id of ours.
//
// The answer is documented with a single eSIM (D). An order of several that is
// completed is therefore told in part, which no later look mends: Sighting.Partial,
// unless an eSIM that is shown is itself still pending. An order of one without
// details stays Placed, since those the page does promise.
func (c *Client) Lookup(ctx context.Context, q supplier.Query) (supplier.Sighting, error) {
	const op = "esims/order/status"
	if q.SupplierOrderID == "" {
		return supplier.Sighting{}, fmt.Errorf("%s wants the order reference: %w", op, supplier.ErrNoLookup)
	}
	var d struct {
		Order struct {
			OrderReference scalar   `json:"orderReference"`
			PackageCode    scalar   `json:"packageCode"`
			Status         scalar   `json:"status"`
			PaymentStatus  scalar   `json:"paymentStatus"`
			FinalPrice     scalar   `json:"finalPrice"`
			ESIM           esimList `json:"esim"`
			ESIMs          esimList `json:"esims"` // I: not documented here
		} `json:"order"`
	}
	err := c.get(ctx, op, "/esims/order?orderReference="+url.QueryEscape(q.SupplierOrderID), &d)
	var e *supplier.Error
	if errors.As(err, &e) && (e.Code == "ORDER_NOT_FOUND" || e.Code == "NOT_FOUND" || e.Code == notFound) {
		return supplier.Sighting{Where: op}, nil
	}
	if err != nil {
		return supplier.Sighting{}, err
	}
	o := d.Order
	if string(o.OrderReference) != q.SupplierOrderID && o.OrderReference != "" || o.Status == "" {
		return supplier.Sighting{}, &supplier.Error{Op: op, Kind: supplier.Unknown, Code: "(odd data)", Sent: true, Err: errors.New("an answer about no or another order")}
	}
	if len(o.ESIMs) == 0 {
		o.ESIMs = o.ESIM
	}
	s := supplier.Sighting{Found: true, Where: op, Placement: supplier.Placement{SupplierOrderID: q.SupplierOrderID,
		State: order.Placed, Total: supplier.Amount(string(o.FinalPrice), currency)}}
	var inHand int
	s.ESIMs, inHand = details(o.ESIMs)
	switch state, ended := endings[strings.ToLower(string(o.Status))]; {
	case strings.EqualFold(string(o.PaymentStatus), "refunded"):
		s.State = order.Refunded
	case ended:
		s.State = state
	case completed(string(o.Status)) && inHand >= quantity(q.Request):
		s.State = order.Fulfilled
	case completed(string(o.Status)):
		s.Partial = quantity(q.Request) > 1 && inHand == len(s.ESIMs)
	}
	if o.PackageCode != "" && q.PackageCode != "" && string(o.PackageCode) != q.PackageCode {
		s.Mismatch = []string{"package_code"}
	}
	return s, nil
}

// endings are words for an order's end beside "completed". The page shows none (I).
var endings = map[string]order.State{
	"refunded": order.Refunded, "failed": order.Rejected, "cancelled": order.Rejected, "canceled": order.Rejected,
}

// Price is what a request would cost: price times quantity, as the request itself
// says. No call is made: eSIMfly compares the price with its own and refuses a
// purchase at another (D).
func (c *Client) Price(_ context.Context, r order.Request) (order.Money, error) {
	if r.Price == nil {
		return order.Money{}, supplier.ErrNoPrice
	}
	return order.Money{Amount: r.Price.Amount.Mul(decimal.NewFromInt(int64(quantity(r)))), Currency: r.Price.Currency}, nil
}

// Balance is what the account may spend. The endpoint stands in seed 003 as
// "/balance" only; its form is from the supplier's public page (P).
func (c *Client) Balance(ctx context.Context) (order.Money, error) {
	const op = "balance"
	type amount struct {
		Balance  scalar `json:"balance"`
		Currency scalar `json:"currency"`
	}
	var d struct {
		amount
		Data amount `json:"data"`
	}
	if err := c.get(ctx, op, "/balance", &d); err != nil {
		return order.Money{}, err
	}
	found := d.Data
	if found == (amount{}) {
		found = d.amount // I: the other answers have their fields at the top
	}
	m := supplier.Amount(string(found.Balance), cmp.Or(string(found.Currency), currency))
	if m == nil {
		return order.Money{}, &supplier.Error{Op: op, Kind: supplier.Unknown, Code: "(odd data)", Sent: true,
			Err: fmt.Errorf("balance %.40q %.10q is no amount", found.Balance, found.Currency)}
	}
	return *m, nil
}
