package eiotclub_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/simline/simline/internal/sim/eiotclub"
)

// BenchmarkPurchase is what one order costs in the simulator itself, without a network.
func BenchmarkPurchase(b *testing.B) {
	s := eiotclub.New(eiotclub.Config{Seed: 1})
	defer s.Close()
	h := s.Handler()
	ts := strconv.FormatInt(time.Now().Unix(), 10)
	var n atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			out := fmt.Sprint("order-", n.Add(1))
			p := map[string]string{"appkey": s.AppKey(), "timestamp": ts, "nonce": "12345", "iccid": eiotclub.SeedICCID,
				"packageCode": eiotclub.PackageCode, "outTradeNo": out}
			body := fmt.Appendf(nil, `{"appkey":%q,"timestamp":%s,"nonce":12345,"iccid":%q,"packageCode":%q,"outTradeNo":%q,"sign":%q}`,
				s.AppKey(), ts, eiotclub.SeedICCID, eiotclub.PackageCode, out, eiotclub.Sign(p, s.Secret()))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/api/v3/package/orderPackage", bytes.NewReader(body)))
			if !bytes.Contains(w.Body.Bytes(), []byte(`"200"`)) {
				b.Fatalf("%s", w.Body)
			}
		}
	})
	if int64(s.Orders()) != n.Load() {
		b.Fatalf("%d orders of %d", s.Orders(), n.Load())
	}
}
