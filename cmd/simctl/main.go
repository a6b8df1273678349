// Command simctl is the operator's command: it prepares NATS and ClickHouse,
// looks into orders, files and findings, acts on them in a person's name, serves
// the page, and starts the development stack.
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
	err := rootCommand().ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "simctl:", err)
	}
	os.Exit(exitCode(ctx, err))
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "simctl",
		Short: "Operate simline",
		Long: "simctl operates simline. It reads the same environment as the workers (NATS_URL, CLICKHOUSE_DSN, …).\n" +
			"What changes something asks for a reason and writes who and why on the stream AUDIT before it does it.",
		Example:       "  simctl doctor\n  simctl order list --state held\n  simctl dlq ls -o ndjson",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringP("output", "o", formatTable, "how to print: table, json or ndjson (one object a line)")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(provisionCommand(), migrateCommand(), doctorCommand(), orderCommand(), dlqCommand(), cdrCommand(), reconCommand(),
		switchCommand(), spoolCommand(), backupCommand(), restoreCommand(), uiCommand(), devCommand(), referenceCommand())
	usageErrors(root)
	return root
}
