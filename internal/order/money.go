package order

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
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

// NewMoney parses amount, a decimal with up to 12 digits before and 6 after the
// point, and currency, three capitals.
func NewMoney(amount, currency string) (Money, error) {
	if err := checkMoney(amount, currency); err != nil {
		return Money{}, err
	}
	d, err := decimal.NewFromString(amount)
	if err != nil {
		return Money{}, fmt.Errorf("amount %.32q: %w", amount, err)
	}
	return Money{Amount: d, Currency: currency}, nil
}

// checkMoney says what is wrong with an amount or its currency.
func checkMoney(amount, currency string) error {
	whole, fraction, point := strings.Cut(strings.TrimPrefix(amount, "-"), ".")
	if !digits(whole, 12) || point && !digits(fraction, 6) {
		return fmt.Errorf("amount %.32q is not a decimal with up to 12 digits before and 6 after the point", amount)
	}
	capital := func(c byte) bool { return 'A' <= c && c <= 'Z' }
	if len(currency) != 3 || !capital(currency[0]) || !capital(currency[1]) || !capital(currency[2]) {
		return fmt.Errorf("currency %.16q is not three capital letters", currency)
	}
	return nil
}

// digits says whether s is of 1 to most decimal digits.
func digits(s string, most int) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return 0 < len(s) && len(s) <= most
}

// MarshalJSON writes the amount as AmountString does. It refuses what
// UnmarshalJSON could not read back: an event in the ledger that nobody can
// decode would strand its order.
func (m Money) MarshalJSON() ([]byte, error) { return m.appendJSON(nil) }

func (m Money) appendJSON(b []byte) ([]byte, error) {
	amount := m.AmountString()
	if err := checkMoney(amount, m.Currency); err != nil {
		return b, err
	}
	b = append(append(b, `{"amount":"`...), amount...)
	b = append(append(b, `","currency":"`...), m.Currency...)
	return append(b, `"}`...), nil
}

// AmountString is the amount as the wire shows it: at least two digits after the
// point and no zeros behind them, so that equal amounts read alike: "5.00", "0.125".
func (m Money) AmountString() string {
	if e := m.Amount.Exponent(); -6 <= e && e <= 0 && m.Amount.NumDigits() <= 15 {
		return amountString(m.Amount.CoefficientInt64(), int(-e))
	}
	places := max(2, -m.Amount.Exponent())
	text := m.Amount.StringFixed(places)
	for ; places > 2 && strings.HasSuffix(text, "0"); places-- {
		text = text[:len(text)-1]
	}
	return text
}

// amountString is AmountString of n / 10^places, of up to 15 digits and 6 places: of
// nearly every amount, without big numbers.
func amountString(n int64, places int) string {
	for ; places < 2; places++ {
		n *= 10
	}
	for ; places > 2 && n%10 == 0; places-- {
		n /= 10
	}
	scale := int64(1)
	for range places {
		scale *= 10
	}
	var room [24]byte
	b := room[:0]
	if n < 0 {
		b, n = append(b, '-'), -n
	}
	b = append(strconv.AppendInt(b, n/scale, 10), '.')
	for fraction := n % scale; scale > 1; fraction %= scale {
		scale /= 10
		b = append(b, '0'+byte(fraction/scale))
	}
	return string(b)
}

// UnmarshalJSON accepts an object of amount and currency and nothing else, the
// names spelt exactly so. A negative zero is refused.
func (m *Money) UnmarshalJSON(b []byte) error {
	if v, ok := plainMoney(b); ok {
		*m = v
		return nil
	}
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

// plainMoney reads money that is written as MarshalJSON writes it.
func plainMoney(b []byte) (Money, bool) {
	amount, isMoney := strings.CutPrefix(string(b), `{"amount":"`)
	amount, currency, hasCurrency := strings.Cut(amount, `","currency":"`)
	currency, ends := strings.CutSuffix(currency, `"}`)
	if !isMoney || !hasCurrency || !ends {
		return Money{}, false
	}
	v, err := NewMoney(amount, currency)
	return v, err == nil && !(v.Amount.IsZero() && amount[0] == '-')
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
