package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/warehouse"
)

// topologySettings are the numbers of the topology that an operator may set.
type topologySettings struct {
	Replicas        int           `env:"NATS_REPLICAS" envDefault:"1" desc:"provision: copies of each stream and bucket, 1 on a single server, 3 in a cluster"`
	AckWait         time.Duration `env:"ORDER_ACK_WAIT" envDefault:"60s"`
	MaxInFlight     int           `env:"ORDER_MAX_IN_FLIGHT" envDefault:"256" desc:"provision: orders in work at once per supplier, over all replicas"`
	DedupWindow     time.Duration `env:"WEBHOOK_DEDUP_WINDOW" envDefault:"2h" desc:"provision: how long a repeat of a notification is dropped by the stream itself; after it by who reads it"`
	LedgerRetention time.Duration `env:"LEDGER_RETENTION" envDefault:"0s" desc:"provision: age at which order events go; 0 keeps them for ever. Beyond it an order id is new again"`
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

// settings reads the topology's numbers from the environment.
func settings() (bus.Settings, error) {
	var t topologySettings
	err := env.Parse(&t)
	if err == nil {
		err = t.validate()
	}
	if err != nil {
		return bus.Settings{}, quiet{err, errUsage}
	}
	return bus.Settings{Replicas: t.Replicas, AckWait: t.AckWait, MaxInFlight: t.MaxInFlight, DedupWindow: t.DedupWindow, LedgerRetention: t.LedgerRetention}, nil
}

func provisionCommand() *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use:     "provision",
		Short:   "Make or update all streams, consumers and buckets (needs NATS_URL only)",
		Example: "  simctl provision --dry-run\n  simctl provision",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := settings()
			if err != nil {
				return err
			}
			b, err := connect()
			if err != nil {
				return err
			}
			defer b.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			if dry {
				plan, err := b.Plan(ctx, s)
				if err != nil {
					return err
				}
				return printList(cmd, plan, table.Row{"what", "name", "would be"}, func(c bus.Change) table.Row { return table.Row{c.Kind, c.Name, c.What} })
			}
			if err := b.Provision(ctx, s); err != nil {
				return err
			}
			topo := bus.NewTopology(s)
			consumers := 0
			for _, list := range topo.Consumers {
				consumers += len(list)
			}
			say(cmd, "provisioned %d streams, %d consumers, %d buckets", len(topo.Streams), consumers, len(topo.Buckets))
			return nil
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "say what would be made or changed, and change nothing")
	return c
}

func migrateCommand() *cobra.Command {
	var cluster string
	var printOnly bool
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Make or update the ClickHouse databases and tables (needs CLICKHOUSE_DSN only)",
		Long: "migrate makes or updates the databases, tables and views. With --cluster, or CLICKHOUSE_CLUSTER, it does so on all nodes of that\n" +
			"cluster: each table is Replicated, under the name TABLE_local, and Distributed over those, under its own. The nodes need the macros\n" +
			"shard and replica.",
		Example: "  CLICKHOUSE_DSN=clickhouse://setup:…@clickhouse:9000 simctl migrate\n  simctl migrate --cluster simline --print",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cluster == "" {
				cluster = os.Getenv("CLICKHOUSE_CLUSTER")
			}
			if printOnly {
				sql, err := warehouse.Rendered(cluster)
				if err == nil {
					_, err = io.WriteString(cmd.OutOrStdout(), sql)
				}
				return err
			}
			dsn, err := clickhouseDSN()
			if err != nil {
				return err
			}
			return migrate(cmd.Context(), dsn, cluster, cmd.OutOrStdout())
		},
	}
	c.Flags().StringVar(&cluster, "cluster", "", "all nodes of this cluster, by its name in their remote_servers; empty is a single server")
	c.Flags().BoolVar(&printOnly, "print", false, "print the SQL instead of running it")
	return c
}

// clickhouseDSN is CLICKHOUSE_DSN, or what CLICKHOUSE_DSN_FILE holds.
func clickhouseDSN() (string, error) {
	if path := os.Getenv("CLICKHOUSE_DSN_FILE"); path != "" {
		return service.ReadSecret(path)
	}
	if dsn := os.Getenv("CLICKHOUSE_DSN"); dsn != "" {
		return dsn, nil
	}
	return "", usage("CLICKHOUSE_DSN is not set")
}

// migrate brings the databases to the newest state and names each file applied.
func migrate(ctx context.Context, dsn, cluster string, out io.Writer) error {
	n := 0
	if err := warehouse.MigrateCluster(ctx, dsn, cluster, func(file string) {
		n++
		fmt.Fprintln(out, "applied", file)
	}); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d migrations applied; simline and mart are up to date\n", n)
	return err
}
