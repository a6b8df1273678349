package main

import (
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/ingest"
	"github.com/simline/simline/internal/wire"
)

// spoolSettings say where ingest's spool lies.
type spoolSettings struct {
	Dir string `env:"SPOOL_DIR" desc:"directory of ingest's spool"`
}

func spoolCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "spool", Short: "Ingest's spool: the notifications that NATS did not take",
		Example: "  simctl spool ls --dir /var/lib/simline/spool",
	}
	c.AddCommand(spoolList(), spoolDrain())
	return c
}

func spoolDir(c *cobra.Command) func() (string, error) {
	dir := c.Flags().String("dir", "", "the spool's directory (default: $SPOOL_DIR)")
	return func() (string, error) {
		if *dir != "" {
			return *dir, nil
		}
		var s spoolSettings
		if err := parseEnv(&s); err != nil {
			return "", err
		}
		if s.Dir == "" {
			return "", usage("which directory? --dir, or SPOOL_DIR")
		}
		return s.Dir, nil
	}
}

func spoolList() *cobra.Command {
	c := &cobra.Command{
		Use: "ls", Short: "List a spool's files and how many notifications lie in each, also while ingest uses it", Args: cobra.NoArgs,
		Example: "  simctl spool ls --dir /var/lib/simline/spool",
	}
	dir := spoolDir(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		d, err := dir()
		if err != nil {
			return err
		}
		files, err := ingest.ReadSpool(d)
		if err != nil {
			return err
		}
		return printList(cmd, files, table.Row{"file", "written (UTC)", "bytes", "messages", "damaged", "for"}, func(f ingest.SpoolFile) table.Row {
			return table.Row{f.Path, stamp(&f.Modified), f.Bytes, f.Messages, ifElse(f.Damaged, "yes", ""), strings.Join(f.Subjects, " ")}
		})
	}
	return c
}

func spoolDrain() *cobra.Command {
	c := &cobra.Command{
		Use: "drain", Short: "Bring what lies in a spool that no ingest uses to NATS", Args: cobra.NoArgs,
		Long: "Bring what lies in a spool that no ingest uses to NATS, as ingest itself would when it starts on it: for the volume of a\n" +
			"replica that will not come back. A spool in use is refused. What is stored already is known there by its id.",
		Example: "  simctl spool drain --dir /mnt/spool-of-ingest-2 --reason \"scaled down to two replicas\"",
	}
	dir := spoolDir(c)
	who := whoFlags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		d, err := dir()
		if err != nil {
			return err
		}
		files, err := ingest.ReadSpool(d)
		if err != nil {
			return err
		}
		total := 0
		for _, f := range files {
			total += f.Messages
		}
		b, err := connect()
		if err != nil {
			return err
		}
		defer b.Close()
		if err := auditOn(cmd.Context(), b, *who, wire.ActSpoolDrain, d, nil); err != nil {
			return err
		}
		bar, stop := progressBar(cmd.ErrOrStderr(), "notifications", total)
		n, err := ingest.DrainSpool(cmd.Context(), d, b, func(stored int) { bar.SetValue(int64(stored)) })
		stop()
		say(cmd, "%d notifications brought to NATS", n)
		return err
	}
	return c
}
