package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/cdrpull"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
)

// backfill is one run: which files, how many at once, since when.
type backfill struct {
	filter   fileFilter
	force    bool
	inFlight int
	pause    time.Duration
	resume   string
	patience time.Duration
}

func cdrBackfill() *cobra.Command {
	b := backfill{}
	c := &cobra.Command{
		Use: "backfill [FILE…]", Short: "Have files read again: after a fix, or what never was read",
		Long: "backfill has cdrpull read files again, oldest window first, and waits for each. Without names it takes every file in the\n" +
			"directories that --account, --state and --since let through. What is in ClickHouse already is recognised, so reading twice\n" +
			"does no harm. When it is interrupted it says how to go on where it stopped.",
		Example: "  simctl cdr backfill cdr_10001_20260115000000_20260115010000_20260115013000.csv --force --reason \"the header was added\"\n" +
			"  simctl cdr backfill --since 720h --state held --reason \"the limit is higher now\"",
	}
	who := whoFlags(c)
	c.RunE = func(cmd *cobra.Command, names []string) error {
		return withFiles(cmd.Context(), func(conn *bus.Bus, op *cdrpull.Operator) error {
			detail := map[string]string{"account": b.filter.account, "state": b.filter.state, "since": b.filter.since.String(), "force": strconv.FormatBool(b.force), "files": strconv.Itoa(len(names))}
			if err := auditOn(cmd.Context(), conn, *who, wire.ActCDRReread, cmp.Or(strings.Join(names[:min(1, len(names))], ""), "by filter"), detail); err != nil {
				return err
			}
			return b.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), op, names, who.Actor+": "+who.Reason)
		})
	}
	b.filter.flags(c)
	c.Flags().BoolVar(&b.force, "force", false, "load even with too many bad rows, or without a last line end")
	c.Flags().IntVar(&b.inFlight, "in-flight", 4, "at most so many files asked for and not yet read")
	c.Flags().DurationVar(&b.pause, "pause", 0, "wait between two files, to leave the servers alone")
	c.Flags().StringVar(&b.resume, "resume", "", "leave out files read since this moment (RFC 3339), as an interrupted run names it")
	c.Flags().DurationVar(&b.patience, "timeout", 10*time.Minute, "give up when no file has been read for this long")
	return c
}

// asked is a file that a replica was told to read.
type asked struct {
	file cdrpull.FileStatus
	wish uint64
}

func (b *backfill) run(ctx context.Context, out, bar io.Writer, op *cdrpull.Operator, names []string, why string) error {
	begin := time.Now().UTC()
	if b.resume != "" {
		var err error
		if begin, err = time.Parse(time.RFC3339, b.resume); err != nil {
			return fmt.Errorf("--resume: %w", err)
		}
	}
	if b.inFlight < 1 {
		return errors.New("--in-flight is under 1")
	}
	files, err := chosen(ctx, op, b.filter, names, func(string) bool { return true })
	if err != nil {
		return err
	}
	tracker, stop := progressBar(bar, "files", len(files))
	defer stop()
	var open []asked
	bad := 0
	next, last := 0, time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for next < len(files) || len(open) > 0 {
		for next < len(files) && len(open) < b.inFlight {
			f := files[next]
			next++
			if b.resume != "" && f.At != nil && !f.At.Before(begin) && (f.State == warehouse.FileLoaded || f.State == warehouse.FileWithRejects) {
				tracker.Increment(1)
				continue
			}
			wish, err := op.Reread(ctx, f.Account, f.File, why, b.force)
			if err != nil {
				return b.stopped(out, begin, fmt.Errorf("%s: %w", f.File, err))
			}
			open = append(open, asked{f, wish})
			if b.pause > 0 {
				break
			}
		}
		wait := tick.C
		var slow <-chan time.Time
		if b.pause > 0 && next < len(files) {
			slow = time.After(b.pause)
		}
		select {
		case <-ctx.Done():
			return b.stopped(out, begin, context.Cause(ctx))
		case <-wait:
		case <-slow:
		}
		still := open[:0]
		for _, a := range open {
			state, reason, done := op.Settled(a.file.Account, a.file.File, a.wish)
			if !done {
				still = append(still, a)
				continue
			}
			last = time.Now()
			tracker.Increment(1)
			if state != warehouse.FileLoaded && state != warehouse.FileWithRejects {
				bad++
				fmt.Fprintf(out, "%s: %s %s\n", a.file.File, state, reason)
			}
		}
		open = still
		if time.Since(last) > b.patience {
			return b.stopped(out, begin, fmt.Errorf("no file was read for %s: does cdrpull run?", b.patience))
		}
	}
	stop()
	fmt.Fprintf(out, "%d files read, %d of them not loaded\n", len(files), bad)
	if bad > 0 {
		return notWell("%d files were not loaded", bad)
	}
	return nil
}

// stopped says how to go on.
func (b *backfill) stopped(out io.Writer, begin time.Time, err error) error {
	fmt.Fprintf(out, "to go on where this stopped, repeat the command with --resume %s\n", begin.Format(time.RFC3339))
	return err
}
