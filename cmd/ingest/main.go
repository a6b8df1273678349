// Command ingest receives the suppliers' signed notifications and stores them
// on the stream WEBHOOKS before it answers SUCCESS.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ingest"
	"github.com/simline/simline/internal/service"
)

func main() {
	service.TuneMemory()
	os.Exit(service.Main("ingest", &ingest.Config{}, run))
}

// supplier ─POST─▶ ingest.Worker ─▶ bus ─▶ WEBHOOKS
//
//	└─ while NATS is away ─▶ spool ─▶ bus
func run(ctx context.Context, p *service.Process, cfg *ingest.Config) error {
	// With a spool it serves although NATS is away at its start.
	b, err := bus.Connect(bus.Config{URL: cfg.NATSURL, Creds: cfg.NATSCreds, Name: p.Name, Log: p.Log, Patient: cfg.SpoolDir != ""})
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Ready(); err != nil {
		p.Log.Warn("starting without NATS", "error", err)
	} else if err := need(ctx, p, b, cfg.SpoolDir != ""); err != nil {
		return err
	}
	w, err := ingest.New(*cfg, ingest.Deps{Bus: b, Log: p.Log, Metrics: p.Metrics, Trace: p.Trace, Work: p.Work})
	if err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	p.Admin.Handle("GET /rejected", w.Rejected())
	p.Admin.Ready("store", w.Ready)
	return w.Run(ctx)
}

// need checks that there is where to store. With a spool nothing waits for a cluster
// that does not answer.
func need(ctx context.Context, p *service.Process, b *bus.Bus, spooled bool) error {
	if !spooled {
		return b.Need(ctx, bus.StreamWebhooks, bus.StreamDead)
	}
	err := b.NeedNow(ctx, bus.StreamWebhooks, bus.StreamDead)
	if errors.Is(err, bus.ErrNoAnswer) {
		p.Log.Warn("starting without JetStream", "error", err)
		return nil
	}
	return err
}
