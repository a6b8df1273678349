package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/cdrpull"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/warehouse"
)

// cdrSettings are what the cdr commands read: the worker's own names.
type cdrSettings struct {
	service.Settings
	service.AccountSettings
	ClickHouseDSN string        `env:"CLICKHOUSE_DSN" secret:"url"`
	LateAfter     time.Duration `env:"CDR_LATE_AFTER" envDefault:"90m"`
	GapHorizon    time.Duration `env:"CDR_GAP_HORIZON" envDefault:"168h"`
}

// Validate reports every fault at once.
func (s *cdrSettings) Validate() error {
	if s.ClickHouseDSN == "" {
		return errors.New("CLICKHOUSE_DSN is not set")
	}
	return s.Settings.Validate()
}

// cdrCommand lets a person look at CDR files, have them read again, and check them.
func cdrCommand() *cobra.Command {
	c := &cobra.Command{Use: "cdr", Short: "CDR files: list, show, gaps, read again, check against what was loaded"}
	c.AddCommand(cdrList(), cdrShow(), cdrGaps(), cdrBackfill(), cdrVerify(), cdrNetworks())
	return c
}

// withWarehouse opens ClickHouse for one command.
func withWarehouse(do func(s *cdrSettings, db *warehouse.DB) error) (err error) {
	var s cdrSettings
	if err := service.LoadConfig(os.Environ(), &s); err != nil {
		return err
	}
	db, err := warehouse.Open(s.ClickHouseDSN)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return do(&s, db)
}

// withOperator opens ClickHouse, NATS and the configured directories.
func withOperator(ctx context.Context, do func(*cdrpull.Operator, *warehouse.DB) error) error {
	return withWarehouse(func(s *cdrSettings, db *warehouse.DB) error {
		accounts, err := s.Load()
		if err != nil {
			return err
		}
		b, err := bus.Connect(bus.Config{URL: s.NATSURL, Creds: s.NATSCreds, Name: "simctl"})
		if err != nil {
			return err
		}
		defer b.Close()
		op, err := cdrpull.NewOperator(ctx, b, db, accounts)
		if err != nil {
			return err
		}
		return do(op, db)
	})
}

// fileFilter chooses files that were recorded.
type fileFilter struct {
	account, state string
	since          time.Duration
}

func (f *fileFilter) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.account, "account", "", "only this account's files (its name)")
	c.Flags().StringVar(&f.state, "state", "", "only files in this state")
	c.Flags().DurationVar(&f.since, "since", 48*time.Hour, "only files whose window ended within this time")
}

func cdrList() *cobra.Command {
	var f fileFilter
	var dir, asJSON bool
	c := &cobra.Command{
		Use: "ls", Short: "List files: recorded ones, or with --dir what lies in the directories", Args: cobra.NoArgs,
		Example: "  simctl cdr ls --since 24h --state with_rejects\n  simctl cdr ls --dir",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir {
				return listDirectories(cmd, f, asJSON)
			}
			return withWarehouse(func(_ *cdrSettings, db *warehouse.DB) error {
				files, err := db.FilesSince(cmd.Context(), f.account, time.Now().Add(-f.since))
				if err != nil {
					return err
				}
				files = slices.DeleteFunc(files, func(x warehouse.File) bool { return f.state != "" && x.State != f.state })
				if asJSON {
					return writeJSON(cmd.OutOrStdout(), files)
				}
				tableOfFiles(cmd.OutOrStdout(), files)
				return nil
			})
		},
	}
	f.flags(c)
	c.Flags().BoolVar(&dir, "dir", false, "look into the FTP directories instead of the records")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func tableOfFiles(w io.Writer, files []warehouse.File) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.AppendHeader(table.Row{"account", "window (UTC)", "file", "state", "rows", "inserted", "known", "bad", "conflicts", "loaded (UTC)"})
	for _, f := range files {
		loaded := ""
		if !f.LoadedAt.IsZero() {
			loaded = f.LoadedAt.UTC().Format("01-02 15:04:05")
		}
		name := f.File
		if f.Content > 0 {
			name += fmt.Sprintf(" (content %d)", f.Content+1)
		}
		t.AppendRow(table.Row{f.Account, f.WindowStart.UTC().Format("01-02 15:04") + "–" + f.WindowEnd.UTC().Format("15:04"), name,
			f.State, f.Rows, f.Inserted, f.Known, f.Rejects, f.Conflicts, loaded})
	}
	t.Render()
}

