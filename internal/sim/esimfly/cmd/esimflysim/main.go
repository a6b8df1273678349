// Command esimflysim runs the eSIMfly simulator as a program until it is interrupted.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/simline/simline/internal/sim/esimfly"
	"github.com/simline/simline/internal/sim/fault"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "esimflysim:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("esimflysim", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var cfg esimfly.Config
	addr := fs.String("addr", "127.0.0.1:7002", "listen here")
	fs.StringVar(&cfg.AccessCode, "access-code", os.Getenv("ESIMFLY_ACCESS_CODE"), "calls must name it (ESIMFLY_ACCESS_CODE; default esf_your_access_code)")
	cfg.SecretKey = os.Getenv("ESIMFLY_SECRET_KEY") // no flag: flags are seen in process lists
	faults := fs.String("faults", "", "file with fault rules, YAML or JSON")
	fs.Uint64Var(&cfg.Seed, "seed", 0, "of every random choice; 0 takes one from the clock")
	fs.IntVar(&cfg.PendingEvery, "pending-every", 0, "each Nth order comes as pending_details")
	fs.IntVar(&cfg.RateLimit, "rate-limit", 1000, "requests an hour; below 0 none")
	fs.DurationVar(&cfg.Latency, "latency", 0, "added to each call")
	if err := fs.Parse(args); err != nil {
		return err
	}
	cfg.Logger = slog.New(slog.NewTextHandler(stderr, nil))
	sim := esimfly.New(cfg)
	defer sim.Close()
	if *faults != "" {
		rules, err := fault.Load(*faults)
		if err == nil {
			_, err = sim.Faults().Add(rules...)
		}
		if err != nil {
			return err
		}
	}
	url, err := sim.Start(*addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "ESIMFLY_BASE_URL=%s\nESIMFLY_ACCESS_CODE=%s\n", url, sim.AccessCode())
	<-ctx.Done()
	return nil
}
