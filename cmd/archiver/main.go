// Command archiver writes what happens on the bus to ClickHouse.
package main

import (
	"context"
	"os"

	"github.com/google/uuid"

	"github.com/simline/simline/internal/archiver"
	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/warehouse"
)

func main() {
	service.TuneMemory()
	os.Exit(service.Main("archiver", &archiver.Config{}, run))
}

// ORDER_EVENTS ─┐
// WEBHOOKS ─────┼─▶ archiver.Worker ─▶ warehouse ─▶ ClickHouse
// FINDINGS ─────┤          └─ unreadable ─▶ DEAD
// CDR_EVENTS ───┤
// AUDIT ────────┘
func run(ctx context.Context, p *service.Process, cfg *archiver.Config) error {
	b, err := bus.Connect(bus.Config{URL: cfg.NATSURL, Creds: cfg.NATSCreds, Name: p.Name, Log: p.Log})
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Need(ctx, append([]string{bus.StreamDead, "kv/" + bus.BucketLeases}, bus.ArchivedStreams...)...); err != nil {
		return err
	}
	p.Metrics.MustRegister(bus.NewBacklog(b, archiver.Reads()...))
	db, err := warehouse.Open(cfg.DSN)
	if err != nil {
		return err
	}
	defer db.Close()
	p.Admin.Ready("nats", func(context.Context) error { return b.Ready() })
	p.Admin.Ready("clickhouse", db.Ping)
	w := archiver.New(*cfg, archiver.Deps{Bus: b, Warehouse: db, Log: p.Log, Metrics: p.Metrics, Trace: p.Trace, Owner: uuid.NewString(), Work: p.Work})
	return w.Run(ctx)
}
