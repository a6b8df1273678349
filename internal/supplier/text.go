package supplier

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/order"
)

// maxText is the most of a supplier's message that we keep, in bytes.
const maxText = 500

// cardNumber is what an ICCID, an IMSI, an IMEI or an EID looks like.
var cardNumber = regexp.MustCompile(`[0-9]{14,}`)

// Text makes a supplier's message fit for an event and a log: one line, at most
// 500 bytes, long numbers cut to their last four digits since they may be cards.
func Text(s string) string {
	if len(s) > 4*maxText { // enough for what is kept, whatever is replaced
		s = s[:4*maxText]
	}
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	s = cardNumber.ReplaceAllStringFunc(s, func(n string) string { return "…" + n[len(n)-4:] })
	if len(s) > maxText {
		cut := maxText
		for !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	return strings.TrimSpace(s)
}

// Decimal reads the literal text of a JSON number or a decimal string, never by
// way of a float. False when it is none, or none of a size that money or an id
// can have: 1e999999999 is a number and would fill the memory when written out.
func Decimal(literal string) (decimal.Decimal, bool) {
	literal = strings.TrimSpace(literal)
	if literal == "" || len(literal) > 40 {
		return decimal.Decimal{}, false
	}
	d, err := decimal.NewFromString(literal)
	if err != nil || d.Exponent() > 20 || d.Exponent() < -40 {
		return decimal.Decimal{}, false
	}
	return d, true
}

// Amount makes money of the literal text of a JSON number or a decimal string.
// Nil when it is no amount that the wire can hold: money that came with a
// purchase must not make the purchase fail. Beyond six decimals it is rounded,
// half to even: a supplier that counts in floats writes 2.7199999999999998 and
// means 2.72.
func Amount(literal, currency string) *order.Money {
	d, ok := Decimal(literal)
	if !ok {
		return nil
	}
	if d.Exponent() < -6 {
		d = d.RoundBank(6)
	}
	if d.IsZero() {
		d = decimal.Decimal{} // no negative zero
	}
	m, err := order.NewMoney(order.Money{Amount: d}.AmountString(), strings.ToUpper(strings.TrimSpace(currency)))
	if err != nil {
		return nil
	}
	return &m
}
