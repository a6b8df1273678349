// Package esimfly is a simulator of eSIMfly's business API (seed 003): orders paid from a balance, order status,
// balance and packages, behind HMAC headers.
//
// Input: signed calls under /api/v1/business/, and an administrator's calls under /_sim/. Output: documented answers,
// damaged ones where a fault rule says so, and the book for a test or the demo to compare with.
//
// It must not import simline's own client or its signing: it is an independent reading of the document, so that a
// mistake in one of the two shows. In comments D marks what the document says, I what we infer.
package esimfly

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/simline/simline/internal/sim/fault"
)

// Burn says which requests use up their RT-RequestID. D: "Duplicate request IDs are rejected"; which ones count is
// not said.
type Burn int

// The readings of "duplicate".
const (
	BurnAuthenticated Burn = iota // every request with a good signature (default)
	BurnPlaced                    // only those that placed an order
)

// Config says what the simulated supplier is like. The zero value of every field is sound.
type Config struct {
	AccessCode, SecretKey string // default esf_your_access_code and sk_your_secret_key, as in the document

	Clock          func() time.Time // default time.Now
	ClockTolerance time.Duration    // default 5 m (I)
	Seed           uint64           // of every random choice; 0 takes one from the clock
	Latency        time.Duration    // added to each call
	Logger         *slog.Logger     // default: discards

	NotBusiness     bool          // the account is no business account: 403 INVALID_USER
	Opening         int64         // balance to begin with in cents; default 1,000,000.00
	RateLimit       int           // requests an hour and key; default 1000 (D), below 0 none
	RequestIDsFor   time.Duration // how long a RequestID is remembered; default 24 h (D)
	Burns           Burn
	DuplicateCode   string        // default DUPLICATE_REQUEST; the other known one is AUTH_DUPLICATE_REQUEST_ID (I)
	DuplicateStatus int           // default 409, for AUTH_ codes 401 (I)
	AnyRequestID    bool          // take RequestIDs that are no UUID v4
	PendingEvery    int           // each Nth order comes as pending_details; 0 none, 1 all
	PendingLooks    int           // a pending order completes at this look (default 1) …
	PendingFor      time.Duration // … and not before this time has passed
	FirstESimID     int64
	Packages        []Package
}

func (c *Config) fill() {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.AccessCode = cmp.Or(c.AccessCode, "esf_your_access_code")
	c.SecretKey = cmp.Or(c.SecretKey, "sk_your_secret_key")
	c.ClockTolerance = cmp.Or(c.ClockTolerance, 5*time.Minute)
	c.Seed = cmp.Or(c.Seed, uint64(c.Clock().UnixNano()))
	c.Opening = cmp.Or(c.Opening, 100_000_000)
	c.RateLimit = cmp.Or(c.RateLimit, 1000)
	c.RequestIDsFor = cmp.Or(c.RequestIDsFor, 24*time.Hour)
	c.DuplicateCode = cmp.Or(c.DuplicateCode, "DUPLICATE_REQUEST")
	if c.DuplicateStatus == 0 {
		c.DuplicateStatus = http.StatusConflict
		if c.DuplicateCode == "AUTH_DUPLICATE_REQUEST_ID" {
			c.DuplicateStatus = http.StatusUnauthorized
		}
	}
	c.PendingLooks = cmp.Or(c.PendingLooks, 1)
	c.FirstESimID = cmp.Or(c.FirstESimID, 2503)
	if c.Packages == nil {
		c.Packages = defaultPackages()
	}
}

// Sim is one simulated business account.
type Sim struct {
	cfg    Config
	book   *book
	faults fault.Set
	mux    *http.ServeMux

	mu  sync.Mutex
	srv *http.Server
	wg  sync.WaitGroup
}

// New makes a simulator.
func New(cfg Config) *Sim {
	cfg.fill()
	s := &Sim{cfg: cfg, book: newBook(cfg, cfg.Clock()), mux: http.NewServeMux()}
	s.handle("POST /api/v1/business/esims/order", s.placeOrder)
	s.handle("GET /api/v1/business/esims/order", s.orderStatus)
	s.handle("GET /api/v1/business/balance", s.balance)
	s.handle("GET /api/v1/business/packages", s.packages)
	s.admin(s.mux)
	return s
}

// Handler is the whole simulator as an http.Handler.
func (s *Sim) Handler() http.Handler { return s.mux }

// Faults are the rules in force.
func (s *Sim) Faults() *fault.Set { return &s.faults }

// AccessCode is what calls must name.
func (s *Sim) AccessCode() string { return s.cfg.AccessCode }

// SecretKey is what calls must be signed with.
func (s *Sim) SecretKey() string { return s.cfg.SecretKey }