func listDirectories(cmd *cobra.Command, f fileFilter, asJSON bool) error {
	return withOperator(cmd.Context(), func(op *cdrpull.Operator, _ *warehouse.DB) error {
		var all []cdrpull.FileStatus
		for _, a := range op.Accounts() {
			if f.account != "" && f.account != a {
				continue
			}
			files, err := op.List(cmd.Context(), a)
			if err != nil {
				return err
			}
			for _, x := range files {
				if (f.state == "" || x.State == f.state) && x.Name.End.After(time.Now().Add(-f.since)) {
					all = append(all, x)
				}
			}
		}
		if asJSON {
			return writeJSON(cmd.OutOrStdout(), all)
		}
		t := table.NewWriter()
		t.SetOutputMirror(cmd.OutOrStdout())
		t.AppendHeader(table.Row{"account", "file", "bytes", "state", "since (UTC)", "why"})
		for _, x := range all {
			t.AppendRow(table.Row{x.Account, x.File, x.Size, x.State, stamp(x.At), x.Reason})
		}
		t.Render()
		return nil
	})
}

func cdrShow() *cobra.Command {
	var raw bool
	var limit int
	c := &cobra.Command{
		Use: "show FILE", Short: "Show what became of a file: each content, its bad rows and conflicts", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withWarehouse(func(_ *cdrSettings, db *warehouse.DB) error {
				return showFile(cmd.Context(), cmd.OutOrStdout(), db, args[0], limit, raw)
			})
		},
	}
	c.Flags().BoolVar(&raw, "raw", false, "print bad rows as they stand, card numbers included")
	c.Flags().IntVar(&limit, "limit", 20, "at most so many bad rows")
	return c
}

func showFile(ctx context.Context, w io.Writer, db *warehouse.DB, file string, limit int, raw bool) error {
	files, err := db.FilesNamed(ctx, "", file)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s: never read; `simctl cdr ls --dir` shows what lies in the directories", file)
	}
	for _, f := range files {
		fmt.Fprintf(w, "%s  account %s, content %d, sha256 %s\n", f.File, f.Account, f.Content+1, f.SHA256)
		fmt.Fprintf(w, "  state      %s %s\n", f.State, f.Reason)
		fmt.Fprintf(w, "  window     %s to %s, generated %s\n", f.WindowStart.UTC().Format(time.DateTime), f.WindowEnd.UTC().Format(time.DateTime), f.GeneratedAt.UTC().Format(time.DateTime))
		fmt.Fprintf(w, "  lines      %d in %d bytes: %d good rows (%d outside the window), %d bad\n", f.Lines, f.Size, f.Rows, f.Outside, f.Rejects)
		fmt.Fprintf(w, "  good rows  %d inserted, %d known, %d in conflict; %d bytes of data used\n", f.Inserted, f.Known, f.Conflicts, f.Bytes)
		if !f.LoadedAt.IsZero() {
			fmt.Fprintf(w, "  loaded     first %s, last %s\n", f.FirstLoaded.UTC().Format(time.DateTime), f.LoadedAt.UTC().Format(time.DateTime))
		}
		rejects, err := db.Rejects(ctx, f, limit)
		if err != nil {
			return err
		}
		for _, r := range rejects {
			text := r.Raw
			if !raw {
				text = maskDigits(text)
			}
			fmt.Fprintf(w, "  line %-6d %-18s %s\n", r.Line, r.Reason, text)
		}
	}
	return nil
}

// maskDigits leaves the last four digits of every long number, so that a bad row
// can be looked at without showing whose it is.
func maskDigits(s string) string {
	b := []byte(s)
	for i := 0; i < len(b); {
		j := i
		for j < len(b) && b[j] >= '0' && b[j] <= '9' {
			j++
		}
		if j-i >= 10 {
			for k := i; k < j-4; k++ {
				b[k] = '*'
			}
		}
		i = max(j, i+1)
	}
	return string(b)
}

