package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/console"
	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

func uiCommand() *cobra.Command {
	var addr string
	var write, check bool
	c := &cobra.Command{
		Use: "ui", Short: "Serve the page: the lines, orders, dead letters, coverage, findings, usage", Args: cobra.NoArgs,
		Long: "Serve the page until it is interrupted. Who wants to see anything must know CONSOLE_TOKEN; without one a token is made and\n" +
			"printed. It is read-only unless --write or CONSOLE_WRITE=true, and then each deed asks why and is audited.",
		Example: "  simctl ui --addr 127.0.0.1:8070\n  CONSOLE_TOKEN_FILE=token simctl ui --write",
		RunE: func(cmd *cobra.Command, _ []string) error {
			environ := os.Environ()
			set := func(name, value string) {
				if _, there := os.LookupEnv(name); !there {
					environ = append(environ, name+"="+value)
				}
			}
			if cmd.Flags().Changed("addr") {
				environ = append(environ, "CONSOLE_ADDR="+addr)
			}
			if cmd.Flags().Changed("write") {
				environ = append(environ, "CONSOLE_WRITE="+strconv.FormatBool(write))
			}
			set("ADMIN_ADDR", "127.0.0.1:0") // as a worker it says where it is probed
			if os.Getenv("CONSOLE_TOKEN") == "" && os.Getenv("CONSOLE_TOKEN_FILE") == "" && !check {
				token := rand.Text()
				environ = append(environ, "CONSOLE_TOKEN="+token)
				fmt.Fprintln(cmd.ErrOrStderr(), "the token is", token)
			}
			var args []string
			if check {
				args = []string{"-check"}
			}
			switch code := service.Run(cmd.Context(), "console", args, environ, cmd.OutOrStdout(), cmd.ErrOrStderr(), &console.Config{}, runConsole); code {
			case 0:
				return nil
			case 2:
				return quiet{errors.New("the configuration is wrong"), errUsage}
			default:
				return errors.New("the page is not served any more")
			}
		},
	}
	c.Flags().StringVar(&addr, "addr", "127.0.0.1:8070", "where the page is served")
	c.Flags().BoolVar(&write, "write", false, "let people act: resolve, cancel, replay, switch")
	c.Flags().BoolVar(&check, "check", false, "validate the configuration, print it with secrets masked, and exit")
	return c
}

// NATS ───────┐
// ClickHouse ─┴─▶ console.Server ─▶ a person's browser
func runConsole(ctx context.Context, p *service.Process, cfg *console.Config) error {
	// The page's own NATS user can change nothing; who lets people act gives it the
	// operator's, whose connections go by the name of simctl.
	name := bus.UserConsole
	if cfg.Write {
		name = "simctl"
	}
	b, err := bus.Connect(bus.Config{URL: cfg.NATSURL, Creds: cfg.NATSCreds, Name: name, Log: p.Log})
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.Need(ctx, bus.StreamOrderEvents, bus.StreamDead, bus.StreamAudit, "kv/"+bus.BucketFindings, "kv/"+bus.BucketSwitches); err != nil {
		return err
	}
	db, err := warehouse.Open(cfg.ClickHouseDSN)
	if err != nil {
		return err
	}
	defer db.Close()
	op, err := operator.New(b, wire.ViaConsole)
	if err != nil {
		return err
	}
	defer op.Close()
	s, err := console.New(ctx, *cfg, console.Deps{Bus: b, Operator: op, Warehouse: db, Log: p.Log, Metrics: p.Metrics})
	if err != nil {
		return err
	}
	p.Admin.Ready("nats", func(context.Context) error { return b.Ready() })
	p.Admin.Ready("clickhouse", db.Ping)
	return s.Run(ctx)
}
