package supplier

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A server that closes, resets and babbles at random, and callers that lose
// patience: whatever comes of a call, no request is seen twice, none is seen that
// was told to be not sent, and each that was answered was seen.
func TestNotSentIsNeverSeen(t *testing.T) {
	const callers, calls = 16, 60
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	eachWay(t, func(t *testing.T, server *tls.Config, h *HTTP) {
		var mu sync.Mutex
		seen := map[string]int{}
		s := serveRaw(t, server, func(n int, c net.Conn, br *bufio.Reader) {
			rng := rand.New(rand.NewPCG(seed, uint64(n)))
			for {
				whim := rng.IntN(24)
				if whim == 0 || whim == 1 { // between two requests
					if whim == 1 {
						reset(c)
					}
					return
				}
				line, err := br.ReadString('\n')
				if err != nil {
					return
				}
				mu.Lock()
				seen[strings.Fields(line)[1]]++
				mu.Unlock()
				if whim == 2 {
					reset(c)
					return
				}
				for len(line) > 2 {
					if line, err = br.ReadString('\n'); err != nil {
						return
					}
				}
				io.CopyN(io.Discard, br, 2) // the body of post
				switch whim {
				case 3:
					return
				case 4:
					io.WriteString(c, answer("x")[:rng.IntN(39)])
					return
				case 5:
					io.WriteString(c, answer("x")+"unasked")
				case 7:
					io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
					return
				case 8:
					request(br) // until the caller has lost patience
					return
				default:
					io.WriteString(c, answer("x"))
				}
			}
		})
		codes := map[string]int{}
		var wg sync.WaitGroup
		for caller := range callers {
			rng := rand.New(rand.NewPCG(seed, uint64(1_000_000+caller)))
			wg.Go(func() {
				for i := range calls {
					id := fmt.Sprintf("/%d-%d", caller, i)
					patience := 150 * time.Millisecond
					if rng.IntN(4) == 0 {
						patience = time.Duration(rng.IntN(5000)) * time.Microsecond
					}
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					a, err := h.Do(ctx, post(s.url+id))
					cancel()
					mu.Lock()
					n, code := seen[id], "ok"
					switch {
					case err == nil:
						if n != 1 || string(a.Body) != "x" {
							t.Errorf("%s: answered %q, seen %d times", id, a.Body, n)
						}
					default:
						e := asError(t, err)
						code = fmt.Sprintf("%s %v", e.Code, e.Sent)
						if e.Sent != (e.Kind == Unknown) || !e.Sent && e.Kind != Busy {
							t.Errorf("%s: %+v", id, e)
						}
						if !e.Sent {
							code = "not sent"
							seen[id] += 1_000_000 // and is not to be seen from now on either
						}
					}
					codes[code]++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		mu.Lock()
		defer mu.Unlock()
		for id, n := range seen {
			if n > 1 && n != 1_000_000 {
				t.Errorf("%s: seen %d times, or seen and said to be not sent", id, n)
			}
		}
		t.Logf("%d connections, %v", s.conns.Load(), codes)
		if codes["ok"] == 0 || len(codes) < 3 {
			t.Errorf("nothing much happened: %v", codes)
		}
	})
}
