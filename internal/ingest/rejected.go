package ingest

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Rejected is a refused request as a person may see it: nothing of it identifies
// a card, installs an eSIM or can be sent again.
type Rejected struct {
	At      time.Time `json:"at"`
	Reason  string    `json:"reason"`
	Status  int       `json:"status"`
	Account string    `json:"account,omitempty"` // "<supplier>/<name>", if it is one of ours
	Method  string    `json:"method"`
	Sender  string    `json:"sender"`
	Bytes   int       `json:"bytes"`
	Detail  string    `json:"detail,omitempty"`
	Body    string    `json:"body,omitempty"` // its beginning, redacted
}

const (
	keepRejected     = 1000
	keepRejectedBody = 1024
)

// rejectedLog holds the last of them in memory.
type rejectedLog struct {
	mu   sync.Mutex
	ring []Rejected
	next int
}

func (l *rejectedLog) add(r Rejected) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ring) < keepRejected {
		l.ring = append(l.ring, r)
		return
	}
	l.ring[l.next] = r
	l.next = (l.next + 1) % keepRejected
}

// last lists them, newest first.
func (l *rejectedLog) last() []Rejected {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Rejected, 0, len(l.ring))
	for i := range l.ring {
		out = append(out, l.ring[(l.next-1-i+2*len(l.ring))%len(l.ring)])
	}
	return out
}

// ServeHTTP is /rejected on the admin port.
func (l *rejectedLog) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(l.last())
}

var (
	longDigits = regexp.MustCompile(`[0-9]{11,}`)
	longToken  = regexp.MustCompile(`[0-9A-Fa-f]{24,}`)
	lpaCode    = regexp.MustCompile(`(?i)lpa:[^"\\\s]*`)
	urls       = regexp.MustCompile(`(?i)https?:[^"\s]*`)
)

// redact keeps the shape of a body and takes out what must not be seen: card and
// device numbers but their last four digits, signatures but their first eight,
// activation codes and links.
func redact(body []byte) string {
	cut := len(body) > keepRejectedBody
	if cut {
		body = body[:keepRejectedBody]
	}
	s := strings.ToValidUTF8(string(body), "\uFFFD")
	s = lpaCode.ReplaceAllString(s, "LPA:…")
	s = urls.ReplaceAllString(s, "http…")
	s = longDigits.ReplaceAllStringFunc(s, func(d string) string { return "…" + d[len(d)-4:] })
	s = longToken.ReplaceAllStringFunc(s, func(d string) string { return d[:8] + "…" })
	if cut {
		// What the cut left of a number at the end may be too short to be seen as one.
		s = strings.TrimRight(s, "0123456789abcdefABCDEF") + "…"
	}
	return s
}

// network is the sender as it is kept: the address itself, since it is needed to
// find who sent it.
func network(a netip.Addr) string {
	if !a.IsValid() {
		return "unknown"
	}
	return a.String()
}
