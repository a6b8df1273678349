package orderer

import (
	"fmt"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/supplier/esimfly"
)

// currencyOfLimit is the currency of a daily_spend_limit that names none.
const currencyOfLimit = "USD"

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
		if limit != "" {
			money, err := order.NewMoney(limit, currencyOfLimit)
			if err != nil {
				return fmt.Errorf("%s account %s: daily_spend_limit: %w", a.Supplier, a.Name, err)
			}
			a.DailyLimit = &money
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
