package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/reconciler"
)

// Exit codes. docs/reference/simctl.md lists them from here.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitNotWell     = 4
	exitUnknown     = 5
	exitInterrupted = 130
)

var exitMeanings = []struct {
	code    int
	meaning string
}{
	{exitDone, "done"},
	{exitFailed, "it failed, and nothing was done or the error says what was"},
	{exitUsage, "the command was not understood, or what it asked for cannot be done as it was said"},
	{exitNotFound, "there is no such order, dead letter or finding"},
	{exitNotWell, "it looked and all is not well: `doctor` found a fault, `cdr verify` a difference, a watched order came to nothing"},
	{exitUnknown, "the outcome is not known: the server did not answer in time, or the order was not settled within `--timeout`"},
	{exitInterrupted, "interrupted"},
}

// Errors that are exit codes.
var (
	errUsage   = errors.New("usage")
	errNotWell = errors.New("not well")
)

// quiet is an error whose text is its own, and which counts as kind.
type quiet struct {
	error
	kind error
}

func (q quiet) Unwrap() error { return q.kind }

func notWell(format string, args ...any) error { return quiet{fmt.Errorf(format, args...), errNotWell} }
func usage(format string, args ...any) error   { return quiet{fmt.Errorf(format, args...), errUsage} }

func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return exitDone
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, bus.ErrOutcomeUnknown), errors.Is(err, context.DeadlineExceeded):
		return exitUnknown
	case errors.Is(err, errNotWell):
		return exitNotWell
	case errors.Is(err, operator.ErrNotFound), errors.Is(err, reconciler.ErrNoFinding):
		return exitNotFound
	case errors.Is(err, errUsage), errors.Is(err, operator.ErrInvalid),
		strings.HasPrefix(err.Error(), "unknown command"), strings.HasPrefix(err.Error(), "required flag"): // cobra has no type for these
		return exitUsage
	}
	return exitFailed
}

// usageErrors makes wrong flags and arguments of every command usage errors.
func usageErrors(c *cobra.Command) {
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return quiet{err, errUsage} })
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return quiet{err, errUsage}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		usageErrors(sub)
	}
}
