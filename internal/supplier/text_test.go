package supplier

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"plain":         {"余额不足 Insufficient balance.", "余额不足 Insufficient balance."},
		"card number":   {"iccid 8988308650100524999 is wrong", "iccid …4999 is wrong"},
		"short numbers": {"max 32, code 45112", "max 32, code 45112"},
		"lines":         {"a\r\nb\x00c", "a  b c"},
		"bad UTF-8":     {"a\xffb", "a b"},
	} {
		if got := Text(c.in); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	long := Text(strings.Repeat("套", 10_000))
	if len(long) > maxText || len(long) < maxText-3 || !utf8.ValidString(long) {
		t.Errorf("a long text: %d bytes, valid %v", len(long), utf8.ValidString(long))
	}
}

func TestAmountIsExact(t *testing.T) {
	for literal, want := range map[string]string{
		"2.72": "2.72", "30": "30.00", "0": "0.00", "-0.00": "0.00", "0.125": "0.125", "-1.5": "-1.50", " 5.00 ": "5.00",
		"3E+1": "30.00", "1.25e-1": "0.125", "2.7199999999999998": "2.72", "0.1000000000000000055511151231257827": "0.10",
		"9007199254740993.01": "", "999999999999.999999": "999999999999.999999",
		"0.30000000000000004": "0.30", "123456789012": "123456789012.00",
		"": "", "NaN": "", "1e999999999": "", "1e-999999999": "", "0x10": "", "1,5": "", "null": "", "1_000": "",
		"1000000000000": "", strings.Repeat("9", 41): "",
	} {
		m := Amount(literal, "usd")
		got := ""
		if m != nil {
			got = m.AmountString()
			if m.Currency != "USD" {
				t.Errorf("%q: currency %q", literal, m.Currency)
			}
			if _, err := m.MarshalJSON(); err != nil {
				t.Errorf("%q: the wire cannot hold it: %v", literal, err)
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q", literal, got, want)
		}
	}
	for _, currency := range []string{"", "US", "$", "do nulla"} {
		if m := Amount("1", currency); m != nil {
			t.Errorf("currency %q: %v", currency, m)
		}
	}
}

// Whatever literal comes in, an amount that comes out can be written and read back.
func FuzzAmount(f *testing.F) {
	for _, s := range []string{"2.72", "1e5", "-0", "99999999999999999999", "0.0000001", "1E-7"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, literal string) {
		m := Amount(literal, "USD")
		if m == nil {
			return
		}
		b, err := m.MarshalJSON()
		if err != nil {
			t.Fatalf("%q: %v", literal, err)
		}
		back := *m
		if err := back.UnmarshalJSON(b); err != nil || !back.Amount.Equal(m.Amount) {
			t.Fatalf("%q → %s → %v, %v", literal, b, back, err)
		}
	})
}
