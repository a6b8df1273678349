package console

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/reconciler"
	"github.com/simline/simline/internal/warehouse"
)

//go:embed templates/*.html assets/*
var files embed.FS

// Deps is what a Server works with.
type Deps struct {
	Bus       *bus.Bus
	Operator  *operator.Operator
	Warehouse *warehouse.DB
	Log       *slog.Logger
	Metrics   prometheus.Registerer
}

// Server serves the page.
type Server struct {
	cfg     Config
	gate    *gate
	op      *operator.Operator
	db      *warehouse.DB
	book    *reconciler.Book
	log     *slog.Logger
	now     func() time.Time
	pages   map[string]*template.Template
	lines   *sampler
	counts  cached[[]warehouse.StateCount]
	fresh   cached[[]warehouse.Freshness]
	found   cached[[]reconciler.Entry]
	seconds *prometheus.HistogramVec
	failed  prometheus.Counter

	listener net.Listener
	handler  http.Handler
}

// New binds to what it reads and listens, so that Addr is known; Run serves.
func New(ctx context.Context, cfg Config, d Deps) (*Server, error) {
	book, err := reconciler.OpenBook(ctx, d.Bus, time.Now)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, gate: newGate(cfg.Token, time.Now), op: d.Operator, db: d.Warehouse, book: book, log: d.Log, now: time.Now}
	s.seconds, s.failed = metrics(d.Metrics)
	s.lines = newSampler(d.Bus, s.now)
	if s.pages, err = parsePages(); err != nil {
		return nil, err
	}
	s.handler = s.routes()
	if s.listener, err = net.Listen("tcp", cfg.Addr); err != nil {
		return nil, fmt.Errorf("CONSOLE_ADDR: %w", err)
	}
	return s, nil
}

// Describe registers the metrics, for the reference.
func Describe(r prometheus.Registerer) { metrics(r) }

func metrics(r prometheus.Registerer) (*prometheus.HistogramVec, prometheus.Counter) {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "simline_console_request_seconds", Help: "How long the page took to render, by view.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5}}, []string{"view"})
	failed := prometheus.NewCounter(prometheus.CounterOpts{Name: "simline_console_refused_logins_total", Help: "Logins refused: a wrong token, or too many tries."})
	r.MustRegister(seconds, failed)
	return seconds, failed
}

// Addr is where the page is served, with the port that was chosen for ":0".
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	server := &http.Server{Handler: s.handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	s.log.Info("the page is served", "addr", s.Addr(), "write", s.cfg.Write)
	go s.lines.run(ctx)
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := server.Shutdown(end)
	if serr := <-served; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return err
}

// maxForm bounds what a form may hold: a request with its metadata.
const maxForm = 256 << 10

type view func(http.ResponseWriter, *http.Request, session)

// routes is every address of the page. Nothing but the login and the assets, which
// tell nothing, is answered without a session.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", s.login)
	mux.Handle("GET /assets/", s.assets())
	see := func(pattern, name string, v view) { mux.HandleFunc("GET "+pattern, s.seeing(name, v)) }
	do := func(pattern string, d deed) { mux.HandleFunc("POST "+pattern, s.doing(d, true)) }
	see("/{$}", "overview", s.overview)
	see("/orders", "orders", s.orders)
	see("/orders/new", "submit", s.submitForm)
	see("/orders/{id}", "order", s.order)
	see("/held", "held", s.held)
	see("/dead", "dead", s.dead)
	see("/dead/replay", "replay", s.replayPreview)
	see("/dead/{seq}", "letter", s.letter)
	see("/coverage", "coverage", s.coverage)
	see("/findings", "findings", s.findings)
	see("/usage", "usage", s.usage)
	see("/switches", "switches", s.switches)
	see("/audit", "audit", s.audit)
	mux.HandleFunc("POST /logout", s.asking(s.logout))
	do("/orders", s.submit)
	do("/orders/{id}/resolve", s.resolve)
	do("/orders/{id}/cancel", s.cancel)
	do("/dead/replay", s.replay)
	do("/dead/{seq}/edit", s.edit)
	do("/switches", s.setSwitch)
	// To look at card data changes nothing and is audited: it needs no write mode.
	mux.HandleFunc("POST /orders/{id}/reveal", s.doing(s.reveal, false))
	mux.HandleFunc("POST /dead/{seq}/reveal", s.doing(s.revealLetter, false))
	return hardened(http.NewCrossOriginProtection().Handler(http.MaxBytesHandler(mux, maxForm)))
}