func cdrGaps() *cobra.Command {
	var account string
	var asJSON bool
	c := &cobra.Command{
		Use: "gaps", Short: "List half hours that no loaded file covers although they are late", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withWarehouse(func(s *cdrSettings, db *warehouse.DB) error {
				accounts, err := db.CDRAccounts(cmd.Context())
				if err != nil {
					return err
				}
				gaps := []cdrpull.Gap{}
				for _, a := range accounts {
					if account != "" && account != a {
						continue
					}
					some, complete, err := cdrpull.Gaps(cmd.Context(), db, a, time.Now().UTC(), s.LateAfter, s.GapHorizon)
					if err != nil {
						return err
					}
					gaps = append(gaps, some...)
					if !asJSON {
						fmt.Fprintf(cmd.OutOrStdout(), "account %s: complete up to %s UTC, %d gaps\n", a, complete.Format(time.DateTime), len(some))
					}
				}
				if asJSON {
					return writeJSON(cmd.OutOrStdout(), gaps)
				}
				for _, g := range gaps {
					fmt.Fprintf(cmd.OutOrStdout(), "%s  %s – %s  late since %s\n", g.Account, g.Start.Format(time.DateTime), g.End.Format(time.TimeOnly), g.Since.Format(time.DateTime))
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&account, "account", "", "only this account (its name)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func cdrVerify() *cobra.Command {
	var f fileFilter
	var asJSON bool
	c := &cobra.Command{
		Use: "verify [FILE…]", Short: "Read files again and look for each of their rows in ClickHouse",
		Long: "verify reads files again and looks for each of their rows in ClickHouse. Without names it checks the files that lie in the\n" +
			"directories and count as loaded. It exits with an error if a row is missing or differs.",
		RunE: func(cmd *cobra.Command, names []string) error {
			return withOperator(cmd.Context(), func(op *cdrpull.Operator, _ *warehouse.DB) error {
				files, err := chosen(cmd.Context(), op, f, names, func(s string) bool { return s == warehouse.FileLoaded || s == warehouse.FileWithRejects })
				if err != nil {
					return err
				}
				bad := 0
				for _, x := range files {
					v, err := op.Verify(cmd.Context(), x.Account, x.File)
					if err != nil {
						return fmt.Errorf("%s: %w", x.File, err)
					}
					if !v.OK() {
						bad++
					}
					if asJSON {
						err = writeJSON(cmd.OutOrStdout(), v)
					} else {
						_, err = fmt.Fprintf(cmd.OutOrStdout(), "%-4s %s  %d rows: %d present, %d superseded, %d missing, %d differing%s\n", okWord(v.OK()), x.File,
							v.Rows, v.Present, v.Superseded, v.Missing, v.Differing, ifElse(v.Content, "", "; this content was never loaded"))
					}
					if err != nil {
						return err
					}
				}
				if bad > 0 {
					return fmt.Errorf("%d of %d files are not in ClickHouse as they stand: simctl cdr backfill FILE", bad, len(files))
				}
				return nil
			})
		},
	}
	f.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, a line per file")
	return c
}

func okWord(ok bool) string { return ifElse(ok, "ok", "BAD") }

func ifElse(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// chosen are the files named, or those in the directories that the filter and
// want let through.
func chosen(ctx context.Context, op *cdrpull.Operator, f fileFilter, names []string, want func(state string) bool) ([]cdrpull.FileStatus, error) {
	var out []cdrpull.FileStatus
	for _, name := range names {
		account, err := op.AccountOf(name)
		if err != nil {
			return nil, err
		}
		out = append(out, cdrpull.FileStatus{Account: account, File: name})
	}
	if len(names) > 0 {
		return out, nil
	}
	for _, a := range op.Accounts() {
		if f.account != "" && f.account != a {
			continue
		}
		files, err := op.List(ctx, a)
		if err != nil {
			return nil, err
		}
		for _, x := range files {
			if x.State != "foreign" && want(x.State) && (f.state == "" || f.state == x.State) && x.Name.End.After(time.Now().Add(-f.since)) {
				out = append(out, x)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b cdrpull.FileStatus) int {
		return cmp.Or(a.Name.Start.Compare(b.Name.Start), a.Name.Generated.Compare(b.Name.Generated), strings.Compare(a.File, b.File))
	})
	return out, nil
}

func cdrNetworks() *cobra.Command {
	var asSQL bool
	c := &cobra.Command{
		Use: "networks FILE", Short: "Import countries and operators from serviceproviders.xml (mobile-broadband-provider-info)", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			networks, err := warehouse.ParseNetworks(file)
			if err != nil {
				return err
			}
			if asSQL {
				_, err := io.WriteString(cmd.OutOrStdout(), warehouse.NetworksSQL(networks))
				return err
			}
			return withWarehouse(func(_ *cdrSettings, db *warehouse.DB) error {
				if err := db.InsertNetworks(cmd.Context(), networks, time.Now().UTC()); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%d networks imported\n", len(networks))
				return err
			})
		},
	}
	c.Flags().BoolVar(&asSQL, "sql", false, "print the migration that seeds a new warehouse instead")
	return c
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
