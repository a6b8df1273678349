package trace

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/time/rate"
)

// scope is the name under which our spans are told.
const scope = "github.com/simline/simline"

// New makes a tracer of a worker that sends to a collector at endpoint, the base
// URL of OTLP over HTTP ("http://collector:4318"). What else OpenTelemetry's own
// variables say holds as well: OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES,
// OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_*. It waits for nobody.
func New(ctx context.Context, worker, endpoint string, log *slog.Logger) (*Tracer, error) {
	host, _ := os.Hostname() // the instance is then only the process
	res, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.namespace", "simline"),
		attribute.String("service.name", worker),
		attribute.String("service.instance.id", fmt.Sprintf("%s-%d", host, os.Getpid())),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("traces: resource: %w", err)
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(strings.TrimSuffix(endpoint, "/")+"/v1/traces"))
	if err != nil {
		return nil, fmt.Errorf("traces: exporter: %w", err)
	}
	few := rate.NewLimiter(rate.Limit(1.0/60), 3)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		if few.Allow() {
			log.Warn("traces not delivered", "error", err)
		}
	}))
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(res))
	return &Tracer{provider: provider, tracer: provider.Tracer(scope)}, nil
}

// Close sends what has gathered, until ctx ends.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}
