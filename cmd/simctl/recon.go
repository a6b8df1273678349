package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/reconciler"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/wire"
)

// reconCommand lets a person read what differs, accept it, and rehearse a job.
func reconCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "recon", Short: "Findings of the reconciler: list, show, accept; rehearse a job",
		Example: "  simctl recon findings --status open",
	}
	cmd.AddCommand(reconFindings(), reconShow(), reconAccept(), reconRun())
	return cmd
}

// withFindings opens the findings for one command.
func withFindings(ctx context.Context, do func(*bus.Bus, *reconciler.Book) error) error {
	b, err := connect()
	if err != nil {
		return err
	}
	defer b.Close()
	book, err := reconciler.OpenBook(ctx, b, time.Now)
	if err != nil {
		return fmt.Errorf("%w; run `simctl provision`", err)
	}
	return do(b, book)
}

func reconFindings() *cobra.Command {
	var kind, status string
	cmd := &cobra.Command{
		Use: "findings", Short: "List the findings that stand, the oldest first", Args: cobra.NoArgs,
		Example: "  simctl recon findings --status open --kind order_missing_here",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withFindings(cmd.Context(), func(_ *bus.Bus, book *reconciler.Book) error {
				entries, err := book.List(cmd.Context(), "")
				if err != nil {
					return err
				}
				entries = slices.DeleteFunc(entries, func(e reconciler.Entry) bool {
					return kind != "" && e.Finding.Kind != kind || status != "" && e.Finding.Status != status
				})
				return printFindings(cmd, entries)
			})
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "only this kind")
	cmd.Flags().StringVar(&status, "status", "", "only open or accepted")
	var kinds []string
	for _, k := range reconciler.Kinds {
		kinds = append(kinds, k.Name)
	}
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(kinds, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]string{"open", "accepted"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func printFindings(cmd *cobra.Command, entries []reconciler.Entry) error {
	list := make([]wire.Finding, len(entries))
	for i, e := range entries {
		list[i] = e.Finding
	}
	return printList(cmd, list, table.Row{"id", "kind", "severity", "status", "about", "account", "amount", "age"}, func(f wire.Finding) table.Row {
		amount := ""
		if f.Amount != nil {
			amount = f.Amount.String()
		}
		return table.Row{f.FindingID[:min(12, len(f.FindingID))], f.Kind, f.Severity, f.Status, about(f), f.Supplier + "/" + f.Account, amount, time.Since(f.FirstSeen).Round(time.Second)}
	})
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
		Example: "  simctl recon show 3fa2b1",
		RunE: func(cmd *cobra.Command, args []string) error {
			return withFindings(cmd.Context(), func(_ *bus.Bus, book *reconciler.Book) error {
				e, err := book.Find(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return printOne(cmd, e, func(w io.Writer) { _ = writeJSON(w, e) })
			})
		},
	}
}

func reconAccept() *cobra.Command {
	cmd := &cobra.Command{
		Use: "accept ID --reason TEXT", Short: "Accept a finding: it counts no more while it says the same", Args: cobra.ExactArgs(1),
		Example: "  simctl recon accept 3fa2b1 --reason \"topped up by hand on Monday\"",
	}
	who := whoFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withFindings(cmd.Context(), func(b *bus.Bus, book *reconciler.Book) error {
			e, err := book.Find(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := auditOn(cmd.Context(), b, *who, wire.ActFindingAccept, e.Finding.FindingID, map[string]string{"kind": e.Finding.Kind}); err != nil {
				return err
			}
			if e, err = book.Accept(cmd.Context(), e.Finding.FindingID, who.Actor, who.Reason); err != nil {
				return err
			}
			say(cmd, "accepted %s %s by %s", e.Finding.Kind, e.Finding.FindingID, who.Actor)
			return nil
		})
	}
	return cmd
}

// auditOn is operator's Audit for a command that has a connection of its own.
func auditOn(ctx context.Context, b *bus.Bus, who operator.Who, action, target string, detail map[string]string) error {
	op, err := operator.New(b, wire.ViaSimctl)
	if err != nil {
		return err
	}
	defer op.Close()
	return op.Audit(ctx, who, action, target, detail)
}

func reconRun() *cobra.Command {
	var dry bool
	var who *operator.Who
	cmd := &cobra.Command{
		Use: "run [JOB …]", Short: "Do what is due of the jobs now; with --dry-run only print what they would find",
		Long: "Does what is due of the jobs (" + strings.Join(reconciler.JobNames, ", ") + "; all that are switched on if none is named),\n" +
			"with the reconciler's own environment. With --dry-run nothing is published or kept.",
		Example: "  simctl recon run records --dry-run\n  simctl recon run --reason \"after the outage\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			var cfg reconciler.Config
			if err := service.LoadConfig(os.Environ(), &cfg); err != nil {
				return quiet{err, errUsage}
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
			if !dry {
				if err := auditOn(ctx, b, *who, wire.ActReconRun, strings.Join(args, " "), nil); err != nil {
					return err
				}
			}
			var entries []reconciler.Entry
			for _, job := range args {
				if !dry {
					err = w.RunOnce(ctx, job) // which logs what it asked
				} else {
					err = w.Rehearse(ctx, job, func(f wire.Finding) { entries = append(entries, reconciler.Entry{Finding: f, Job: job}) })
				}
				if err != nil {
					return err
				}
				if calls, least := w.Asked(job); dry {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d calls, %d would have done\n", job, calls, least)
				}
			}
			if !dry {
				return nil
			}
			return printFindings(cmd, entries)
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "print what would open, change or close, and change nothing")
	who = optionalWhoFlags(cmd)
	return cmd
}