// policy lets the page load what it serves itself and nothing else: no inline
// script or style, no frame, no other host.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func hardened(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func (s *Server) assets() http.Handler {
	serve := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/") {
			http.NotFound(w, r) // no list of what there is
			return
		}
		w.Header().Set("Cache-Control", "private, max-age=300")
		serve.ServeHTTP(w, r)
	})
}

// asking calls v with the session, or asks who it is.
func (s *Server) asking(v view) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, ok := s.gate.session(r)
		if !ok {
			s.loginPage(w, r, http.StatusUnauthorized, "")
			return
		}
		v(w, r, who)
	}
}

func (s *Server) seeing(name string, v view) http.HandlerFunc {
	seconds := s.seconds.WithLabelValues(name)
	return s.asking(func(w http.ResponseWriter, r *http.Request, who session) {
		begin := time.Now()
		v(w, r, who)
		seconds.Observe(time.Since(begin).Seconds())
	})
}

// deed does what a form asks for and says where to go on, or writes its own answer
// and returns "".
type deed func(w http.ResponseWriter, r *http.Request, who operator.Who) (next string, err error)

// doing is the door of every deed: a session, its form's token, and, for what
// changes something, write mode.
func (s *Server) doing(d deed, changes bool) http.HandlerFunc {
	return s.asking(func(w http.ResponseWriter, r *http.Request, me session) {
		switch {
		case !s.gate.checkCSRF(me, r.PostFormValue("csrf")):
			s.problem(w, r, http.StatusForbidden, "This form is not from this session. Load the page again.")
			return
		case changes && !s.cfg.Write:
			s.problem(w, r, http.StatusForbidden, "This page is read-only.")
			return
		}
		next, err := d(w, r, operator.Who{Actor: me.Name, Reason: strings.TrimSpace(r.PostFormValue("reason"))})
		switch {
		case err != nil:
			s.fail(w, r, err)
		case next != "":
			http.Redirect(w, r, next, http.StatusSeeOther)
		}
	})
}

// fail answers with what went wrong.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusBadGateway
	switch {
	case errors.Is(err, operator.ErrInvalid):
		code = http.StatusUnprocessableEntity
	case errors.Is(err, operator.ErrNotFound), errors.Is(err, reconciler.ErrNoFinding):
		code = http.StatusNotFound
	case errors.Is(err, bus.ErrOutcomeUnknown), errors.Is(err, context.DeadlineExceeded):
		code = http.StatusGatewayTimeout
	}
	if code >= 500 && r.Context().Err() == nil {
		s.log.Warn("console: a request failed", "path", r.Pattern, "error", err)
	}
	text := operator.MaskText(err.Error())
	if code == http.StatusGatewayTimeout {
		text += " — whether it was done is not known: look before you repeat it."
	}
	s.problem(w, r, code, text)
}

func (s *Server) problem(w http.ResponseWriter, r *http.Request, code int, text string) {
	s.render(w, r, code, "problem", map[string]any{"Code": code, "Title": http.StatusText(code), "Text": text})
}

// frame is what every page has around it.
type frame struct {
	View, Done  string
	Me          string
	CSRF        string
	Write       bool
	Now         time.Time
	Data        any
	Query, Path string
}

func (s *Server) render(w http.ResponseWriter, r *http.Request, code int, name string, data any) {
	f := frame{View: name, Write: s.cfg.Write, Now: s.now().UTC(), Data: data, Done: doneText[r.URL.Query().Get("done")], Query: r.URL.RawQuery, Path: r.URL.Path}
	if me, ok := s.gate.session(r); ok {
		f.Me, f.CSRF = me.Name, s.gate.csrf(me)
	}
	var b bytes.Buffer
	if err := s.pages[name].ExecuteTemplate(&b, "page", f); err != nil {
		s.log.Error("console: template", "view", name, "error", err)
		http.Error(w, "the page cannot be drawn", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes()) // a browser that has gone away is its own affair
}

// doneText is what a redirect after a deed may say.
var doneText = map[string]string{
	"submitted": "The request was handed to orderer.",
	"resolved":  "Your word was handed to orderer.",
	"cancelled": "The cancel was handed to orderer.",
	"replayed":  "Replayed.",
	"edited":    "Corrected and replayed.",
	"switched":  "Switched.",
}

func parsePages() (map[string]*template.Template, error) {
	names, err := files.ReadDir("templates")
	if err != nil {
		return nil, err
	}
	out := map[string]*template.Template{}
	for _, n := range names {
		name := strings.TrimSuffix(n.Name(), ".html")
		if name == "base" {
			continue
		}
		if out[name], err = template.New(name).Funcs(funcs).ParseFS(files, "templates/base.html", "templates/"+n.Name()); err != nil {
			return nil, fmt.Errorf("template %s: %w", name, err)
		}
	}
	return out, nil
}
