// Command demo runs simline on the development stack: `make run` until Ctrl-C
// with a live table, `make demo` (-bounded) to an end that proves the books equal.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/simline/simline/internal/e2e"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	bounded := flags.Bool("bounded", false, "do a bounded amount of business, compare the books, and exit")
	dir := flags.String("dir", "", "keep logs and data here (default: a temporary directory, removed at the end)")
	bin := flags.String("bin", "", "the built binaries (default: build them)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *dir == "" {
		tmp, err := os.MkdirTemp("", "simline-demo-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		*dir = tmp
	}
	cfg := e2e.StageConfig{Dir: *dir, Bin: *bin}
	if *bounded {
		return e2e.Demo(ctx, os.Stdout, cfg)
	}
	info, err := os.Stdout.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return e2e.Run(ctx, e2e.NewScreen(os.Stdout, terminal), os.Stdout, cfg)
}
