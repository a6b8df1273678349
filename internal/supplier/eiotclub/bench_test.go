package eiotclub

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// BenchmarkPlace is a purchase against a server that costs nothing, beside the
// barest net/http call to the same server.
func BenchmarkPlace(b *testing.B) {
	reply := []byte(`{"code":"200","message":"success","data":{"orderNumber":"1611558040873b105b2678de34504a35","orderId":101106255}}`)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Write(reply)
	}))
	defer s.Close()
	b.Run("bare", func(b *testing.B) {
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				resp, err := client.Post(s.URL, "application/json", http.NoBody)
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	})
	b.Run("client", func(b *testing.B) {
		c := New(Config{BaseURL: s.URL, AppKey: "000001", Secret: "a1b1c1d1"})
		p := supplier.Purchase{Request: order.Request{OrderID: "630000198311142676", Product: order.ProductPackage, ICCID: "8988308650100524999", PackageCode: "P"}}
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := c.Place(b.Context(), p); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}
