// Command cdrpull brings the supplier's CDR files from our FTP directory into
// ClickHouse: whole files only, each record once.
package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/cdrpull"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/warehouse"
)

func main() { os.Exit(service.Main("cdrpull", &cdrpull.Config{}, run)) }

// FTP directory ─▶ cdrpull.Worker ─▶ CDR (queue) ─▶ cdrpull.Worker ─▶ ClickHouse
//
//	├─▶ cdr.v1.loaded
//	└─▶ cdr.v1.gap
func run(ctx context.Context, p *service.Process, cfg *cdrpull.Config) error {
	b, err := bus.Connect(bus.Config{URL: cfg.NATSURL, Creds: cfg.NATSCreds, Name: p.Name, Log: p.Log})
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Need(ctx, bus.StreamCDR, bus.StreamCDREvents, bus.StreamDead); err != nil {
		return err
	}
	p.Metrics.MustRegister(bus.NewBacklog(b, bus.StreamCDR, bus.StreamDead, bus.StreamCDR+"/"+bus.ConsumerCDRPull))
	db, err := warehouse.Open(cfg.ClickHouseDSN)
	if err != nil {
		return err
	}
	defer db.Close()
	w, err := cdrpull.New(cdrpull.Parts{Config: cfg, Bus: b, DB: db, Log: p.Log, Metrics: p.Metrics, Trace: p.Trace})
	if err != nil {
		return err
	}
	p.Admin.Ready("nats", func(context.Context) error { return b.Ready() })
	p.Admin.Ready("clickhouse", db.Migrated)
	p.Admin.Handle("GET /files", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(w.Reports()) // the reader went away
	}))
	return w.Run(ctx, p.Work)
}
