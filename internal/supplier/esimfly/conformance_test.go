package esimfly_test

import (
	"fmt"
	"testing"

	"github.com/simline/simline/internal/order"
	sim "github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/esimfly"
	"github.com/simline/simline/internal/supplier/suppliertest"
)

// refusals: first the seed's own bodies, then what it leaves open.
var refusals = map[string]suppliertest.Refusal{
	"missing fields": {Status: 400, Body: `{"success": false, "message": "Missing required fields", "code": "MISSING_FIELDS"}`,
		Kind: supplier.Refused, Code: "MISSING_FIELDS"},
	"invalid package": {Status: 400, Body: `{"success": false, "message": "Invalid package selected", "code": "INVALID_PACKAGE"}`,
		Kind: supplier.Refused, Code: "INVALID_PACKAGE"},
	"price mismatch": {Status: 400, Body: `{"success": false, "message": "Invalid price submitted", "code": "PRICE_MISMATCH"}`,
		Kind: supplier.Price, Code: "PRICE_MISMATCH"},
	"insufficient balance": {Status: 400, Body: `{"success": false, "message": "Insufficient balance", "code": "INSUFFICIENT_BALANCE",
"currentBalance": 25.50, "requiredBalance": 27.20, "needToLoad": 1.70}`, Kind: supplier.NoFunds, Code: "INSUFFICIENT_BALANCE"},
	"missing authentication": {Status: 401, Body: `{"success": false, "error": "Authentication required",
"message": "Please provide either Bearer token or complete HMAC signature authentication"}`, Kind: supplier.Setup, Code: "(http 401)"},
	"invalid signature": {Status: 401, Body: `{"success": false, "error": "Invalid HMAC signature", "code": "INVALID_SIGNATURE"}`,
		Kind: supplier.Setup, Code: "INVALID_SIGNATURE"},
	"not a business account": {Status: 403, Body: `{"success": false, "error": "Invalid user or not a business account", "code": "INVALID_USER"}`,
		Kind: supplier.Setup, Code: "INVALID_USER"},
	"order processing error": {Status: 500, Body: `{"success": false, "message": "Failed to process order", "code": "ORDER_PROCESSING_ERROR"}`,
		Kind: supplier.Unknown, Code: "ORDER_PROCESSING_ERROR"},

	"duplicate":              {Status: 409, Body: `{"success":false,"error":"Duplicate","code":"DUPLICATE_REQUEST"}`, Kind: supplier.Exists, Code: "DUPLICATE_REQUEST"},
	"duplicate, other code":  {Status: 401, Body: `{"success":false,"code":"AUTH_DUPLICATE_REQUEST_ID"}`, Kind: supplier.Exists, Code: "AUTH_DUPLICATE_REQUEST_ID"},
	"clock":                  {Status: 401, Body: `{"success":false,"code":"INVALID_TIMESTAMP"}`, Kind: supplier.Setup, Code: "INVALID_TIMESTAMP"},
	"429 with a code":        {Status: 429, Body: `{"success":false,"code":"RATE_LIMIT_EXCEEDED"}`, Kind: supplier.Busy, Code: "RATE_LIMIT_EXCEEDED"},
	"429 as text":            {Status: 429, Body: `Too Many Requests`, Kind: supplier.Busy, Code: "(http 429)"},
	"refusal in a 200":       {Body: `{"success":false,"code":"INSUFFICIENT_BALANCE"}`, Kind: supplier.Unknown, Code: "INSUFFICIENT_BALANCE"},
	"refusal's code in 500":  {Status: 500, Body: `{"success":false,"code":"INVALID_PACKAGE"}`, Kind: supplier.Unknown, Code: "INVALID_PACKAGE"},
	"success in a 400":       {Status: 400, Body: `{"success":true,"code":"INVALID_PACKAGE"}`, Kind: supplier.Unknown, Code: "(http 400)"},
	"undocumented code":      {Status: 400, Body: `{"success":false,"code":"NEW_ONE"}`, Kind: supplier.Unknown, Code: "NEW_ONE"},
	"code of an odd type":    {Status: 400, Body: `{"success":false,"code":{"a":1}}`, Kind: supplier.Unknown, Code: "(odd code)"},
	"400 without a code":     {Status: 400, Body: `{"success":false}`, Kind: supplier.Unknown, Code: "(http 400)"},
	"403 from a proxy":       {Status: 403, Body: `<html>`, Kind: supplier.Unknown, Code: "(http 403)"},
	"success, no reference":  {Body: `{"success":true,"status":"completed","esims":[]}`, Kind: supplier.Unknown, Code: "(odd data)"},
	"success, odd reference": {Body: `{"success":true,"orderReference":{"a":1}}`, Kind: supplier.Unknown, Code: "(odd data)"},
	"success as a string":    {Body: `{"success":"true","orderReference":"order_1"}`, Kind: supplier.Unknown, Code: "(odd data)"},
	"nothing said":           {Body: `{}`, Kind: supplier.Unknown, Code: "(http 200)"},
}

func TestConformance(t *testing.T) {
	s := sim.New(sim.Config{Seed: 1, RateLimit: -1})
	t.Cleanup(s.Close)
	price := usd(t, "2.72")
	request := func(id string) order.Request {
		r := order.Request{OrderID: id, Supplier: order.ESIMFly, Product: order.ProductESIM, Account: order.DefaultAccount,
			PackageCode: sim.PackageCode, PackageName: sim.PackageName, Price: &price, DurationDays: 7, FlagURL: "/img/flags/tr.png"}
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
		return r
	}
	suppliertest.Run(t, suppliertest.Harness{
		Supplier: s.Handler(),
		Client: func(url string, h *supplier.HTTP) suppliertest.Client {
			return esimfly.New(esimfly.Config{BaseURL: url, AccessCode: s.AccessCode(), SecretKey: s.SecretKey(), HTTP: h})
		},
		Request:    request,
		Wrong:      func(id string) order.Request { r := request(id); r.PackageCode = "none"; return r },
		Bought:     func(id string) int { return s.Purchases(esimfly.RequestID(id, 0)) },
		Balance:    func() order.Money { return usd(t, fmt.Sprintf("%d.%02d", s.Balance()/100, s.Balance()%100)) },
		Price:      price,
		HasPrice:   true,
		ReplyState: order.Fulfilled,
		Refusals:   refusals,
	})
}

func usd(t *testing.T, amount string) order.Money {
	t.Helper()
	m, err := order.NewMoney(amount, "USD")
	if err != nil {
		t.Fatal(err)
	}
	return m
}
