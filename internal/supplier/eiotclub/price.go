package eiotclub

import (
	"context"
	"fmt"
	"time"

	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// Balance is what the account may spend by API (D: 查询客户账户余额).
func (c *Client) Balance(ctx context.Context) (order.Money, error) {
	const op = "agent/balance"
	var d struct {
		Balance  Text `json:"balance"`
		Currency Text `json:"currency"`
	}
	if _, err := c.read(ctx, op, nil, &d); err != nil {
		return order.Money{}, err
	}
	m := supplier.Amount(string(d.Balance), string(d.Currency))
	if m == nil {
		return order.Money{}, odd(op, fmt.Errorf("balance %.40q %.10q is no amount", d.Balance, d.Currency))
	}
	c.currency.Store(&currencySeen{m.Currency, c.http.Now()})
	return *m, nil
}

// currencySeen is the account's currency and when it was seen.
type currencySeen struct {
	currency string
	at       time.Time
}

// currencyLife is how long an account's currency is believed unasked. It is a
// matter of contract; an hour keeps the calls of a price at one instead of two.
const currencyLife = time.Hour

func (c *Client) accountCurrency(ctx context.Context) (string, error) {
	if seen := c.currency.Load(); seen != nil && c.http.Now().Sub(seen.at) < currencyLife {
		return seen.currency, nil
	}
	m, err := c.Balance(ctx)
	return m.Currency, err
}

// Offer is something that can be bought and what it costs.
type Offer struct {
	Code, Name string
	Price      *order.Money // nil if the supplier named none that is an amount
}

type offerJSON struct {
	Code        Text `json:"code"`
	Name        Text `json:"name"`
	PackageCode Text `json:"packageCode"`
	PackageName Text `json:"packageName"`
	Price       Text `json:"price"`
}

// CardPackages are the packages that a card may buy; the price is in the account's
// currency (D: 查询卡片可订购套餐信息, price 客户套餐底价; currency I).
func (c *Client) CardPackages(ctx context.Context, iccid string) ([]Offer, error) {
	var rows []offerJSON
	if _, err := c.read(ctx, "package/listOrderPackageByIccid", params{}.text("iccid", iccid), &rows); err != nil {
		return nil, err
	}
	currency, err := c.accountCurrency(ctx)
	if err != nil {
		return nil, fmt.Errorf("currency of the prices: %w", err)
	}
	var out []Offer
	for _, r := range rows {
		out = append(out, Offer{string(r.PackageCode), string(r.PackageName), supplier.Amount(string(r.Price), currency)})
	}
	return out, nil
}

// Goods are the eSIMs that can be bought; their prices are US cents (D: 查询可订购的eSIM商品).
func (c *Client) Goods(ctx context.Context) ([]Offer, error) {
	var data struct {
		List []offerJSON `json:"list"`
	}
	if _, err := c.read(ctx, "esim/goods", nil, &data); err != nil {
		return nil, err
	}
	var out []Offer
	for _, r := range data.List {
		out = append(out, Offer{string(r.Code), string(r.Name), cents(r.Price)})
	}
	return out, nil
}

// CloudPackages are the packages that a cloud eSIM may buy, in US cents (D:
// 查询云esim卡片可购买套餐).
func (c *Client) CloudPackages(ctx context.Context, eid string) ([]Offer, error) {
	var data struct {
		List []offerJSON `json:"list"`
	}
	if _, err := c.read(ctx, "cloudesim/pkg/list", params{}.text("eid", eid), &data); err != nil {
		return nil, err
	}
	var out []Offer
	for _, r := range data.List {
		out = append(out, Offer{string(r.PackageCode), string(r.PackageName), cents(r.Price)})
	}
	return out, nil
}

// cents turns 499 into 4.99 USD.
func cents(t Text) *order.Money {
	d, ok := supplier.Decimal(string(t))
	if !ok {
		return nil
	}
	return supplier.Amount(d.Mul(decimal.New(1, -2)).String(), "USD")
}

// Price is what a request would cost now. supplier.ErrNoPrice if EIOTCLUB tells no
// price for the product (pools); an *supplier.Error of kind Refused with code
// "(not offered)" if what is asked for is not on the list of what can be bought.
func (c *Client) Price(ctx context.Context, r order.Request) (order.Money, error) {
	var op, code string
	var offers []Offer
	var err error
	switch r.Product {
	case order.ProductPackage:
		op, code = "package/listOrderPackageByIccid", r.PackageCode
		offers, err = c.CardPackages(ctx, r.ICCID)
	case order.ProductESIM:
		op, code = "esim/goods", r.GoodsCode
		offers, err = c.Goods(ctx)
	case order.ProductCloudESIMPackage:
		op, code = "cloudesim/pkg/list", r.PackageCode
		offers, err = c.CloudPackages(ctx, r.EID)
	default:
		return order.Money{}, supplier.ErrNoPrice
	}
	if err != nil {
		return order.Money{}, err
	}
	for _, o := range offers {
		if o.Code == code {
			if o.Price == nil {
				return order.Money{}, odd(op, fmt.Errorf("price of %s is no amount", code))
			}
			return *o.Price, nil
		}
	}
	return order.Money{}, &supplier.Error{Op: op, Kind: supplier.Refused, Code: "(not offered)", Message: code + " is not among what can be bought", Sent: true}
}

// odd is an answer that says success and cannot be understood.
func odd(op string, err error) error {
	return &supplier.Error{Op: op, Kind: supplier.Unknown, Code: "(odd data)", Sent: true, Err: err}
}
