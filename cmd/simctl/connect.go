package main

import (
	"cmp"
	"log/slog"
	"os"
	"os/user"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/wire"
)

// natsSettings are what simctl needs to reach NATS.
type natsSettings struct {
	URL   string `env:"NATS_URL" envDefault:"nats://127.0.0.1:4222"`
	Creds string `env:"NATS_CREDS"`
}

// connect opens the bus for one command.
func connect() (*bus.Bus, error) {
	var s natsSettings
	if err := parseEnv(&s); err != nil {
		return nil, err
	}
	return bus.Connect(bus.Config{URL: s.URL, Creds: s.Creds, Name: "simctl", Log: slog.New(slog.DiscardHandler)})
}

// parseEnv reads settings from the environment.
func parseEnv(into any) error {
	if err := env.Parse(into); err != nil {
		return quiet{err, errUsage}
	}
	return nil
}

// withOperator connects and lets do see and act.
func withOperator(do func(*operator.Operator) error) error {
	b, err := connect()
	if err != nil {
		return err
	}
	defer b.Close()
	op, err := operator.New(b, wire.ViaSimctl)
	if err != nil {
		return err
	}
	defer op.Close()
	return do(op)
}

// whoFlags add --reason and --by to a command that changes something. The reason
// must be given.
func whoFlags(c *cobra.Command) *operator.Who {
	w := optionalWhoFlags(c)
	c.Flags().Lookup("reason").Usage = "why, for the audit (required)"
	_ = c.MarkFlagRequired("reason")
	return w
}

// optionalWhoFlags are whoFlags of a command that changes something only with some
// of its flags; without a reason it is refused then.
func optionalWhoFlags(c *cobra.Command) *operator.Who {
	var w operator.Who
	c.Flags().StringVar(&w.Reason, "reason", "", "why, for the audit")
	c.Flags().StringVar(&w.Actor, "by", "", "who you are (default: $USER)")
	before := c.PreRunE
	c.PreRunE = func(cmd *cobra.Command, args []string) error {
		w.Actor = cmp.Or(w.Actor, os.Getenv("USER"), userName(), "unknown")
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
	return &w
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}
