package archiver

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

func envelopeOf(b *testing.B, typ string, data any) []byte {
	b.Helper()
	env, err := wire.NewEnvelope(typ, "/simline/orderer", "o1", "id-1", time.Now(), data)
	if err != nil {
		b.Fatal(err)
	}
	raw, err := env.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	return raw
}

func BenchmarkDecodeOrder(b *testing.B) {
	plain := record1(1, order.Fulfilled)
	plain.ESIMs = nil
	for name, rec := range map[string]order.Record{"package": plain, "esim": record1(1, order.Fulfilled)} {
		m := record{data: string(envelopeOf(b, "simline.order.fulfilled.v1", rec))}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(m.data)))
			b.ReportAllocs()
			for range b.N {
				if _, err := decodeOrder(m, time.Time{}, time.Time{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecodeWebhook(b *testing.B) {
	body := json.RawMessage(`{"data":"[{\"iccid\":\"89423053323291099364\",\"orderId\":10004728,\"packageName\":\"A-TM-50M-1\",\"packageCode\":\"A-TM-50M-1D-A-CN-TEST-2024052489FC722C\",\"state\":0,\"gzhPackageName\":\"\",\"createDate\":\"2024-05-28 09:34:47\",\"packageType\":3,\"outTradeNo\":\"6300001983111426769635\"}]","event":"SubPkgList","id":"ue5Y0qNC8QQIRtUR3UgV4xzg","nonce":40604,"sign":"F0D19FA6945B21C0D61BDEFD4DCC41B64B29272B","timestamp":1716860340}`)
	m := record{subject: "webhooks.v1.eiotclub.default.SubPkgList", data: string(envelopeOf(b, "simline.webhook.SubPkgList.v1", body))}
	b.SetBytes(int64(len(m.data)))
	b.ReportAllocs()
	for range b.N {
		if _, err := decodeWebhook(m, time.Time{}, time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
}
