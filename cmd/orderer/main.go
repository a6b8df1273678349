// Command orderer buys from the suppliers what is asked for on the bus, exactly
// once, and writes the ledger.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/orderer"
	"github.com/simline/simline/internal/service"
)

func main() {
	service.TuneMemory()
	os.Exit(service.Main("orderer", &orderer.Config{}, run))
}

// ORDERS ───┐                      ┌─▶ supplier clients ─▶ EIOTCLUB, eSIMfly
// EVIDENCE ─┼─▶ orderer.Worker ────┼─▶ ledger ─▶ ORDER_EVENTS, open_orders
// WEBHOOKS ─┘    └─ never orders ──┴─▶ DEAD
func run(ctx context.Context, p *service.Process, cfg *orderer.Config) error {
	b, err := bus.Connect(bus.Config{URL: cfg.NATSURL, Creds: cfg.NATSCreds, Name: p.Name, Log: p.Log})
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Need(ctx, orderer.Needs()...); err != nil {
		return err
	}
	p.Metrics.MustRegister(bus.NewBacklog(b, append(orderer.Needs(), bus.StreamOrders, bus.StreamEvidence)...))
	book, err := ledger.New(b, p.Name)
	if err != nil {
		return err
	}
	defer book.Close()
	var w *orderer.Worker // the clients report to it what the suppliers say of limits
	metrics := orderer.NewMetrics(p.Metrics)
	accounts, err := orderer.NewAccounts(cfg, metrics, func(supplier, account string, remaining int, reset time.Time) {
		w.LimitSeen(supplier, account, remaining, reset)
	})
	if err != nil {
		return err
	}
	w, err = orderer.New(*cfg, orderer.Deps{Bus: b, Ledger: book, Accounts: accounts, Log: p.Log, Metrics: metrics, Trace: p.Trace, Work: p.Work})
	if err != nil {
		return fmt.Errorf("orderer: %w", err)
	}
	p.Admin.Ready("nats", func(context.Context) error { return b.Ready() })
	return w.Run(ctx)
}
