// Command reconciler compares simline's books with the suppliers' and reports
// what differs.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/reconciler"
	"github.com/simline/simline/internal/service"
)

func main() { os.Exit(service.Main("reconciler", &reconciler.Config{}, run)) }

// clock ─▶ reconciler.Worker ◀─ ORDER_EVENTS, WEBHOOKS, open_orders, ClickHouse, suppliers' lists
//
//	├─▶ FINDINGS
//	├─▶ EVIDENCE ─▶ orderer
//	└─▶ TASKS (ended)
func run(ctx context.Context, p *service.Process, cfg *reconciler.Config) error {
	b, err := bus.Connect(bus.Config{URL: cfg.NATSURL, Creds: cfg.NATSCreds, Name: p.Name, Log: p.Log})
	if err != nil {
		return err
	}
	defer b.Close()
	w, err := reconciler.New(ctx, *cfg, reconciler.Deps{Bus: b, Log: p.Log, Metrics: p.Metrics, Trace: p.Trace, Work: p.Work})
	if err != nil {
		return fmt.Errorf("reconciler: %w", err)
	}
	defer w.Close()
	p.Admin.Ready("nats", w.Ready)
	if job := cfg.Once(); job != "" {
		return w.RunOnce(ctx, job)
	}
	return w.Run(ctx)
}
