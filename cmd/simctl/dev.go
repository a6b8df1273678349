package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/devstack"
)

// devCommand starts the development stack and keeps it until it is interrupted.
// On standard output stand NAME=value lines and comments, nothing else, so that
// a shell can take it as it is.
func devCommand() *cobra.Command {
	var cfg devstack.Config
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Start NATS, ClickHouse, an FTP server and both suppliers' simulators here",
		Long: "dev starts what simline talks to, on loopback, and prints where it is as NAME=value lines that fit the\n" +
			"environment of the workers. It makes no streams and no tables: see provision and migrate.\n" +
			"ClickHouse is CLICKHOUSE_DSN if that is set, else a clickhouse binary on PATH, else the engine itself,\n" +
			"which npm fetches once.",
		Example: "  simctl dev --data-dir ./data\n  simctl dev --only nats,clickhouse --port nats=4222,clickhouse=8123",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Progress = cmd.ErrOrStderr()
			cfg.Log = slog.New(tint.NewTextHandler(cmd.ErrOrStderr(), &tint.Options{Level: slog.LevelInfo, TimeFormat: time.TimeOnly}))
			cfg.EIOTCLUB.Logger, cfg.ESIMFly.Logger = cfg.Log, cfg.Log
			return dev(cmd.Context(), cfg, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&cfg.Only, "only", nil, "start these parts only: "+strings.Join(devstack.Parts, ","))
	f.StringVar(&cfg.DataDir, "data-dir", "", "keep all data here (default: a temporary directory, removed at the end)")
	f.StringToIntVar(&cfg.Ports, "port", nil, "ports by part, such as nats=4222,clickhouse=8123 (default: free ones)")
	f.IntVar(&cfg.NATSMonitor, "nats-monitor", 0, "port of NATS' monitoring endpoints; 0 none, -1 a free one")
	f.BoolVar(&cfg.RelaxedSync, "nats-relaxed-sync", false, "let NATS acknowledge before it has synced to disk")
	f.StringVar(&cfg.EIOTCLUB.WebhookURL, "webhook-url", "http://127.0.0.1:8080/webhooks/eiotclub/default", "where the EIOTCLUB simulator posts notifications; empty: nowhere")
	f.IntVar(&cfg.EIOTCLUB.NotifyRetries, "webhook-retries", 0, "how often it repeats a notification that was not answered SUCCESS")
	f.Uint64Var(&cfg.EIOTCLUB.Seed, "seed", 0, "of the simulators' random choices; 0 takes one from the clock")
	f.DurationVar(&cfg.CDREvery, "cdr-every", 0, "push simulated CDR files by FTP, half an hour of the past day each time this has passed; 0 pushes none")
	return cmd
}

var errEngineGone = errors.New("the ClickHouse engine ended by itself")

// dev returns when ctx ends, after everything has stopped.
func dev(ctx context.Context, cfg devstack.Config, out io.Writer) (err error) {
	cfg.ESIMFly.Seed = cfg.EIOTCLUB.Seed
	s, err := devstack.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	for _, line := range s.Env() {
		fmt.Fprintln(out, line)
	}
	if s.ClickHouse != nil {
		fmt.Fprintf(out, "# ClickHouse is: %s\n", s.ClickHouse.Source)
	}
	fmt.Fprintln(out, "# ready; Ctrl-C stops all of it")
	select {
	case <-ctx.Done():
		return nil
	case <-engineGone(s):
		return errEngineGone
	}
}

func engineGone(s *devstack.Stack) <-chan struct{} {
	if s.ClickHouse == nil {
		return nil
	}
	return s.ClickHouse.Exited()
}
