package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
)

// Formats of --output.
const (
	formatTable  = "table"
	formatJSON   = "json"
	formatNDJSON = "ndjson"
)

var formats = []string{formatTable, formatJSON, formatNDJSON}

// format is what --output says.
func format(cmd *cobra.Command) (string, error) {
	f, err := cmd.Flags().GetString("output")
	if err == nil && !slices.Contains(formats, f) {
		err = usage("--output %q is not table, json or ndjson", f)
	}
	return f, err
}

// printList prints items: as a table, as one array, or as one object a line.
func printList[T any](cmd *cobra.Command, items []T, header table.Row, row func(T) table.Row) error {
	f, err := format(cmd)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	switch f {
	case formatJSON:
		if items == nil {
			items = []T{}
		}
		return writeJSON(out, items)
	case formatNDJSON:
		enc := json.NewEncoder(out)
		for _, v := range items {
			if err := enc.Encode(v); err != nil {
				return err
			}
		}
		return nil
	}
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(header)
	for _, v := range items {
		t.AppendRow(row(v))
	}
	t.Render()
	return nil
}

// printOne prints v, or what human writes where a table is wanted.
func printOne(cmd *cobra.Command, v any, human func(io.Writer)) error {
	f, err := format(cmd)
	if err != nil {
		return err
	}
	switch f {
	case formatJSON:
		return writeJSON(cmd.OutOrStdout(), v)
	case formatNDJSON:
		return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
	}
	human(cmd.OutOrStdout())
	return nil
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// stamp is a moment as tables show it.
func stamp(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// progressBar shows how far it is on a terminal; elsewhere it shows nothing, so
// that logs and pipes stay clean.
func progressBar(w io.Writer, what string, total int) (*progress.Tracker, func()) {
	tracker := &progress.Tracker{Message: what, Total: int64(max(total, 1))}
	if !isTerminal(w) {
		return tracker, func() {}
	}
	pw := progress.NewWriter()
	pw.SetOutputWriter(w)
	pw.SetUpdateFrequency(200 * time.Millisecond)
	pw.Style().Visibility.ETA = true
	pw.AppendTracker(tracker)
	go pw.Render()
	return tracker, func() {
		tracker.MarkAsDone()
		pw.Stop()
	}
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func say(cmd *cobra.Command, text string, args ...any) {
	fmt.Fprintf(cmd.OutOrStdout(), text+"\n", args...)
}
