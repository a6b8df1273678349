// Command eiotclubsim runs the EIOTCLUB simulator as a program until it is interrupted.
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
	"time"

	"github.com/simline/simline/internal/sim/eiotclub"
	"github.com/simline/simline/internal/sim/eiotclub/feed"
	"github.com/simline/simline/internal/sim/fault"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "eiotclubsim:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("eiotclubsim", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var cfg eiotclub.Config
	addr := fs.String("addr", "127.0.0.1:7001", "listen here")
	fs.StringVar(&cfg.AppKey, "app-key", os.Getenv("EIOTCLUB_APP_KEY"), "calls must name it (EIOTCLUB_APP_KEY; default 000001)")
	cfg.Secret = os.Getenv("EIOTCLUB_APP_SECRET") // no flag: flags are seen in process lists
	fs.StringVar(&cfg.WebhookURL, "webhook", "", "send notifications there; empty sends none")
	fs.BoolVar(&cfg.NestedData, "nested", false, "notifications' data as nested JSON instead of a JSON string")
	fs.BoolVar(&cfg.StrictCards, "strict-cards", false, "refuse cards that are not the account's")
	faults := fs.String("faults", "", "file with fault rules, YAML or JSON")
	fs.Uint64Var(&cfg.Seed, "seed", 0, "of every random choice; 0 takes one from the clock")
	fs.DurationVar(&cfg.Latency, "latency", 0, "added to each call")
	ftpURL := os.Getenv("CDR_FTP_URL")
	every := fs.Duration("cdr-every", 10*time.Second, "real time for each half hour of CDRs, pushed to CDR_FTP_URL; 0 pushes none")
	if err := fs.Parse(args); err != nil {
		return err
	}
	cfg.Logger = slog.New(slog.NewTextHandler(stderr, nil))
	sim := eiotclub.New(cfg)
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
	fmt.Fprintf(stdout, "EIOTCLUB_BASE_URL=%s\nEIOTCLUB_APP_KEY=%s\n", url, sim.AppKey())
	if ftpURL != "" && *every > 0 {
		push, err := feed.ToFTP(ftpURL)
		if err != nil {
			return fmt.Errorf("CDR_FTP_URL: %w", err)
		}
		go sim.NewFeed(feed.Config{Push: push}).Run(ctx, *every)
	}
	<-ctx.Done()
	return nil
}
