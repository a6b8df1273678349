package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/simline/simline/internal/trace"
)

// Settings are what each worker has; a worker's Config embeds them.
type Settings struct {
	NATSURL   string `env:"NATS_URL" envDefault:"nats://127.0.0.1:4222" desc:"NATS servers, separated by commas" secret:"url"`
	NATSCreds string `env:"NATS_CREDS" desc:"path of the .creds file, or of the nkey seed"`
	AdminAddr string `env:"ADMIN_ADDR" envDefault:":9090" desc:"where /healthz, /readyz, /metrics and /debug/pprof are served"`
	LogFormat string `env:"LOG_FORMAT" envDefault:"text" desc:"text (tint) or json"`
	LogLevel  string `env:"LOG_LEVEL" envDefault:"info" desc:"debug, info, warn or error"`
	// Grace is how long work in hand may take after SIGTERM; above the longest
	// supplier call, below the pod's grace period.
	Grace time.Duration `env:"SHUTDOWN_GRACE" envDefault:"45s" desc:"how long work in hand may take after SIGTERM"`
	// Traces is a collector in the same cluster, which holds whatever is needed to
	// pass them on; OpenTelemetry's other variables (OTEL_TRACES_SAMPLER, …) hold too.
	Traces string `env:"OTEL_EXPORTER_OTLP_ENDPOINT" desc:"collector that traces go to by OTLP over HTTP, http://host:4318; empty: none are made"`
}

// Common lets Main find the settings in a worker's Config.
func (s *Settings) Common() *Settings { return s }

// Validate reports every fault of the common settings.
func (s *Settings) Validate() error {
	var faults []error
	if s.NATSURL == "" {
		faults = append(faults, errors.New("NATS_URL is empty"))
	}
	if s.LogFormat != "text" && s.LogFormat != "json" {
		faults = append(faults, fmt.Errorf("LOG_FORMAT %q is not text or json", s.LogFormat))
	}
	if _, err := logLevel(s.LogLevel); err != nil {
		faults = append(faults, err)
	}
	faults = append(faults, CheckAddr("ADMIN_ADDR", s.AdminAddr))
	if u, err := url.Parse(s.Traces); err != nil || s.Traces != "" && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		faults = append(faults, errors.New("OTEL_EXPORTER_OTLP_ENDPOINT is not http://host:port or https://host:port"))
	}
	if s.Grace <= 0 || s.Grace > 10*time.Minute {
		faults = append(faults, fmt.Errorf("SHUTDOWN_GRACE %s is not above 0 and at most 10m", s.Grace))
	}
	return errors.Join(faults...)
}

// Config is what a worker's configuration must offer.
type Config interface {
	Common() *Settings
	Validate() error // every fault at once
}

// Process is what a worker is given to live with.
type Process struct {
	Name    string
	Log     *slog.Logger
	Metrics *prometheus.Registry
	Admin   *Admin
	Trace   *trace.Tracer // nil: tracing is off
	// Work is the context of work in hand: it outlives the run's context, which
	// ends at SIGTERM, by at most the grace.
	Work context.Context
}

// Main runs a worker and returns its exit code: 0 for a clean end, 1 for a
// failure, 2 for a wrong configuration.
func Main[C Config](name string, cfg C, run func(ctx context.Context, p *Process, cfg C) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return Run(ctx, name, os.Args[1:], os.Environ(), os.Stdout, os.Stderr, cfg, run)
}

// Run is Main with everything handed in.
func Run[C Config](ctx context.Context, name string, args, environ []string, stdout, stderr io.Writer, cfg C, run func(ctx context.Context, p *Process, cfg C) error) int {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	check := flags.Bool("check", false, "validate the configuration, print it with secrets masked, and exit")
	var own []func()
	if f, ok := any(cfg).(interface{ Flags(*flag.FlagSet) func() }); ok {
		own = append(own, f.Flags(flags))
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	for _, set := range own {
		set()
	}
	err := LoadConfig(environ, cfg)
	if *check {
		PrintConfig(stdout, cfg)
		if d, ok := any(cfg).(interface{ Describe(io.Writer) }); ok {
			d.Describe(stdout)
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: configuration:\n%v\n", name, err)
		return 2
	}
	if *check {
		return 0
	}
	s := cfg.Common()
	log := NewLogger(stderr, s.LogFormat, s.LogLevel).With("worker", name)
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	admin, err := startAdmin(s.AdminAddr, reg)
	if err != nil {
		log.Error("admin server", "error", err)
		return 1
	}
	defer admin.close()

	var tracer *trace.Tracer
	if s.Traces != "" {
		if tracer, err = trace.New(ctx, name, s.Traces, log); err != nil {
			log.Error("traces", "error", err)
			return 1
		}
		defer endTraces(tracer, log)
	}

	work, let := context.WithCancel(context.Background())
	ended := make(chan struct{})
	var drain sync.WaitGroup
	drain.Go(func() { endWork(ctx, ended, let, s.Grace, log) })
	defer drain.Wait()
	defer close(ended)
	log.Info("starting", "admin", admin.Addr())
	if err := run(ctx, &Process{Name: name, Log: log, Metrics: reg, Admin: admin, Trace: tracer, Work: work}, cfg); err != nil {
		log.Error("stopped", "error", err)
		return 1
	}
	log.Info("stopped")
	return 0
}

// endTraces sends the last spans, if the collector takes them soon.
func endTraces(t *trace.Tracer, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := t.Close(ctx); err != nil {
		log.Warn("last traces not delivered", "error", err)
	}
}

// endWork cuts off work in hand when it outlasts the grace after ctx's end.
func endWork(ctx context.Context, ended <-chan struct{}, let func(), grace time.Duration, log *slog.Logger) {
	defer let()
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	log.Info("draining", "grace", grace)
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
		log.Warn("work in hand outlasted the grace")
	}
}
