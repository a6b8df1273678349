package e2e_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/bus/bustest"
	"github.com/simline/simline/internal/e2e"
)

// TestTenThousandIdleConnections opens more connections than any supplier does and
// leaves them: half of them never say anything, half were used once. Good requests
// are served meanwhile, and memory stays bounded.
func TestTenThousandIdleConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs binaries")
	}
	const idle = 10_000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < idle+500 {
		t.Skipf("%d files may be open (%v)", limit.Max, err)
	}
	if limit.Cur < limit.Max {
		limit.Cur = limit.Max
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}
	srv := bustest.Start(t, bustest.Options{})
	b, err := bus.Connect(bus.Config{URL: srv.URL(), Name: "idle"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.Provision(t.Context(), bus.DefaultSettings()); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	p, err := e2e.NewProcess("ingest", built(t), t.TempDir(), []string{"NATS_URL=" + srv.URL(), "EIOTCLUB_APP_SECRET=" + stormSecret, "HTTP_ADDR=" + addr, "SPOOL_DIR=" + filepath.Join(t.TempDir(), "spool")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() }) // if the test ends before its end
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	url := "http://" + addr + "/webhooks/eiotclub/default"
	open := make([]net.Conn, idle)
	defer func() {
		for _, c := range open {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	var workers sync.WaitGroup
	var next atomic.Int64
	for range 32 {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < idle; i = next.Add(1) - 1 {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
				if open[i] = c; i%2 == 0 {
					continue
				}
				body := stormNotice(fmt.Sprint("idle-", i), stormSecret)
				fmt.Fprintf(c, "POST /webhooks/eiotclub/default HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("connection %d: %v %v", i, resp, err)
					return
				}
			}
		})
	}
	workers.Wait()
	client := &http.Client{Timeout: time.Minute}
	var took, still []time.Duration // still: of those that wait for nothing, so what the machine itself takes
	for i := range 500 {
		begin := time.Now()
		status, answer, err := post(client, url, stormNotice(fmt.Sprint("good-", i), stormSecret))
		if err != nil || status != http.StatusOK || !strings.Contains(answer, "SUCCESS") {
			t.Fatalf("%d %s %v", status, answer, err)
		}
		took, begin = append(took, time.Since(begin)), time.Now()
		if status, answer, err := post(client, url, stormNotice(fmt.Sprint("forged-", i), "guessed")); err != nil || status != http.StatusUnauthorized {
			t.Fatalf("forged: %d %s %v", status, answer, err)
		}
		still = append(still, time.Since(begin))
	}
	for _, i := range []int{0, 1, idle - 2, idle - 1} { // they are still there
		if err := open[i].SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := open[i].Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	p99, noise := share(took, 99), share(still, 99)
	t.Logf("%d idle connections: p99 of the answer %s, of refusing a forged one %s, peak memory %d MiB", idle, p99, noise, p.Peak()>>20)
	if p99 >= time.Second+noise {
		t.Errorf("p99 of the answer is %s, that of an answer which waits for nothing %s", p99, noise)
	}
	if p.Peak() >= 128<<20 {
		t.Errorf("peak memory is %d MiB", p.Peak()>>20)
	}
	if err := p.Stop(time.Minute); err != nil {
		t.Error(err)
	}
}
