package order_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"

	"github.com/simline/simline/internal/order"
)

func TestMoneyReads(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{ // want: as it is written again; empty: refused
		{"two digits", `{"amount":"5.00","currency":"USD"}`, "5.00 USD"},
		{"none", `{"amount":"5","currency":"USD"}`, "5.00 USD"},
		{"one", `{"amount":"5.1","currency":"USD"}`, "5.10 USD"},
		{"three", `{"amount":"0.125","currency":"USD"}`, "0.125 USD"},
		{"zeros behind", `{"amount":"0.120000","currency":"USD"}`, "0.12 USD"},
		{"zeros before", `{"amount":"007.50","currency":"USD"}`, "7.50 USD"},
		{"negative", `{"amount":"-1.5","currency":"JPY"}`, "-1.50 JPY"},
		{"largest", `{"amount":"999999999999.999999","currency":"EUR"}`, "999999999999.999999 EUR"},
		{"zero", `{"amount":"0","currency":"EUR"}`, "0.00 EUR"},

		{"number", `{"amount":5.00,"currency":"USD"}`, ""},
		{"too many digits before", `{"amount":"1000000000000","currency":"USD"}`, ""},
		{"too many digits after", `{"amount":"0.1234567","currency":"USD"}`, ""},
		{"exponent", `{"amount":"1e2","currency":"USD"}`, ""},
		{"plus", `{"amount":"+1","currency":"USD"}`, ""},
		{"comma", `{"amount":"1,00","currency":"USD"}`, ""},
		{"no digit before the point", `{"amount":".5","currency":"USD"}`, ""},
		{"no digit after the point", `{"amount":"5.","currency":"USD"}`, ""},
		{"space", `{"amount":" 5","currency":"USD"}`, ""},
		{"line end", `{"amount":"5\n","currency":"USD"}`, ""},
		{"empty", `{"amount":"","currency":"USD"}`, ""},
		{"not a number", `{"amount":"NaN","currency":"USD"}`, ""},
		{"other digits", `{"amount":"٥","currency":"USD"}`, ""},
		{"negative zero", `{"amount":"-0.00","currency":"USD"}`, ""},
		{"no currency", `{"amount":"5.00"}`, ""},
		{"no amount", `{"currency":"USD"}`, ""},
		{"currency in lower case", `{"amount":"5.00","currency":"usd"}`, ""},
		{"currency sign", `{"amount":"5.00","currency":"$"}`, ""},
		{"a name more", `{"amount":"5.00","currency":"USD","tax":"0"}`, ""},
		{"a name in another case", `{"Amount":"5.00","currency":"USD"}`, ""},
		{"null inside", `{"amount":null,"currency":"USD"}`, ""},
		{"text", `"5.00 USD"`, ""},
		{"array", `["5.00","USD"]`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m order.Money
			err := json.Unmarshal([]byte(c.in), &m)
			switch {
			case c.want == "" && err == nil:
				t.Errorf("accepted as %s", m)
			case c.want != "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && m.String() != c.want:
				t.Errorf("%s, wants %s", m, c.want)
			}
		})
	}
}

func TestMoneyIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?[0-9]{1,12}(\.[0-9]{1,6})?`).Draw(t, "amount")
		m, err := order.NewMoney(text, "USD")
		if err != nil {
			t.Fatal(err)
		}
		if !m.Amount.Equal(decimal.RequireFromString(text)) {
			t.Fatalf("%s became %s", text, m.Amount)
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var back order.Money
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("%s does not read back: %v", b, err)
		}
		if cmp, err := m.Cmp(back); cmp != 0 || err != nil {
			t.Fatalf("%s reads back as %s (%v)", m, back, err)
		}
		if again, _ := json.Marshal(back); string(again) != string(b) {
			t.Fatalf("one amount is written as %s and as %s", b, again)
		}
	})
}

// What could not be read back is not written: it would strand an order whose
// ledger nobody can decode.
func TestMoneyRefusesToWriteWhatCannotBeRead(t *testing.T) {
	for name, m := range map[string]order.Money{
		"no currency":     {Amount: decimal.RequireFromString("1")},
		"quotes":          {Amount: decimal.RequireFromString("1"), Currency: `U"D`},
		"too many digits": {Amount: decimal.RequireFromString("0.1234567"), Currency: "USD"},
		"too large":       {Amount: decimal.RequireFromString("1e12"), Currency: "USD"},
	} {
		t.Run(name, func(t *testing.T) {
			if b, err := json.Marshal(m); err == nil {
				t.Errorf("written as %s", b)
			}
		})
	}
}

func TestMoneyOfTwoCurrenciesDoesNotCompare(t *testing.T) {
	usd, _ := order.NewMoney("1", "USD")
	eur, _ := order.NewMoney("1", "EUR")
	if _, err := usd.Cmp(eur); !errors.Is(err, order.ErrCurrency) || !strings.Contains(err.Error(), "EUR") {
		t.Errorf("%v, wants ErrCurrency naming both", err)
	}
}

// What a schema would say of money.
var (
	amountPattern   = regexp.MustCompile(`^-?[0-9]{1,12}(\.[0-9]{1,6})?$`)
	currencyPattern = regexp.MustCompile(`^[A-Z]{3}$`)
)

func FuzzMoney(f *testing.F) {
	for _, s := range []string{"5.00", "-0.125", "999999999999.999999", "1e9", "", "NaN", "0x1p4", "１", "5.", ".5", "--5", "-", "5.0.0", "1234567890123", "0.1234567", "5\n"} {
		f.Add(s, "USD")
		f.Add(s, "USd")
	}
	f.Fuzz(func(t *testing.T, amount, currency string) {
		m, err := order.NewMoney(amount, currency)
		if want := amountPattern.MatchString(amount) && currencyPattern.MatchString(currency); want != (err == nil) {
			t.Fatalf("%q %q: %v, and the pattern says %t", amount, currency, err, want)
		}
		if err != nil {
			return
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatalf("%q %q accepted, but cannot be written: %v", amount, currency, err)
		}
		var back order.Money
		if err := json.Unmarshal(b, &back); err != nil || !back.Amount.Equal(m.Amount) || back.Currency != currency {
			t.Errorf("%q %q reads back as %s (%v)", amount, currency, back, err)
		}
	})
}

// The amounts of every day are written without big numbers, and as those write them.
func TestAmountStringIsStringFixed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := decimal.New(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-2000, 2000), rapid.Map(rapid.Int64Range(-99, 99), func(n int64) int64 { return n * 1_000_000 })).Draw(t, "n"), int32(rapid.IntRange(-9, 3).Draw(t, "exponent")))
		whole, fraction, _ := strings.Cut(d.StringFixed(9), ".")
		want := whole + "." + fraction[:2] + strings.TrimRight(fraction[2:], "0")
		if got := (order.Money{Amount: d}).AmountString(); got != want {
			t.Fatalf("%s: %s, wants %s", d, got, want)
		}
	})
}
