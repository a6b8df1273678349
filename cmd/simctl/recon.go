package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/reconciler"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/wire"
)

// reconCommand lets a person read what differs, accept it, and rehearse a job.
func reconCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "recon", Short: "Findings of the reconciler: list, show, accept; rehearse a job"}
	cmd.AddCommand(reconFindings(), reconShow(), reconAccept(), reconRun())
	return cmd
}

// withFindings opens the findings for one command.
func withFindings(ctx context.Context, do func(*reconciler.Book) error) error {
	var s service.Settings
	if err := service.LoadConfig(os.Environ(), &s); err != nil {
		return err
	}
	b, err := bus.Connect(bus.Config{URL: s.NATSURL, Creds: s.NATSCreds, Name: "simctl"})
	if err != nil {
		return err
	}
	defer b.Close()
	book, err := reconciler.OpenBook(ctx, b, time.Now)
	if err != nil {
		return fmt.Errorf("%w; run `simctl provision`", err)
	}
	return do(book)
}

func reconFindings() *cobra.Command {
	var kind, status string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "findings", Short: "List the findings that stand, the oldest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withFindings(cmd.Context(), func(book *reconciler.Book) error {
				entries, err := book.List(cmd.Context(), "")
				if err != nil {
					return err
				}
				entries = slices.DeleteFunc(entries, func(e reconciler.Entry) bool {
					return kind != "" && e.Finding.Kind != kind || status != "" && e.Finding.Status != status
				})
				if asJSON {
					return printFindings(cmd.OutOrStdout(), entries)
				}
				tableOfFindings(cmd.OutOrStdout(), entries)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "only this kind")
	cmd.Flags().StringVar(&status, "status", "", "only open or accepted")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

func printFindings(w io.Writer, entries []reconciler.Entry) error {
	enc := json.NewEncoder(w)
	for _, e := range entries {
		if err := enc.Encode(e.Finding); err != nil {
			return err
		}
	}
	return nil
}

func tableOfFindings(w io.Writer, entries []reconciler.Entry) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"id", "kind", "severity", "status", "about", "account", "amount", "age"})
	for _, e := range entries {
		f := e.Finding
		amount := ""
		if f.Amount != nil {
			amount = f.Amount.String()
		}
		t.AppendRow(table.Row{f.FindingID[:12], f.Kind, f.Severity, f.Status, about(f), f.Supplier + "/" + f.Account, amount, time.Since(f.FirstSeen).Round(time.Second)})
	}
	t.Render()
	fmt.Fprintf(w, "%d findings\n", len(entries))
}

// about names what a finding is about, without a card's number.
func about(f wire.Finding) string {
	card := f.ICCID + f.EID
	if card != "" {
		card = "card " + service.Tail(card)
	}
	return cmp.Or(f.OrderID, f.TaskID, strings.TrimSpace(card+" "+f.Window), f.SupplierOrderID)
}

func reconShow() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show all of one finding; the beginning of its id is enough", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withFindings(cmd.Context(), func(book *reconciler.Book) error {
				e, err := book.Find(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(e)
			})
		},
	}
}

func reconAccept() *cobra.Command {
	var reason, by string
	cmd := &cobra.Command{
		Use: "accept ID --reason TEXT", Short: "Accept a finding: it counts no more while it says the same", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if by == "" {
				if u, err := user.Current(); err == nil {
					by = u.Username
				}
			}
			return withFindings(cmd.Context(), func(book *reconciler.Book) error {
				e, err := book.Accept(cmd.Context(), args[0], by, reason)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "accepted %s %s by %s\n", e.Finding.Kind, e.Finding.FindingID, by)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why it is accepted (required)")
	cmd.Flags().StringVar(&by, "by", "", "who accepts it; default the user")
	return cmd
}

func reconRun() *cobra.Command {
	var dry, asJSON bool
	cmd := &cobra.Command{
		Use: "run [JOB …]", Short: "Do what is due of the jobs now; with --dry-run only print what they would find",
		Long: "Does what is due of the jobs (" + strings.Join(reconciler.JobNames, ", ") + "; all that are switched on if none is named),\n" +
			"with the reconciler's own environment. With --dry-run nothing is published or kept.",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			var cfg reconciler.Config
			if err := service.LoadConfig(os.Environ(), &cfg); err != nil {
				return err
			}
			b, err := bus.Connect(bus.Config{URL: cfg.NATSURL, Creds: cfg.NATSCreds, Name: "simctl"})
			if err != nil {
				return err
			}
			defer b.Close()
			log := slog.New(slog.DiscardHandler)
			if !dry {
				log = service.NewLogger(cmd.ErrOrStderr(), "text", "info")
			}
			w, err := reconciler.New(ctx, cfg, reconciler.Deps{Bus: b, Log: log, Metrics: prometheus.NewRegistry(), Work: ctx})
			if err != nil {
				return err
			}
			defer w.Close()
			if len(args) == 0 {
				args = w.Jobs()
			}
			var entries []reconciler.Entry
			for _, job := range args {
				if !dry {
					err = w.RunOnce(ctx, job)
				} else {
					err = w.Rehearse(ctx, job, func(f wire.Finding) { entries = append(entries, reconciler.Entry{Finding: f, Job: job}) })
				}
				if err != nil {
					return err
				}
			}
			switch {
			case !dry:
				return nil
			case asJSON:
				return printFindings(cmd.OutOrStdout(), entries)
			}
			tableOfFindings(cmd.OutOrStdout(), entries)
			return nil
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "print what would open, change or close, and change nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}