// Start listens on an address (":0" forms included) and returns the base URL.
func (s *Sim) Start(addr string) (string, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("esimfly simulator: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.srv = &http.Server{Handler: s.mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug)}
	s.wg.Go(func() { s.srv.Serve(ln) })
	return "http://" + ln.Addr().String(), nil
}

// Close stops listening and drops what is under way.
func (s *Sim) Close() {
	s.mu.Lock()
	srv := s.srv
	s.mu.Unlock()
	if srv != nil {
		srv.Close()
	}
	s.wg.Wait()
}

// call is one request on its way through the simulator.
type call struct {
	r    *http.Request
	body []byte
	id   string // RT-RequestID
	now  time.Time
}

// reply is what an endpoint answers.
type reply struct {
	status int
	body   any
}

type object = map[string]any

// refuse writes an error in the document's form: most have "message" and "code", those of authentication "error".
func refuse(status int, code, message string, more ...any) reply {
	b := object{"success": false, "message": message, "code": code}
	for i := 0; i+1 < len(more); i += 2 {
		b[more[i].(string)] = more[i+1]
	}
	return reply{status, b}
}

func refuseAuth(status int, code, text string) reply {
	return reply{status, object{"success": false, "error": text, "code": code}}
}

// handle wires an endpoint: body → faults → authentication → rate limit → RequestID → endpoint.
func (s *Sim) handle(pattern string, do func(*call) reply) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "reading the body failed", http.StatusBadRequest)
			return
		}
		if s.cfg.Latency > 0 {
			fault.Sleep(r.Context(), s.cfg.Latency)
		}
		c := &call{r: r, body: body, id: r.Header.Get("RT-RequestID"), now: s.cfg.Clock()}
		var rules []fault.Rule
		if s.faults.Active() {
			rules = s.faults.Take(fault.Call, r.Method+" "+r.URL.Path, c.ids()...)
		}
		limit := http.Header{}
		fault.Serve(w, r, rules,
			func() fault.Answer { return s.run(c, do, limit).encode(limit) },
			func(rule fault.Rule) fault.Answer { return s.refuseByRule(rule).encode(limit) })
	})
}

func (s *Sim) run(c *call, do func(*call) reply, limit http.Header) reply {
	if r, refused := s.authenticate(c); refused {
		return r
	}
	if r, refused := s.limit(c, limit); refused {
		return r
	}
	return s.once(c, do)
}

// ids are all values that could name what a call is about.
func (c *call) ids() []string {
	out := []string{c.id, c.r.URL.Query().Get("orderReference")}
	var b map[string]any
	if json.Unmarshal(c.body, &b) == nil {
		for _, v := range b {
			if t, ok := v.(string); ok {
				out = append(out, t)
			}
		}
	}
	return out
}

func (r reply) encode(h http.Header) fault.Answer {
	b, err := json.Marshal(r.body)
	if err != nil {
		return fault.Answer{Status: http.StatusInternalServerError, Type: "text/plain", Body: []byte(err.Error())}
	}
	return fault.Answer{Status: r.status, Type: "application/json; charset=utf-8", Header: h, Body: b}
}

// refuseByRule writes a fault in the supplier's own form. Known codes get their documented status and text.
func (s *Sim) refuseByRule(rule fault.Rule) reply {
	code, status, message := rule.Code, rule.Status, rule.Message
	known, ok := errorForms[code]
	switch {
	case rule.Kind == fault.TooManyRequests:
		return tooMany()
	case rule.Kind == fault.NoFunds:
		s.book.mu.Lock()
		defer s.book.mu.Unlock()
		return insufficient(s.book.balance, s.book.balance+100)
	case rule.Kind == fault.OutOfStock:
		known, ok = errorForms["INVALID_PACKAGE"], true
		code = "INVALID_PACKAGE"
	}
	if !ok {
		known = form{http.StatusInternalServerError, "Failed to process order", false}
	}
	status, message = cmp.Or(status, known.status), cmp.Or(message, known.text)
	if known.auth {
		return refuseAuth(status, code, message)
	}
	return refuse(status, code, message)
}

type form struct {
	status int
	text   string
	auth   bool
}

// errorForms are the errors of seed 003 (D) and, after them, those that are inferred.
var errorForms = map[string]form{
	"MISSING_FIELDS":         {http.StatusBadRequest, "Missing required fields", false},
	"INVALID_PACKAGE":        {http.StatusBadRequest, "Invalid package selected", false},
	"PRICE_MISMATCH":         {http.StatusBadRequest, "Invalid price submitted", false},
	"INSUFFICIENT_BALANCE":   {http.StatusBadRequest, "Insufficient balance", false},
	"INVALID_SIGNATURE":      {http.StatusUnauthorized, "Invalid HMAC signature", true},
	"INVALID_USER":           {http.StatusForbidden, "Invalid user or not a business account", true},
	"ORDER_PROCESSING_ERROR": {http.StatusInternalServerError, "Failed to process order", false},

	"INVALID_TIMESTAMP":         {http.StatusUnauthorized, "Request timestamp is outside the allowed window", true},
	"INVALID_REQUEST_ID":        {http.StatusUnauthorized, "RT-RequestID must be a UUID v4", true},
	"INVALID_QUANTITY":          {http.StatusBadRequest, "Quantity must be between 1 and 10", false},
	"ORDER_NOT_FOUND":           {http.StatusNotFound, "Order not found", false},
	"RATE_LIMIT_EXCEEDED":       {http.StatusTooManyRequests, "Too many requests", true},
	"DUPLICATE_REQUEST":         {http.StatusConflict, "Duplicate request ID", true},
	"AUTH_DUPLICATE_REQUEST_ID": {http.StatusUnauthorized, "Request ID has already been used", true},
}

func refusal(code string) reply {
	f := errorForms[code]
	if f.auth {
		return refuseAuth(f.status, code, f.text)
	}
	return refuse(f.status, code, f.text)
}

func tooMany() reply { return refusal("RATE_LIMIT_EXCEEDED") }

// insufficient is INSUFFICIENT_BALANCE with its three amounts (D).
func insufficient(have, need int64) reply {
	return refuse(http.StatusBadRequest, "INSUFFICIENT_BALANCE", "Insufficient balance",
		"currentBalance", number(have), "requiredBalance", number(need), "needToLoad", number(need-have))
}

// number writes cents as a JSON number with two digits: 25.50.
func number(cents int64) json.Number {
	sign := ""
	if cents < 0 {
		sign, cents = "-", -cents
	}
	return json.Number(sign + strconv.FormatInt(cents/100, 10) + "." + fmt.Sprintf("%02d", cents%100))
}
