package order

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/shopspring/decimal"
)

// Money is an exact amount: on the wire {"amount":"5.00","currency":"USD"}, the
// amount a decimal string and never a JSON number, the currency ISO 4217.
type Money struct {
	Amount   decimal.Decimal
	Currency string
}

// ErrCurrency is returned when two amounts of different currencies meet.
var ErrCurrency = errors.New("different currencies")

var (
	amountPattern   = regexp.MustCompile(`^-?[0-9]{1,12}(\.[0-9]{1,6})?$`)
	currencyPattern = regexp.MustCompile(`^[A-Z]{3}$`)
)

// NewMoney parses amount, a decimal with up to 12 digits before and 6 after the
// point, and currency, three capitals.
func NewMoney(amount, currency string) (Money, error) {
	if !amountPattern.MatchString(amount) {
		return Money{}, fmt.Errorf("amount %.32q is not a decimal with up to 12 digits before and 6 after the point", amount)
	}
	if !currencyPattern.MatchString(currency) {
		return Money{}, fmt.Errorf("currency %.16q is not three capital letters", currency)
	}
	d, err := decimal.NewFromString(amount)
	if err != nil {
		return Money{}, fmt.Errorf("amount %.32q: %w", amount, err)
	}
	return Money{Amount: d, Currency: currency}, nil
}

// MarshalJSON writes at least two digits after the point, and all there are.
func (m Money) MarshalJSON() ([]byte, error) {
	return json.Marshal(moneyJSON{Amount: m.AmountString(), Currency: m.Currency})
}

// AmountString is the amount as the wire shows it: "5.00", "0.125".
func (m Money) AmountString() string {
	return m.Amount.StringFixed(max(2, -m.Amount.Exponent()))
}

// UnmarshalJSON accepts exactly what MarshalJSON writes and what NewMoney parses.
func (m *Money) UnmarshalJSON(b []byte) error {
	var w moneyJSON
	if err := json.Unmarshal(b, &w); err != nil {
		return fmt.Errorf("money: %w", err)
	}
	v, err := NewMoney(w.Amount, w.Currency)
	if err != nil {
		return fmt.Errorf("money: %w", err)
	}
	*m = v
	return nil
}

type moneyJSON struct {
	Amount   string `json:"amount"`
	Currency string `json:"currency"`
}

// Cmp compares two amounts of one currency: -1, 0, 1, or ErrCurrency.
func (m Money) Cmp(o Money) (int, error) {
	if m.Currency != o.Currency {
		return 0, fmt.Errorf("%s against %s: %w", m.Currency, o.Currency, ErrCurrency)
	}
	return m.Amount.Cmp(o.Amount), nil
}

// String is for logs and tables: "5.00 USD".
func (m Money) String() string { return m.AmountString() + " " + m.Currency }
