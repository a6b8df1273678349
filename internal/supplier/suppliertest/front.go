package suppliertest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// Fault is what the front does to one call.
type Fault int

// The faults. In each but Before the supplier has done what was asked.
const (
	None      Fault = iota
	Before          // connection reset, and the supplier never sees the call
	LostReply       // connection reset instead of the answer
	HalfBody        // half of the answer, then a reset
	HTML            // a proxy's page with status 200
	Status502       // a proxy's page with status 502
	Redirect        // status 307 to the same place
	Huge            // a body of 10 MiB
	Truncated       // a well-formed HTTP answer whose JSON ends in the middle
	NoJSON          // an empty body with status 200
	Slow            // no answer until the client gives up
)

// Damaged are the faults after which nobody can know.
var Damaged = map[string]Fault{
	"reset before the supplier saw it": Before, "reply lost": LostReply, "half a body": HalfBody, "HTML with status 200": HTML,
	"502 from a proxy": Status502, "redirect": Redirect, "10 MiB": Huge, "cut JSON": Truncated, "empty body": NoJSON, "slow": Slow,
}

// front stands before a supplier and damages its answers.
type front struct {
	behind http.Handler
	mu     sync.Mutex
	next   Fault
	calls  int
	hangs  bool
}

// Damage sets the fault of the next call alone.
func (f *front) Damage(next Fault) {
	f.mu.Lock()
	f.next = next
	f.mu.Unlock()
}

// Calls is how many calls arrived.
func (f *front) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Hangs says whether the supplier did what was asked and its answer never came.
func (f *front) Hangs() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hangs
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	fault := f.next
	f.next = None
	f.calls++
	f.mu.Unlock()
	if fault == None {
		f.behind.ServeHTTP(w, r)
		return
	}
	if fault == Before {
		io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	}
	kept := httptest.NewRecorder()
	f.behind.ServeHTTP(kept, r)
	body := kept.Body.String()
	page := "<html><body>Bad gateway</body></html>"
	switch fault {
	case LostReply:
		panic(http.ErrAbortHandler)
	case HalfBody:
		w.Header().Set("Content-Length", "4096")
		io.WriteString(w, body[:len(body)/2])
		panic(http.ErrAbortHandler)
	case HTML:
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, page)
	case Status502:
		w.WriteHeader(http.StatusBadGateway)
		io.WriteString(w, page)
	case Redirect:
		http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
	case Huge:
		io.WriteString(w, strings.TrimSuffix(body, "}")+`,"padding":"`)
		for range 160 {
			if _, err := io.WriteString(w, strings.Repeat("x", 64<<10)); err != nil {
				return
			}
		}
		io.WriteString(w, `"}`)
	case Truncated:
		io.WriteString(w, body[:len(body)/2])
	case NoJSON:
		w.WriteHeader(http.StatusOK)
	case Slow:
		f.mu.Lock()
		f.hangs = true
		f.mu.Unlock()
		<-r.Context().Done()
	}
}
