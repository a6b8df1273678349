// Package eiotclub is a simulator of EIOTCLUB's open platform (seed 002): its HTTP API, the signed notifications that
// it posts to our webhook URL and the CDR files that it pushes over FTP, all from one consistent book of orders.
//
// Input: signed calls under /api/v3/, and an administrator's calls under /_sim/. Output: documented answers, damaged
// ones where a fault rule says so, notifications, and the book for a test or the demo to compare with.
//
// It must not import simline's own client, its signing or its CDR decoder: it is an independent reading of the
// documents, so that a mistake in one of the two shows. In comments D marks what a document says, I what we infer.
package eiotclub

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/simline/simline/internal/sim/eiotclub/feed"
	"github.com/simline/simline/internal/sim/fault"
)

// Config says what the simulated supplier is like. The zero value of every field but AppKey and Secret is sound.
type Config struct {
	AppKey, Secret string // what calls must be signed with; default "000001" and "a1b1c1d1", as in the document

	Clock          func() time.Time // default time.Now
	ClockTolerance time.Duration    // how far a call's timestamp may be off; default 5 m (I: D says only "inaccurate")
	Seed           uint64           // of every random choice; 0 takes one from the clock
	Latency        time.Duration    // added to each call; 0 for benchmarks
	RateLimit      int              // calls in each second of the clock, 501 beyond; 0 none (D: the code, not the limit)
	Logger         *slog.Logger     // default: discards

	WebhookURL      string        // where notifications go; empty: none are made
	NestedData      bool          // data as nested JSON (the schema's form) instead of a JSON string (the examples' form)
	NotifyRetries   int           // repeats of a notification that was not answered SUCCESS; D: none are documented
	NotifyDelay     time.Duration // between two notifications
	NotifyAtOnce    int           // notifications under way at once; default 1, which keeps their order
	NotifyTimeout   time.Duration // for one POST; default 10 s
	FirstOrderID    int64         // default near the document's 101106255, moved by the clock when Seed is 0
	Opening         int64         // balance to begin with, in smallest units; default 1,000,000.00
	Currency        string        // of the account; default USD
	StrictCards     bool          // refuse ICCIDs and EIDs that are not in Cards (42405, 900911) instead of adopting them
	RefusalBurnsID  bool          // a refused purchase uses up its outTradeNo; undocumented, default no
	ESimProcessing  time.Duration // how long a bought eSIM stays "processing" without ICCID and code; default 0
	ESimSuccess     int           // success code of the /esim/ endpoints with an integer code: default 200, D's example 0
	TaskDuration    time.Duration // how long a batch task runs; default 2 s, half of it waiting
	Cards           []Card        // default: the document's card and EID and 20 made ones
	Packages        []Package
	CloudPackages   []Package
	Goods           []Goods
	PoolTypes       []PoolType
	BackgroundEvery time.Duration // how often Start's background work looks at the clock; default 200 ms
}

func (c *Config) fill() {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	now := c.Clock()
	if c.FirstOrderID == 0 {
		c.FirstOrderID = 101106255
		if c.Seed == 0 {
			c.FirstOrderID += now.UnixMilli() % 1e10 * 10 // two runs do not hand out the same ids
		}
	}
	c.Seed = cmp.Or(c.Seed, uint64(now.UnixNano()))
	c.AppKey, c.Secret = cmp.Or(c.AppKey, "000001"), cmp.Or(c.Secret, "a1b1c1d1")
	c.ClockTolerance = cmp.Or(c.ClockTolerance, 5*time.Minute)
	c.NotifyAtOnce = cmp.Or(c.NotifyAtOnce, 1)
	c.NotifyTimeout = cmp.Or(c.NotifyTimeout, 10*time.Second)
	c.Opening = cmp.Or(c.Opening, 100_000_000)
	c.Currency = cmp.Or(c.Currency, "USD")
	c.ESimSuccess = cmp.Or(c.ESimSuccess, 200)
	c.TaskDuration = cmp.Or(c.TaskDuration, 2*time.Second)
	c.BackgroundEvery = cmp.Or(c.BackgroundEvery, 200*time.Millisecond)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Cards == nil {
		c.Cards = defaultCards()
	}
	if c.Packages == nil {
		c.Packages = defaultPackages()
	}
	if c.CloudPackages == nil {
		c.CloudPackages = defaultCloudPackages()
	}
	if c.Goods == nil {
		c.Goods = defaultGoods()
	}
	if c.PoolTypes == nil {
		c.PoolTypes = defaultPoolTypes()
	}
}

func defaultCards() []Card {
	cards := []Card{{ICCID: SeedICCID}, {EID: SeedEID}, {EID: "89044045116727494800000011603725"}}
	for i := range 20 {
		cards = append(cards, Card{ICCID: withCheckDigit(fmt.Sprintf("898830865010%06d", 600000+i))})
	}
	return cards
}

// Sim is one simulated account.
type Sim struct {
	cfg    Config
	book   *book
	faults fault.Set
	notes  *notifier
	mux    *http.ServeMux

	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
	mu   sync.Mutex
	srv  *http.Server
	feed *feed.Feed

	second int64 // of the rate limit
	calls  int
}

// New makes a simulator; Close ends its background work.
func New(cfg Config) *Sim {
	cfg.fill()
	s := &Sim{cfg: cfg, book: newBook(cfg, cfg.Clock())}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.notes = newNotifier(s)
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("/api/v3/", s.serve)
	s.admin(s.mux)
	s.cdrAdmin(s.mux)
	return s
}

