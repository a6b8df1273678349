package eiotclub

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sameAsSlow: what quick takes is what encoding/json makes of it. It says whether
// quick took it.
func sameAsSlow(t testing.TB, b []byte) bool {
	t.Helper()
	var fast, slow envelope
	took := fast.quick(b)
	if took {
		if err := json.Unmarshal(b, &slow); err != nil {
			t.Fatalf("%s: taken, and refused by encoding/json: %v", b, err)
		}
		if diff := cmp.Diff(slow, fast); diff != "" {
			t.Fatalf("%s: -encoding/json +quick\n%s", b, diff)
		}
	}
	for _, data := range [][]byte{b, fast.Data} {
		number, id, ok := quickIDs(data, "orderNumber", "orderId")
		if !ok {
			continue
		}
		var d struct {
			OrderNumber ID `json:"orderNumber"`
			OrderID     ID `json:"orderId"`
		}
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatalf("%s: taken, and refused by encoding/json: %v", data, err)
		}
		if number != d.OrderNumber || id != d.OrderID {
			t.Fatalf("%s: %q %q, encoding/json says %q %q", data, number, id, d.OrderNumber, d.OrderID)
		}
	}
	return took
}

var envelopes = map[string]bool{ // and whether quick is to take it
	`{"code":"200","message":"success","data":{"orderNumber":"1611558040873b105b2678de34504a35","orderId":101106255}}`: true,
	` { "code" : 200 , "message" : null , "data" : [ 1 , { "a" : "b" } ] , "total" : 12.50 } `:                         true,
	`{"code":"42002","data":null,"other":{"code":1}}`:                                                                  true,
	`{"code":"\u0032\u00300","message":"\u6210\u529f \ud83d\ude00 成功"}`:                                                true,
	`{"code":true,"message":-1.5e3,"total":"x"}`:                                                                       true,
	`{}`: true,
	`{"data":{"orderId":"0","orderNumber":" a "}}`:   true,
	`{"data":{"orderId":"\u0000","orderNumber":0}}`:  true,
	`{"data":{"orderId":007}}`:                       false,
	`{"code":"200","Code":"500"}`:                    false,
	`{"CODE":"200"}`:                                 false,
	`{"code":"200","code":"500"}`:                    false,
	`{"me\u0073\u017fage":"long s","code":"200"}`:    false,
	`{"code":{}}`:                                    false,
	`{"data":"text"}`:                                false,
	`{"data":7}`:                                     false,
	`{"message":"\ud800"}`:                           false,
	"{\"message\":\"\xff\"}":                         false,
	"\xef\xbb\xbf{}":                                 false,
	`{"code":"200"} {}`:                              false,
	`{"code":"200"`:                                  false,
	`[]`:                                             false,
	`null`:                                           false,
	``:                                               false,
	`{"data":{"orderId":{}}}`:                        true,
	`{"data":{"orderId":1.01106255E8}}`:              true,
	`{"data":{"orderId":-1,"orderNumber":true}}`:     true,
	`{"data":{"OrderId":1,"orderNumber":"1"}}`:       true,
	`{"data":{"orderId":99999999999999999999}}`:      true,
	`{"orderId":123456789012345678,"orderNumber":9}`: true,
}

func TestTheQuickDecoderIsEncodingJSON(t *testing.T) {
	for body, quick := range envelopes {
		if took := sameAsSlow(t, []byte(body)); took != quick {
			t.Errorf("%s: taken %v", body, took)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var samples [][]byte
	for body := range envelopes {
		samples = append(samples, []byte(body))
	}
	took := 0
	for range 100_000 {
		b := append([]byte(nil), samples[rng.IntN(len(samples))]...)
		for range 1 + rng.IntN(3) {
			at := rng.IntN(len(b) + 1)
			switch piece := samples[rng.IntN(len(samples))]; {
			case rng.IntN(3) == 0 && at < len(b):
				b = append(b[:at], b[at+1:]...)
			case rng.IntN(2) == 0:
				b = append(b[:at:at], append([]byte{` "\{}[]:,0-9.eEcCoOdDnull`[rng.IntN(25)]}, b[at:]...)...)
			case len(piece) > 0:
				from := rng.IntN(len(piece))
				to := from + rng.IntN(min(12, len(piece)-from)+1)
				b = append(b[:at:at], append(append([]byte(nil), piece[from:to]...), b[at:]...)...)
			}
		}
		if sameAsSlow(t, b) {
			took++
		}
	}
	if took < 1000 {
		t.Errorf("%d of the changed ones taken", took)
	}
}

func BenchmarkDecode(b *testing.B) {
	body := []byte(`{"code":"200","message":"success","data":{"orderNumber":"1611558040873b105b2678de34504a35","orderId":101106255}}`)
	b.Run("quick", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var e envelope
			e.quick(body)
			quickIDs(e.Data, "orderNumber", "orderId")
		}
	})
	b.Run("encoding_json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var e envelope
			var d struct {
				OrderNumber ID `json:"orderNumber"`
				OrderID     ID `json:"orderId"`
			}
			if json.Unmarshal(body, &e) != nil || json.Unmarshal(e.Data, &d) != nil {
				b.Fatal("refused")
			}
		}
	})
}
