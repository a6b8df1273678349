package supplier

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// purchaseReply is an answer as EIOTCLUB's sample has it, with the headers that a
// Java server sends.
const purchaseReply = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Type: application/json;charset=utf-8\r\nContent-Length: 112\r\nConnection: keep-alive\r\n\r\n" +
	`{"code":"200","message":"success","data":{"orderNumber":"1611558040873b105b2678de34504a35","orderId":101106255}}`

// stub answers whatever comes in one read with reply, and costs next to nothing.
func stub(tb testing.TB, reply string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf, reply := make([]byte, 4096), []byte(reply)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := c.Write(reply); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// BenchmarkHTTP is one call to a server that costs next to nothing: bare bytes over
// a socket, which is the least that can be had, our client, and net/http's. cpu-ns is
// the processor time of the whole process, the server's share included.
func BenchmarkHTTP(b *testing.B) {
	addr := stub(b, purchaseReply)
	body := bytes.Repeat([]byte("x"), 260)
	header := http.Header{"Content-Type": {"application/json;charset=utf-8"}, "Accept": {"application/json"}}
	url := "http://" + addr + "/api/v3/package/orderPackage"
	run := func(name string, each func(b *testing.B) func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(32)
			var before, after syscall.Rusage
			syscall.Getrusage(syscall.RUSAGE_SELF, &before)
			b.RunParallel(func(pb *testing.PB) {
				call := each(b)
				for pb.Next() {
					if err := call(); err != nil {
						b.Error(err)
						return
					}
				}
			})
			syscall.Getrusage(syscall.RUSAGE_SELF, &after)
			b.ReportMetric(float64(cpu(after)-cpu(before))/float64(b.N), "cpu-ns/op")
		})
	}
	run("bytes", func(b *testing.B) func() error {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
		out, in := bytes.Repeat([]byte("x"), 450), make([]byte, 4096)
		return func() error {
			if _, err := c.Write(out); err != nil {
				return err
			}
			_, err := c.Read(in)
			return err
		}
	})
	ours := NewHTTP(HTTPConfig{})
	b.Cleanup(ours.CloseIdle)
	run("ours", func(b *testing.B) func() error {
		ctx := b.Context()
		return func() error {
			_, err := ours.Do(ctx, Call{Op: "op", Method: http.MethodPost, URL: url, Header: header, Body: body})
			return err
		}
	})
	theirs := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
	b.Cleanup(theirs.CloseIdleConnections)
	run("net_http", func(b *testing.B) func() error {
		ctx := b.Context()
		return func() error {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
			if err != nil {
				return err
			}
			r.Header = header
			resp, err := theirs.RoundTrip(r)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			_, err = io.ReadAll(resp.Body)
			return err
		}
	})
}

func cpu(u syscall.Rusage) time.Duration {
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
