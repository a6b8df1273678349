package service

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Admin serves health, metrics and profiles on a port that is not the public one.
type Admin struct {
	mux    *http.ServeMux
	server *http.Server
	addr   string

	mu     sync.Mutex
	checks map[string]func(context.Context) error
}

func startAdmin(addr string, reg *prometheus.Registry) (*Admin, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	a := &Admin{mux: http.NewServeMux(), addr: l.Addr().String(), checks: map[string]func(context.Context) error{}}
	a.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	a.mux.HandleFunc("GET /readyz", a.readyz)
	a.mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg}))
	a.mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	a.mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	a.mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	a.mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	a.mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	a.server = &http.Server{Handler: a.mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	go func() { _ = a.server.Serve(l) }() // ends with ErrServerClosed at close
	return a, nil
}

// Addr is where the admin server listens, with the port that was chosen for ":0".
func (a *Admin) Addr() string { return a.addr }

// Handle adds a page.
func (a *Admin) Handle(pattern string, h http.Handler) { a.mux.Handle(pattern, h) }

// Ready adds a check to /readyz. A worker is ready once all its checks pass;
// a check must answer within a second. Before the first check it is not ready.
// Liveness (/healthz) tests nothing shared, so that an outage of NATS or
// ClickHouse does not kill every pod.
func (a *Admin) Ready(name string, check func(context.Context) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.checks[name] = check
}

func (a *Admin) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	a.mu.Lock()
	checks := make(map[string]func(context.Context) error, len(a.checks))
	for name, check := range a.checks {
		checks[name] = check
	}
	a.mu.Unlock()
	report := map[string]string{}
	code := http.StatusOK
	if len(checks) == 0 {
		code, report["worker"] = http.StatusServiceUnavailable, "starting"
	}
	for name, check := range checks {
		report[name] = "ok"
		if err := check(ctx); err != nil {
			code, report[name] = http.StatusServiceUnavailable, err.Error()
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(report)
}

func (a *Admin) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := a.server.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		_ = a.server.Close()
	}
}