// Handler is the whole simulator as an http.Handler.
func (s *Sim) Handler() http.Handler { return s.mux }

// AppKey and Secret are what calls must be signed with.
func (s *Sim) AppKey() string { return s.cfg.AppKey }

// Secret signs calls and notifications.
func (s *Sim) Secret() string { return s.cfg.Secret }

// Faults are the rules in force.
func (s *Sim) Faults() *fault.Set { return &s.faults }

// Start listens on an address (":0" forms included) and returns the base URL. Packages begin and end, with their
// notifications, as the clock passes; without Start call Tick.
func (s *Sim) Start(addr string) (string, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("eiotclub simulator: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.srv = &http.Server{Handler: s.mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug)}
	s.wg.Go(func() { s.srv.Serve(ln) })
	s.wg.Go(s.background)
	return "http://" + ln.Addr().String(), nil
}

func (s *Sim) background() {
	t := time.NewTicker(s.cfg.BackgroundEvery)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
			s.Tick()
		}
	}
}

// Close stops listening, drops what is under way and waits for the background work to end.
func (s *Sim) Close() {
	s.mu.Lock()
	srv := s.srv
	s.mu.Unlock()
	s.stop()
	if srv != nil {
		srv.Close()
	}
	s.notes.close()
	s.wg.Wait()
}

// call is one signed request on its way through the simulator.
type call struct {
	path string // without /api/v3
	p    params
	now  time.Time
}

// reply is what an endpoint answers: a code other than 0 is a refusal.
type reply struct {
	code  int
	data  any
	total *int
}

func refuse(code int) reply { return reply{code: code} }
func ok(data any) reply     { return reply{data: data} }

type endpoint struct {
	do func(*Sim, *call) reply
	// intCode marks the endpoints whose answer has an integer code (D: /esim/goods, purchase and refund; all others,
	// /esim/orderStatus and /esim/queryRefundAmount among them, say "200").
	intCode bool
	message string // of success; D: "success" or "操作成功", by endpoint
}

func (s *Sim) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/api/v3")
	ep, known := endpoints[path]
	if !known {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, "reading the body failed", http.StatusBadRequest)
		return
	}
	p, parseErr := parseParams(body)
	c := &call{path: path, p: p, now: s.cfg.Clock()}
	if s.cfg.Latency > 0 {
		fault.Sleep(r.Context(), s.cfg.Latency)
	}
	do := func() fault.Answer {
		if parseErr != nil {
			return ep.answer(s, reply{code: 43332}, "", "")
		}
		if code := s.authenticate(p, c.now); code != 0 {
			return ep.answer(s, refuse(code), "", "")
		}
		if s.tooMany(c.now) {
			return ep.answer(s, refuse(501), "", "")
		}
		return ep.answer(s, ep.do(s, c), "", "")
	}
	var rules []fault.Rule
	if s.faults.Active() {
		rules = s.faults.Take(fault.Call, r.URL.Path, p.ids()...)
	}
	fault.Serve(w, r, rules, do, func(rule fault.Rule) fault.Answer {
		return ep.answer(s, reply{code: ruleCode(rule)}, rule.Code, rule.Message)
	})
}

// tooMany counts a call against the configured limit of its second.
func (s *Sim) tooMany(now time.Time) bool {
	if s.cfg.RateLimit == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sec := now.Unix(); sec != s.second {
		s.second, s.calls = sec, 0
	}
	s.calls++
	return s.calls > s.cfg.RateLimit
}

func ruleCode(r fault.Rule) int {
	switch r.Kind {
	case fault.TooManyRequests:
		return 501
	case fault.NoFunds:
		return 45112
	case fault.OutOfStock:
		return 45110
	}
	n, err := strconv.Atoi(r.Code)
	if err != nil {
		return 500
	}
	return n
}

// ids are all values that could name what a call is about, lists taken apart.
func (p params) ids() []string {
	var out []string
	for k, v := range p {
		switch k {
		case "appkey", "timestamp", "nonce", "sign":
			continue
		}
		out = append(out, v)
		if strings.Contains(v, ",") {
			out = append(out, strings.Split(v, ",")...)
		}
	}
	return out
}

type envelope struct {
	Code    any    `json:"code"`
	Message string `json:"message"`
	Total   *int   `json:"total,omitempty"`
	Data    any    `json:"data"`
}

// answer writes a reply in the documented envelope; odd and message override the code's text and meaning for faults.
func (ep endpoint) answer(s *Sim, r reply, odd, message string) fault.Answer {
	e := envelope{Message: cmp.Or(message, messages[r.code]), Total: r.total, Data: r.data}
	switch {
	case odd != "" && strconv.Itoa(r.code) != odd:
		e.Code = odd // a fault may send a code that is no number
	case r.code == 0 && ep.intCode:
		e.Code = s.cfg.ESimSuccess
	case r.code == 0:
		e.Code = "200"
	case ep.intCode:
		e.Code = r.code
	default:
		e.Code = strconv.Itoa(r.code)
	}
	if r.code == 0 && message == "" {
		e.Message = cmp.Or(ep.message, "success")
	}
	b, err := json.Marshal(e)
	if err != nil {
		return fault.Answer{Status: http.StatusInternalServerError, Type: "text/plain", Body: []byte(err.Error())}
	}
	return fault.Answer{Type: "application/json;charset=utf-8", Body: b}
}
