// Command simctl is the operator's command: it prepares NATS and ClickHouse,
// looks into orders, files and findings, and starts the development stack.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "simctl",
		Short:         "Operate simline",
		Long:          "simctl operates simline. It reads the same environment as the workers (NATS_URL, CLICKHOUSE_DSN, …).",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(provisionCommand(), migrateCommand(), devCommand(), reconCommand(), cdrCommand(),
		orderCommand(), deadCommand(), switchCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "simctl:", err)
		os.Exit(1)
	}
}
