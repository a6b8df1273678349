package eiotclub_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/simline/simline/internal/order"
	sim "github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/supplier/suppliertest"
)

// refusals are in the form that all endpoints but /esim/ document.
var refusals = map[string]suppliertest.Refusal{
	"42002 without data":            {Body: `{"code":"42002","message":"outTradeNo已存在","data":null}`, Kind: supplier.Exists, Code: "42002"},
	"503016 as a number":            {Body: `{"code":503016,"message":"重复订单号","data":{"orderId":"","iccid":"","activationCode":""}}`, Kind: supplier.Exists, Code: "503016"},
	"501":                           {Body: `{"code":"501","message":"请求太频繁"}`, Kind: supplier.Busy, Code: "501"},
	"45112":                         {Body: `{"code":45112,"message":"balance insufficient"}`, Kind: supplier.NoFunds, Code: "45112"},
	"45110":                         {Body: `{"code":"45110","message":"eSIM out of stock"}`, Kind: supplier.OutOfStock, Code: "45110"},
	"42402":                         {Body: `{"code":"42402","message":"签名串无效"}`, Kind: supplier.Setup, Code: "42402"},
	"41018":                         {Body: `{"code":"41018","message":"订购套餐编码错误"}`, Kind: supplier.Refused, Code: "41018"},
	"500 in a 200":                  {Body: `{"code":"500","message":"操作失败,请稍后再试"}`, Kind: supplier.Unknown, Code: "500"},
	"undocumented code":             {Body: `{"code":"77777","message":"?"}`, Kind: supplier.Unknown, Code: "77777"},
	"no code":                       {Body: `{"message":"?"}`, Kind: supplier.Unknown, Code: "(no code)"},
	"code of an odd type":           {Body: `{"code":{"a":"0123456789012345"}}`, Kind: supplier.Unknown, Code: "(no code)"},
	"success and no data":           {Body: `{"code":"200","message":"success","data":null}`, Kind: supplier.Unknown, Code: "(odd data)"},
	"success and an empty id":       {Body: `{"code":0,"message":"success","data":{"orderId":"","eshopOrderId":0,"order_no":""}}`, Kind: supplier.Unknown, Code: "(odd data)"},
	"success and an id that is not": {Body: `{"code":0,"data":{"orderId":{},"eshopOrderId":[],"order_no":true}}`, Kind: supplier.Unknown, Code: "(odd data)"},
	"refused, and yet an order id": {Body: `{"code":"45112","data":{"orderId":"7","eshopOrderId":7,"order_no":"7"}}`,
		Kind: supplier.Unknown, Code: "45112"},
	"a refusal with HTTP 500": {Status: 500, Body: `{"code":"41018","message":"x"}`, Kind: supplier.Unknown, Code: "(http 500)"},
	"HTTP 429":                {Status: 429, Body: `slow down`, Kind: supplier.Unknown, Code: "(http 429)"},
	"a list":                  {Body: `[]`, Kind: supplier.Unknown, Code: "(not json)"},
	"two answers in one":      {Body: `{"code":"41018"}{"code":"200"}`, Kind: supplier.Unknown, Code: "(not json)"},
}

func TestConformance(t *testing.T) {
	products := []struct {
		product  string
		request  func(r *order.Request)
		wrong    func(r *order.Request)
		price    string
		hasPrice bool
		state    order.State
	}{
		{order.ProductPackage, func(r *order.Request) { r.ICCID, r.PackageCode = sim.SeedICCID, sim.PackageCode },
			func(r *order.Request) { r.PackageCode = "NONE" }, "0.50", true, order.Placed},
		{order.ProductESIM, func(r *order.Request) { r.GoodsCode = sim.GoodsCode },
			func(r *order.Request) { r.GoodsCode = "NONE" }, "1.40", true, order.Fulfilled},
		{order.ProductCloudESIMPackage, func(r *order.Request) { r.EID, r.PackageCode = sim.SeedEID, sim.CloudPackageCode },
			func(r *order.Request) { r.PackageCode = "NONE" }, "3.00", true, order.Placed},
		{order.ProductPoolPackage, func(r *order.Request) {
			r.PoolObjectID, r.PoolTypeCode = strconv.Itoa(sim.SeedPoolID), sim.PoolTypeCode
		},
			func(r *order.Request) { r.PoolTypeCode = "NONE" }, "20.00", false, order.Placed},
	}
	for _, p := range products {
		t.Run(p.product, func(t *testing.T) {
			s := sim.New(sim.Config{Seed: 1})
			t.Cleanup(s.Close)
			request := func(id string) order.Request {
				r := order.Request{OrderID: id, Supplier: order.EIOTCLUB, Product: p.product, Account: order.DefaultAccount}
				p.request(&r)
				if err := r.Validate(); err != nil {
					t.Fatal(err)
				}
				return r
			}
			suppliertest.Run(t, suppliertest.Harness{
				Supplier: s.Handler(),
				Client: func(url string, h *supplier.HTTP) suppliertest.Client {
					return eiotclub.New(eiotclub.Config{BaseURL: url, AppKey: s.AppKey(), Secret: s.Secret(), HTTP: h})
				},
				Request:    request,
				Wrong:      func(id string) order.Request { r := request(id); p.wrong(&r); return r },
				Bought:     s.Purchases,
				Balance:    func() order.Money { return usd(t, s.Balance().String()) },
				Price:      usd(t, p.price),
				HasPrice:   p.hasPrice,
				ReplyState: p.state,
				Refusals:   refusals,
			})
		})
	}
}

func usd(t *testing.T, amount string) order.Money {
	t.Helper()
	m, err := order.NewMoney(amount, "USD")
	if err != nil {
		t.Fatal(fmt.Errorf("amount of a test: %w", err))
	}
	return m
}
