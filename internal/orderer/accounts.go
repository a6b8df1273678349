package orderer

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/supplier/esimfly"
)

// currencyOfLimit is the currency of a daily_spend_limit that names none.
const currencyOfLimit = "USD"

// dailyLimit reads a daily_spend_limit, "500.00" or "500.00 EUR"; nil if it is empty.
func dailyLimit(text string) (*order.Money, error) {
	if text == "" {
		return nil, nil
	}
	amount, currency, named := strings.Cut(text, " ")
	if !named {
		currency = currencyOfLimit
	}
	limit, err := order.NewMoney(amount, currency)
	if err == nil && limit.Amount.Sign() < 0 {
		err = errors.New("it is negative")
	}
	if err != nil {
		return nil, fmt.Errorf("daily_spend_limit %.40q: %w", text, err)
	}
	return &limit, nil
}

// NewAccounts makes the clients of every configured account. limitSeen hears what
// a supplier's limit headers say. Each supplier has connections of its own.
func NewAccounts(cfg *Config, m *Metrics, limitSeen func(supplier, account string, remaining int, reset time.Time)) ([]Account, error) {
	configured, err := cfg.Load()
	if err != nil {
		return nil, err
	}
	newHTTP := func(name string) *supplier.HTTP {
		return supplier.NewHTTP(supplier.HTTPConfig{Timeout: cfg.Timeout, MaxConns: max(256, cfg.Concurrency), Observe: m.ObserveCall(name)})
	}
	var out []Account
	add := func(a Account, limit string) error {
		var err error
		if a.DailyLimit, err = dailyLimit(limit); err != nil {
			return fmt.Errorf("%s account %s: %w", a.Supplier, a.Name, err)
		}
		out = append(out, a)
		return nil
	}
	http := newHTTP(order.EIOTCLUB)
	for name, a := range configured.EIOTCLUB {
		client := eiotclub.New(eiotclub.Config{BaseURL: a.BaseURL, AppKey: a.AppKey, Secret: a.AppSecret, HTTP: http})
		if err := add(Account{Supplier: order.EIOTCLUB, Name: name, Client: client}, a.DailySpendLimit); err != nil {
			return nil, err
		}
	}
	http = newHTTP(order.ESIMFly)
	for name, a := range configured.ESIMFly {
		client := esimfly.New(esimfly.Config{BaseURL: a.BaseURL, AccessCode: a.AccessCode, SecretKey: a.SecretKey, HTTP: http,
			Budget: func(remaining int, reset time.Time) { limitSeen(order.ESIMFly, name, remaining, reset) }})
		if err := add(Account{Supplier: order.ESIMFly, Name: name, Client: client}, a.DailySpendLimit); err != nil {
			return nil, err
		}
	}
	return out, nil
}
