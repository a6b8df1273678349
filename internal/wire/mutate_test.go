package wire

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/simline/simline/schemas/schematest"
)

// Schema and Go code are two judges of one law: on anything made by changing a
// good message from outside they give the same verdict. (cdr.file is cdrpull's
// own, and Go does not tell its missing size from 0.) Left out is what a schema cannot say:
// names given twice (TestCheckJSON), metadata over 16 KiB, and integers written
// as 1.0, which a schema takes for integers and Go does not.
func TestSchemaAndGoGiveTheSameVerdict(t *testing.T) {
	good := map[string][]any{}
	for _, e := range schematest.Examples(t) {
		if decoders[e.Type].accepted && e.Good && e.Type != "cdr.file.v1" {
			good[e.Type] = append(good[e.Type], decodeAny(t, e.Body))
		}
	}
	for _, typ := range slices.Sorted(maps.Keys(good)) {
		t.Run(typ, func(t *testing.T) {
			schema := schematest.Schema(t, typ)
			accepted, refused := 0, 0
			rapid.Check(t, func(rt *rapid.T) {
				m := clone(rapid.SampledFrom(good[typ]).Draw(rt, "good"))
				for range rapid.IntRange(1, 3).Draw(rt, "changes") {
					m = mutate(rt, m)
				}
				b, err := json.Marshal(m)
				if err != nil {
					rt.Fatal(err)
				}
				schemaSays, goSays := schema.Validate(m), decoders[typ].decode(b)
				if (schemaSays == nil) != (goSays == nil) {
					rt.Fatalf("%s\nschema: %v\nGo: %v", b, schemaSays, goSays)
				}
				if goSays == nil {
					accepted++
				} else {
					refused++
				}
			})
			if accepted == 0 || refused == 0 {
				t.Errorf("%d accepted, %d refused: the changes try one side only", accepted, refused)
			}
		})
	}
}

func decodeAny(t *testing.T, b []byte) any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = clone(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = clone(e)
		}
		return out
	}
	return v
}

// values to put anywhere: what senders really get wrong, and what they may send.
var values = []any{
	nil, true, false, "", " ", "x", "a.b", "A_b-9", "default", "eiotclub", "esimfly", "package", "esim", "pool_package", "cloud_esim_package",
	"placed", "not_placed", "lookup", "person", "reply", "fulfilled", "held", "1.0", "0.3",
	json.Number("0"), json.Number("1"), json.Number("-1"), json.Number("10"), json.Number("11"), json.Number("3650"), json.Number("2.5"), json.Number("1e400"), json.Number("9223372036854775808"),
	"0.00", "-0.00", "-1.00", "5", "5.000000", "5.0000000", "1000000000000", "999999999999.999999", "1e3", "+1", ".5", "USD", "usd", "US$", "USDX",
	"8988308650100524999", "89044045116727494800000011603725", "8988308650100524F99", "898830865010052499", "89883086501005249999999",
	"2026-01-15T00:00:00Z", "2026-01-15T00:00:00.5+08:00", "2026-01-15t00:00:00z", "2026-01-15 00:00:00", "2026-02-30T00:00:00Z", "1899-12-31T23:59:59Z", "2999-12-31T23:59:59Z", "3000-01-01T00:00:00Z", "2026-01-15T00:00:60Z",
	"line\nbreak", "tab\there", "bell\a", "nul\x00", "del\x7f", "é", "你好", strings.Repeat("x", 32), strings.Repeat("x", 33), strings.Repeat("x", 64), strings.Repeat("x", 65),
	strings.Repeat("é", 255), strings.Repeat("é", 256), strings.Repeat("é", 1000), strings.Repeat("é", 1001), strings.Repeat("y", 1024), strings.Repeat("y", 1025),
	[]any{}, []any{nil}, []any{map[string]any{}}, []any{map[string]any{"iccid": "1", "pin": "2"}}, map[string]any{}, map[string]any{"amount": "1.00", "currency": "USD"}, map[string]any{"amount": "1.00", "Currency": "USD"},
	map[string]any{"amount": nil, "currency": "USD"}, map[string]any{"A": map[string]any{"b": nil}},
}

var names = []string{"order_id", "supplier", "product", "account", "iccid", "eid", "goods_code", "pool_object_id", "pool_type_code", "package_code", "package_name",
	"price", "quantity", "duration_days", "flag_url", "max_total", "expires_at", "metadata", "reason", "actor", "source", "certainty", "state_there", "total", "esims",
	"observed_at", "supplier_order_id", "supplier_order_number", "task_id", "what", "file", "size", "window_start", "window_end", "generated_at", "amount", "currency",
	"specversion", "id", "type", "subject", "time", "datacontenttype", "traceparent", "data", "data_base64", "shopregion", "Data", "SpecVersion", "unheard_of", ""}

// mutate changes one thing somewhere in v.
func mutate(t *rapid.T, v any) any {
	switch v := v.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
		case what == 0: // a name more, or another value under one that is there
			v[rapid.SampledFrom(names).Draw(t, "name")] = clone(rapid.SampledFrom(values).Draw(t, "value"))
			return v
		case what == 1 && len(keys) > 0: // a name less
			delete(v, rapid.SampledFrom(keys).Draw(t, "without"))
			return v
		case what == 2 && len(keys) > 0: // a name in another case
			k := rapid.SampledFrom(keys).Draw(t, "case of")
			e := v[k]
			delete(v, k)
			v[otherCase(t, k)] = e
			return v
		case what == 3: // something else altogether
			return clone(rapid.SampledFrom(values).Draw(t, "value"))
		case len(keys) > 0:
			k := rapid.SampledFrom(keys).Draw(t, "in")
			v[k] = mutate(t, v[k])
			return v
		}
	case []any:
		if len(v) > 0 && rapid.Bool().Draw(t, "item") {
			i := rapid.IntRange(0, len(v)-1).Draw(t, "index")
			v[i] = mutate(t, v[i])
			return v
		}
	}
	return clone(rapid.SampledFrom(values).Draw(t, "value"))
}

func otherCase(t *rapid.T, s string) string {
	switch rapid.IntRange(0, 2).Draw(t, "case") {
	case 0:
		return strings.ToUpper(s)
	case 1:
		return strings.Replace(s, "s", "ſ", 1) // U+017F: an s when case is ignored
	}
	return strings.Replace(s, "k", "\u212a", 1) // the Kelvin sign: a k likewise
}
