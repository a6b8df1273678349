package order

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// fill sets every field of v that it can, or some of them, to arbitrary values.
func fill(t *rapid.T, v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		sec := rapid.Int64Range(0, 4e9).Draw(t, "sec")
		v.Set(reflect.ValueOf(time.Unix(sec, rapid.SampledFrom([]int64{0, 5, 120_000_000, 999_999_999}).Draw(t, "nano")).UTC()))
		return
	}
	if v.Type() == reflect.TypeFor[Money]() {
		m, err := NewMoney(rapid.SampledFrom([]string{"0", "5.00", "0.125", "99999"}).Draw(t, "amount"), "USD")
		if err != nil {
			t.Fatal(err)
		}
		v.Set(reflect.ValueOf(m))
		return
	}
	if v.Type() == reflect.TypeFor[json.RawMessage]() {
		v.SetBytes([]byte(rapid.SampledFrom([]string{"", `{"a":1}`, `{"b":"<é>"}`, "null", ` { "c" : [ 1 , 2 ] } `}).Draw(t, "raw")))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(rapid.OneOf(rapid.Just(""), rapid.String(), rapid.SampledFrom([]string{"plain", "<&>", "a\"b\\c", "\x00\x7f", "\u2028é", "\xff"})).Draw(t, "text"))
	case reflect.Int:
		v.SetInt(rapid.Int64Range(-3, 1000).Draw(t, "int"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "there") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem())
		}
	case reflect.Slice:
		n := rapid.IntRange(0, 3).Draw(t, "n")
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(t, v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	default:
		t.Fatalf("a field of kind %s: teach fill about it", v.Kind())
	}
}

func TestAppendJSONIsWhatEncodingJSONWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Record
		fill(t, reflect.ValueOf(&r).Elem())
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.AppendJSON([]byte("x"))
		if err != nil || string(got) != "x"+string(want) {
			t.Fatalf("%v\n got %s\nwant %s", err, got, want)
		}
		if want, err = json.Marshal(r.Request); err != nil {
			t.Fatal(err)
		}
		if got, err = r.Request.AppendJSON(nil); err != nil || string(got) != string(want) {
			t.Fatalf("%v\n got %s\nwant %s", err, got, want)
		}
	})
}

func TestAppendJSONRefusesWhatCannotBeReadBack(t *testing.T) {
	if _, err := (&Record{At: time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)}).AppendJSON(nil); err == nil {
		t.Error("a year of five digits was written")
	}
	if _, err := (&Record{Total: &Money{}}).AppendJSON(nil); err == nil {
		t.Error("money without a currency was written")
	}
	if _, err := (&Record{Request: Request{Metadata: json.RawMessage("{")}}).AppendJSON(nil); err == nil {
		t.Error("metadata that is no JSON was written")
	}
}

func BenchmarkRecordJSON(b *testing.B) {
	now := time.Now().UTC()
	r := Record{OrderID: "630000198311142676", Supplier: EIOTCLUB, Product: ProductPackage, Account: "default", State: Placed, Certainty: CertainPlaced, Evidence: EvidenceReply,
		SupplierOrderID: "101106255", At: now, AcceptedAt: now, FirstSentAt: &now, LastSentAt: &now, RequestHash: "abc", Writer: "w-1",
		Request: Request{OrderID: "630000198311142676", Supplier: EIOTCLUB, Product: ProductPackage, Account: "default", ICCID: "8988308650100524999", PackageCode: "CN-5M"}}
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			_, _ = r.AppendJSON(make([]byte, 0, 1024))
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		for b.Loop() {
			_, _ = json.Marshal(r)
		}
	})
}
