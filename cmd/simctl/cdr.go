package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/cdrpull"
	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/wire"
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
	c := &cobra.Command{
		Use: "cdr", Short: "CDR files: list, show, gaps, read again, check against what was loaded",
		Example: "  simctl cdr ls --state held\n  simctl cdr gaps",
	}
	c.AddCommand(cdrList(), cdrShow(), cdrGaps(), cdrBackfill(), cdrVerify(), cdrNetworks())
	return c
}

// withWarehouse opens ClickHouse for one command.
func withWarehouse(do func(s *cdrSettings, db *warehouse.DB) error) (err error) {
	var s cdrSettings
	if err := service.LoadConfig(os.Environ(), &s); err != nil {
		return quiet{err, errUsage}
	}
	db, err := warehouse.Open(s.ClickHouseDSN)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return do(&s, db)
}

// withFiles opens ClickHouse, NATS and the configured directories.
func withFiles(ctx context.Context, do func(*bus.Bus, *cdrpull.Operator) error) error {
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
		return do(b, op)
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
	var dir bool
	c := &cobra.Command{
		Use: "ls", Short: "List files: recorded ones, or with --dir what lies in the directories", Args: cobra.NoArgs,
		Example: "  simctl cdr ls --since 24h --state with_rejects\n  simctl cdr ls --dir",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir {
				return listDirectories(cmd, f)
			}
			return withWarehouse(func(_ *cdrSettings, db *warehouse.DB) error {
				files, err := db.FilesSince(cmd.Context(), f.account, time.Now().Add(-f.since))
				if err != nil {
					return err
				}
				files = slices.DeleteFunc(files, func(x warehouse.File) bool { return f.state != "" && x.State != f.state })
				return printFiles(cmd, files)
			})
		},
	}
	f.flags(c)
	c.Flags().BoolVar(&dir, "dir", false, "look into the FTP directories instead of the records")
	return c
}

func printFiles(cmd *cobra.Command, files []warehouse.File) error {
	head := table.Row{"account", "window (UTC)", "file", "state", "rows", "inserted", "known", "bad", "conflicts", "loaded (UTC)"}
	return printList(cmd, files, head, func(f warehouse.File) table.Row {
		loaded := ""
		if !f.LoadedAt.IsZero() {
			loaded = f.LoadedAt.UTC().Format("01-02 15:04:05")
		}
		name := f.File
		if f.Content > 0 {
			name += fmt.Sprintf(" (content %d)", f.Content+1)
		}
		return table.Row{f.Account, f.WindowStart.UTC().Format("01-02 15:04") + "–" + f.WindowEnd.UTC().Format("15:04"), name,
			f.State, f.Rows, f.Inserted, f.Known, f.Rejects, f.Conflicts, loaded}
	})
}

func listDirectories(cmd *cobra.Command, f fileFilter) error {
	return withFiles(cmd.Context(), func(_ *bus.Bus, op *cdrpull.Operator) error {
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
		return printList(cmd, all, table.Row{"account", "file", "bytes", "state", "since (UTC)", "why"}, func(x cdrpull.FileStatus) table.Row {
			return table.Row{x.Account, x.File, x.Size, x.State, stamp(x.At), x.Reason}
		})
	})
}

func cdrShow() *cobra.Command {
	var raw bool
	var limit int
	c := &cobra.Command{
		Use: "show FILE", Short: "Show what became of a file: each content, its bad rows and conflicts", Args: cobra.ExactArgs(1),
		Example: "  simctl cdr show cdr_10001_20260115000000_20260115010000_20260115013000.csv",
		RunE: func(cmd *cobra.Command, args []string) error {
			return withWarehouse(func(_ *cdrSettings, db *warehouse.DB) error {
				if f, _ := format(cmd); f != formatTable {
					files, err := db.FilesNamed(cmd.Context(), "", args[0])
					if err != nil {
						return err
					}
					return printFiles(cmd, files)
				}
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
		return quiet{fmt.Errorf("%s was never read; `simctl cdr ls --dir` shows what lies in the directories", file), operator.ErrNotFound}
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
	c := &cobra.Command{
		Use: "gaps", Short: "List half hours that no loaded file covers although they are late", Args: cobra.NoArgs,
		Example: "  simctl cdr gaps --account default",
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
					fmt.Fprintf(cmd.ErrOrStderr(), "account %s: complete up to %s UTC, %d gaps\n", a, complete.Format(time.DateTime), len(some))
				}
				return printList(cmd, gaps, table.Row{"account", "from (UTC)", "to (UTC)", "late since (UTC)"}, func(g cdrpull.Gap) table.Row {
					return table.Row{g.Account, stamp(&g.Start), stamp(&g.End), stamp(&g.Since)}
				})
			})
		},
	}
	c.Flags().StringVar(&account, "account", "", "only this account (its name)")
	return c
}

func cdrVerify() *cobra.Command {
	var f fileFilter
	c := &cobra.Command{
		Use: "verify [FILE…]", Short: "Read files again and look for each of their rows in ClickHouse",
		Long: "Read files again and look for each of their rows in ClickHouse. Without names it checks the files that lie in the\n" +
			"directories and count as loaded. Exit code 4 if a row is missing or differs.",
		Example: "  simctl cdr verify --since 24h",
		RunE: func(cmd *cobra.Command, names []string) error {
			return withFiles(cmd.Context(), func(_ *bus.Bus, op *cdrpull.Operator) error {
				files, err := chosen(cmd.Context(), op, f, names, func(s string) bool { return s == warehouse.FileLoaded || s == warehouse.FileWithRejects })
				if err != nil {
					return err
				}
				bar, stop := progressBar(cmd.ErrOrStderr(), "files", len(files))
				defer stop()
				bad, all := 0, make([]cdrpull.Verdict, 0, len(files))
				for _, x := range files {
					v, err := op.Verify(cmd.Context(), x.Account, x.File)
					if err != nil {
						return fmt.Errorf("%s: %w", x.File, err)
					}
					if !v.OK() {
						bad++
					}
					all = append(all, v)
					bar.Increment(1)
				}
				stop()
				err = printList(cmd, all, table.Row{"", "file", "rows", "present", "superseded", "missing", "differing", ""}, func(v cdrpull.Verdict) table.Row {
					return table.Row{okWord(v.OK()), v.File, v.Rows, v.Present, v.Superseded, v.Missing, v.Differing, ifElse(v.Content, "", "this content was never loaded")}
				})
				if err == nil && bad > 0 {
					err = notWell("%d of %d files are not in ClickHouse as they stand: simctl cdr backfill FILE", bad, len(files))
				}
				return err
			})
		},
	}
	f.flags(c)
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
		Example: "  simctl cdr networks serviceproviders.xml --reason \"release of November\"",
	}
	who := optionalWhoFlags(c)
	c.Flags().BoolVar(&asSQL, "sql", false, "print the migration that seeds a new warehouse instead, and change nothing")
	c.RunE = func(cmd *cobra.Command, args []string) error {
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
			return withOperator(func(op *operator.Operator) error {
				if err := op.Audit(cmd.Context(), *who, wire.ActNetworksImport, filepath.Base(args[0]), nil); err != nil {
					return err
				}
				if err := db.InsertNetworks(cmd.Context(), networks, time.Now().UTC()); err != nil {
					return err
				}
				say(cmd, "%d networks imported", len(networks))
				return nil
			})
		})
	}
	return c
}
