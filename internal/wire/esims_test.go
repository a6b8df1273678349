package wire

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/order"
)

func TestDecodeESIMs(t *testing.T) {
	const a, b = "8932042000010078801", "8932042000010078819"
	got, err := DecodeESIMs([]byte(` [{"iccid":"` + a + `","activation_code":"LPA:1$x$y","status":"New"},{"iccid":"` + b + `","qr_code_url":"https://q"}]`))
	want := []order.ESIM{{ICCID: a, ActivationCode: "LPA:1$x$y", Status: "New"}, {ICCID: b, QRCodeURL: "https://q"}}
	if err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%+v, %v", got, err)
	}
	many := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`{"iccid":"89320420000100%05d"}`, i))
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	if got, err := DecodeESIMs([]byte(many(order.MaxQuantity))); err != nil || len(got) != order.MaxQuantity {
		t.Errorf("%d, %v", len(got), err)
	}
	for name, c := range map[string]struct{ in, reason, text string }{
		"nothing":              {``, ReasonMalformed, ""},
		"no JSON":              {`iccid ` + a, ReasonMalformed, ""},
		"one by itself":        {`{"iccid":"` + a + `"}`, ReasonSchema, "not an array"},
		"null":                 {`null`, ReasonSchema, "not an array"},
		"none":                 {`[]`, ReasonSchema, "0 in the array, not 1 to 10"},
		"too many":             {many(order.MaxQuantity + 1), ReasonSchema, "11 in the array, not 1 to 10"},
		"a number":             {`[1]`, ReasonSchema, "number where an object belongs"},
		"null in it":           {`[null]`, ReasonSchema, "number 1: iccid"},
		"without its number":   {`[{"iccid":"` + a + `"},{"activation_code":"LPA:1"}]`, ReasonSchema, "number 2: iccid is not 18 to 22 digits"},
		"pending":              {`[{"iccid":"PENDING_B1"}]`, ReasonSchema, "number 1: iccid is not 18 to 22 digits"},
		"twice":                {`[{"iccid":"` + a + `"},{"iccid":"` + b + `"},{"iccid":"` + a + `"}]`, ReasonSchema, "number 3 has the iccid of number 1"},
		"an unknown name":      {`[{"iccid":"` + a + `","code":"x"}]`, ReasonSchema, `unknown field "code"`},
		"a name in capitals":   {`[{"ICCID":"` + a + `"}]`, ReasonSchema, `unknown field "ICCID"`},
		"a code without end":   {`[{"iccid":"` + a + `","activation_code":"` + strings.Repeat("x", 1001) + `"}]`, ReasonSchema, "number 1: activation_code is over 1000"},
		"a megabyte and more":  {`["` + strings.Repeat("x", MaxMessage) + `"]`, ReasonTooLarge, ""},
		"two readings":         {`[{"iccid":"` + a + `","iccid":"` + b + `"}]`, ReasonMalformed, ""},
		"an iccid as a number": {`[{"iccid":` + a + `}]`, ReasonSchema, "iccid is a JSON number"},
	} {
		_, err := DecodeESIMs([]byte(c.in))
		var e *Error
		if !errors.As(err, &e) || e.Reason != c.reason || !strings.Contains(e.Text, c.text) {
			t.Errorf("%s: %v, want %s %q", name, err, c.reason, c.text)
		}
		if err != nil && strings.Contains(err.Error(), a) {
			t.Errorf("%s: the error names a card: %v", name, err)
		}
	}
}
