package chaos

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// door stands before a supplier and counts the purchases that arrive, by what makes
// each of them that purchase. It is the one book that no fault of a simulator and no
// word of ours can falsify.
type door struct {
	behind http.Handler
	key    func(r *http.Request, body []byte) string // empty: no purchase
	url    string
	server *http.Server

	mu    sync.Mutex
	posts map[string]int
}

func open(behind http.Handler, key func(*http.Request, []byte) string) (*door, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &door{behind: behind, key: key, url: "http://" + ln.Addr().String(), posts: map[string]int{}}
	d.server = &http.Server{Handler: d, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := d.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			panic(err) // a supplier that is gone by itself makes every figure worthless
		}
	}()
	return d, nil
}

// Close ends it and what is under way in it.
func (d *door) Close() error { return d.server.Close() }

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		return // whoever sent it died over it
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if key := d.key(r, body); key != "" {
		d.mu.Lock()
		d.posts[key]++
		d.mu.Unlock()
	}
	d.behind.ServeHTTP(w, r)
}

// of is how many purchases arrived under a key.
func (d *door) of(key string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.posts[key]
}

// all is how many arrived.
func (d *door) all() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, k := range d.posts {
		n += k
	}
	return n
}

// outTradeNo is what an EIOTCLUB purchase cannot be made twice under.
func outTradeNo(r *http.Request, body []byte) string {
	if !strings.HasSuffix(r.URL.Path, "/orderPackage") && !strings.HasSuffix(r.URL.Path, "/purchase") && !strings.HasSuffix(r.URL.Path, "/pool/sub") {
		return ""
	}
	var p struct {
		OutTradeNo string `json:"outTradeNo"`
		Pool       string `json:"out_trade_no"`
	}
	if json.Unmarshal(body, &p) != nil {
		return ""
	}
	return p.OutTradeNo + p.Pool
}

// requestID is the same of an eSIMfly purchase.
func requestID(r *http.Request, _ []byte) string {
	if r.Method != http.MethodPost {
		return ""
	}
	return r.Header.Get("RT-RequestID")
}
