package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/warehouse"
)

// natsSettings are what simctl needs to reach NATS.
type natsSettings struct {
	URL   string `env:"NATS_URL" envDefault:"nats://127.0.0.1:4222"`
	Creds string `env:"NATS_CREDS"`
}

// connect opens the bus for one command.
func connect() (*bus.Bus, error) {
	var s natsSettings
	if err := env.Parse(&s); err != nil {
		return nil, err
	}
	return bus.Connect(bus.Config{URL: s.URL, Creds: s.Creds, Name: "simctl", Log: slog.New(slog.DiscardHandler)})
}

// topologySettings are the numbers of the topology that an operator may set.
type topologySettings struct {
	Replicas        int           `env:"NATS_REPLICAS" envDefault:"1"`
	AckWait         time.Duration `env:"ORDER_ACK_WAIT" envDefault:"60s"`
	MaxInFlight     int           `env:"ORDER_MAX_IN_FLIGHT" envDefault:"256"`
	DedupWindow     time.Duration `env:"WEBHOOK_DEDUP_WINDOW" envDefault:"2h"`
	LedgerRetention time.Duration `env:"LEDGER_RETENTION" envDefault:"0s"`
}

func (t topologySettings) validate() error {
	var faults []error
	if t.Replicas != 1 && t.Replicas != 3 && t.Replicas != 5 {
		faults = append(faults, fmt.Errorf("NATS_REPLICAS %d is not 1, 3 or 5", t.Replicas))
	}
	if t.AckWait < time.Second {
		faults = append(faults, fmt.Errorf("ORDER_ACK_WAIT %s is under 1s", t.AckWait))
	}
	if t.MaxInFlight < 1 {
		faults = append(faults, fmt.Errorf("ORDER_MAX_IN_FLIGHT %d is under 1", t.MaxInFlight))
	}
	if t.DedupWindow < 100*time.Millisecond {
		faults = append(faults, fmt.Errorf("WEBHOOK_DEDUP_WINDOW %s is under 100ms", t.DedupWindow))
	}
	if t.LedgerRetention < 0 {
		faults = append(faults, fmt.Errorf("LEDGER_RETENTION %s is negative", t.LedgerRetention))
	}
	return errors.Join(faults...)
}

func provisionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "provision",
		Short: "Make or update all streams, consumers and buckets (needs NATS_URL only)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var t topologySettings
			if err := env.Parse(&t); err != nil {
				return err
			}
			if err := t.validate(); err != nil {
				return err
			}
			b, err := connect()
			if err != nil {
				return err
			}
			defer b.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			settings := bus.Settings{Replicas: t.Replicas, AckWait: t.AckWait, MaxInFlight: t.MaxInFlight, DedupWindow: t.DedupWindow, LedgerRetention: t.LedgerRetention}
			if err := b.Provision(ctx, settings); err != nil {
				return err
			}
			topo := bus.NewTopology(settings)
			consumers := 0
			for _, list := range topo.Consumers {
				consumers += len(list)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "provisioned %d streams, %d consumers, %d buckets\n", len(topo.Streams), consumers, len(topo.Buckets))
			return nil
		},
	}
}

func migrateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Make or update the ClickHouse databases and tables (needs CLICKHOUSE_DSN only)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dsn, err := clickhouseDSN()
			if err != nil {
				return err
			}
			return migrate(cmd.Context(), dsn, cmd.OutOrStdout())
		},
	}
}

// clickhouseDSN is CLICKHOUSE_DSN, or what CLICKHOUSE_DSN_FILE holds.
func clickhouseDSN() (string, error) {
	if path := os.Getenv("CLICKHOUSE_DSN_FILE"); path != "" {
		return service.ReadSecret(path)
	}
	if dsn := os.Getenv("CLICKHOUSE_DSN"); dsn != "" {
		return dsn, nil
	}
	return "", errors.New("CLICKHOUSE_DSN is not set")
}

// migrate brings the databases to the newest state and names each file applied.
func migrate(ctx context.Context, dsn string, out io.Writer) error {
	n := 0
	if err := warehouse.Migrate(ctx, dsn, func(file string) {
		n++
		fmt.Fprintln(out, "applied", file)
	}); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d migrations applied; simline and mart are up to date\n", n)
	return err
}
