package order

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

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

// MarshalJSON writes the amount as AmountString does. It refuses what
// UnmarshalJSON could not read back: an event in the ledger that nobody can
// decode would strand its order.
func (m Money) MarshalJSON() ([]byte, error) {
	amount := m.AmountString()
	if _, err := NewMoney(amount, m.Currency); err != nil {
		return nil, err
	}
	return []byte(`{"amount":"` + amount + `","currency":"` + m.Currency + `"}`), nil
}

// AmountString is the amount as the wire shows it: at least two digits after the
// point and no zeros behind them, so that equal amounts read alike: "5.00", "0.125".
func (m Money) AmountString() string {
	places := max(2, -m.Amount.Exponent())
	text := m.Amount.StringFixed(places)
	for ; places > 2 && strings.HasSuffix(text, "0"); places-- {
		text = text[:len(text)-1]
	}
	return text
}

// UnmarshalJSON accepts an object of amount and currency and nothing else, the
// names spelt exactly so. A negative zero is refused.
func (m *Money) UnmarshalJSON(b []byte) error {
	var w map[string]string
	if err := json.Unmarshal(b, &w); err != nil {
		return fmt.Errorf("money: %w", err)
	}
	amount, has := w["amount"]
	currency, hasToo := w["currency"]
	if !has || !hasToo || len(w) != 2 {
		return errors.New("money: not an object of amount and currency alone")
	}
	v, err := NewMoney(amount, currency)
	if err != nil {
		return fmt.Errorf("money: %w", err)
	}
	if v.Amount.IsZero() && strings.HasPrefix(amount, "-") {
		return fmt.Errorf("money: amount %.32q is a negative zero", amount)
	}
	*m = v
	return nil
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
