package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

func dlqCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "dlq", Short: "Dead letters, the messages that could not be taken: list, show, replay, edit, export",
		Example: "  simctl dlq ls --error unknown_account\n  simctl dlq replay --error unknown_account --reason \"the account is configured now\" --yes",
	}
	c.AddCommand(dlqList(), dlqShow(), dlqReplay(), dlqEdit(), dlqExport())
	return c
}

func filterFlags(c *cobra.Command) *operator.DeadFilter {
	var f operator.DeadFilter
	fl := c.Flags()
	fl.StringVar(&f.Stream, "stream", "", "only those of this stream")
	fl.StringVar(&f.Supplier, "supplier", "", "only those of this supplier")
	fl.StringVar(&f.Error, "error", "", "only those given up for this (conflict, schema, …), or whose error holds this text")
	fl.DurationVar(&f.Older, "older", 0, "only those given up at least so long ago (90m, 24h)")
	fl.DurationVar(&f.Newer, "newer", 0, "only those given up at most so long ago")
	for name, words := range map[string][]string{"stream": bus.StreamNames(), "supplier": order.Suppliers, "error": wire.Reasons} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	return &f
}

// letterView is a letter as list and show print it as JSON.
type letterView struct {
	operator.Letter
	Body string `json:"body,omitempty"`
	Data []byte `json:"data,omitempty"` // shadows the letter's own
}

func dlqList() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "ls", Short: "List dead letters, the newest first", Args: cobra.NoArgs,
		Example: "  simctl dlq ls --stream ORDERS --older 24h\n  simctl dlq ls --error conflict -o ndjson",
	}
	f := filterFlags(c)
	c.Flags().IntVar(&limit, "limit", 100, "at most so many")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return withOperator(func(op *operator.Operator) error {
			p, err := op.Newest(cmd.Context(), *f, 0, limit)
			if err != nil {
				return err
			}
			views := make([]letterView, len(p.Letters))
			for i, l := range p.Letters {
				views[i] = letterView{Letter: l}
				views[i].Header, views[i].Error = nil, operator.MaskText(l.Error)
			}
			err = printList(cmd, views, table.Row{"seq", "at", "came on", "reason", "error"}, func(v letterView) table.Row {
				return table.Row{v.Seq, stamp(&v.At), v.Subject, v.Reason, v.Error}
			})
			if err == nil && p.Next > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "there may be more: --limit\n")
			}
			return err
		})
	}
	return c
}

func dlqShow() *cobra.Command {
	var clear bool
	c := &cobra.Command{
		Use: "show SEQ", Short: "Print a dead letter whole, headers and body; card data masked", Args: cobra.ExactArgs(1),
		Long:    "Print a dead letter whole, headers and body. Card numbers and activation codes are masked; with --secrets they are\nnot, which needs a --reason and is audited.",
		Example: "  simctl dlq show 17\n  simctl dlq show 17 --secrets --reason \"comparing with the sender\"",
	}
	who := optionalWhoFlags(c)
	c.Flags().BoolVar(&clear, "secrets", false, "card data in clear (audited)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		seq, err := sequence(args[0])
		if err != nil {
			return err
		}
		return withOperator(func(op *operator.Operator) error {
			l, err := op.Letter(cmd.Context(), seq)
			if err != nil {
				return err
			}
			if clear {
				if l, err = op.RevealLetter(cmd.Context(), *who, seq); err != nil {
					return err
				}
			} else {
				l.Data, l.Error = operator.MaskJSON(l.Data), operator.MaskText(l.Error)
			}
			return printOne(cmd, letterView{Letter: l, Body: string(l.Data)}, func(w io.Writer) {
				fmt.Fprintf(w, "dead letter %d, given up %s\ncame on %s, stream %s\n%s: %s\n", l.Seq, stamp(&l.At), l.Subject, l.Stream, l.Reason, l.Error)
				if err := l.CanReplay(); err != nil {
					fmt.Fprintln(w, err)
				}
				var names []string
				for name := range l.Header {
					if !slices.Contains([]string{bus.HeaderError, bus.HeaderReason, bus.HeaderOrigin}, name) { // said above
						names = append(names, name)
					}
				}
				slices.Sort(names)
				for _, name := range names {
					fmt.Fprintf(w, "%s: %s\n", name, operator.MaskText(strings.Join(l.Header[name], ", ")))
				}
				fmt.Fprintf(w, "\n%s\n", operator.Indent(l.Data))
			})
		})
	}
	return c
}

func sequence(arg string) (uint64, error) {
	seq, err := strconv.ParseUint(arg, 10, 64)
	if err != nil {
		return 0, usage("%q is not a sequence (see `simctl dlq ls`)", arg)
	}
	return seq, nil
}

func dlqReplay() *cobra.Command {
	var yes, keep, all bool
	c := &cobra.Command{
		Use:   "replay [SEQ…]",
		Short: "Publish dead letters again where they came from, and remove them from DEAD",
		Long: "Publish dead letters again where they came from, and remove them from DEAD. Name them by sequence, or pick them with\n" +
			"--stream, --supplier, --error, --older, --newer or --all. Without --yes it only says what it would replay. An order that\n" +
			"is there already is not bought again. Fix the reason first, or they come back.",
		Example: "  simctl dlq replay --error unknown_account\n  simctl dlq replay 17 18 --reason \"the account is configured now\" --yes",
	}
	f := filterFlags(c)
	who := optionalWhoFlags(c)
	c.Flags().BoolVar(&all, "all", false, "every dead letter")
	c.Flags().BoolVar(&keep, "keep", false, "leave them in DEAD as well")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do it; needs --reason")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 && f.Zero() && !all {
			return usage("which? name sequences, or pick with --stream, --supplier, --error, --older, --newer or --all")
		}
		return withOperator(func(op *operator.Operator) error {
			letters, err := pick(cmd, op, *f, args)
			if err != nil {
				return err
			}
			can := slices.DeleteFunc(slices.Clone(letters), func(l operator.Letter) bool { return l.CanReplay() != nil })
			if !yes {
				return preview(cmd, letters, can)
			}
			seqs := make([]uint64, len(can))
			for i, l := range can {
				seqs[i] = l.Seq
			}
			bar, stop := progressBar(cmd.ErrOrStderr(), "replayed", len(seqs))
			r, err := op.Replay(cmd.Context(), *who, seqs, keep, func() { bar.Increment(1) })
			stop()
			for _, seq := range seqs {
				if why := r.Failed[seq]; why != nil {
					fmt.Fprintf(cmd.ErrOrStderr(), "%d: %v\n", seq, why)
				}
			}
			say(cmd, "replayed %d", r.Done)
			if err == nil && len(r.Failed) > 0 {
				err = fmt.Errorf("%d were not replayed", len(r.Failed))
			}
			return err
		})
	}
	return c
}

// pick reads the letters that are named, or those that the filter picks; bodies
// are dropped.
func pick(cmd *cobra.Command, op *operator.Operator, f operator.DeadFilter, args []string) ([]operator.Letter, error) {
	var out []operator.Letter
	take := func(l operator.Letter) error {
		l.Data = nil
		out = append(out, l)
		return nil
	}
	if len(args) == 0 {
		return out, op.Letters(cmd.Context(), f, take)
	}
	for _, arg := range args {
		seq, err := sequence(arg)
		if err != nil {
			return nil, err
		}
		l, err := op.Letter(cmd.Context(), seq)
		if err != nil {
			return nil, err
		}
		_ = take(l)
	}
	return out, nil
}

// shown is how many letters a preview lists.
const shown = 10

func preview(cmd *cobra.Command, letters, can []operator.Letter) error {
	err := printList(cmd, can[:min(shown, len(can))], table.Row{"seq", "came on", "reason", "error"}, func(l operator.Letter) table.Row {
		return table.Row{l.Seq, l.Subject, l.Reason, operator.MaskText(l.Error)}
	})
	if err != nil {
		return err
	}
	out := cmd.ErrOrStderr()
	if len(can) > shown {
		fmt.Fprintf(out, "… and %d more\n", len(can)-shown)
	}
	if n := len(letters) - len(can); n > 0 {
		fmt.Fprintf(out, "%d cannot be replayed: nobody waits for them\n", n)
	}
	fmt.Fprintf(out, "will replay %d; with --yes and --reason it is done\n", len(can))
	return nil
}

func dlqEdit() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "edit SEQ", Short: "Correct a dead letter's body and replay it; it is checked before it is sent", Args: cobra.ExactArgs(1),
		Long:    "Correct a dead letter's body in $EDITOR, or take it from --file (- is standard input), and replay it. The body is checked as\nit will be when it arrives. A notification is signed and cannot be edited.",
		Example: "  simctl dlq edit 17 --reason \"the sender's package code was wrong\"\n  simctl dlq edit 17 --file corrected.json --reason \"…\"",
	}
	who := whoFlags(c)
	c.Flags().StringVar(&file, "file", "", "the corrected body; - is standard input")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		seq, err := sequence(args[0])
		if err != nil {
			return err
		}
		return withOperator(func(op *operator.Operator) error {
			body, err := readBody(cmd, file)
			if file == "" {
				l, findErr := op.RevealLetter(cmd.Context(), *who, seq)
				if findErr != nil {
					return findErr
				}
				body, err = edited(cmd, l.Data)
			}
			if err != nil {
				return err
			}
			if err := op.Edited(cmd.Context(), *who, seq, body); err != nil {
				return err
			}
			say(cmd, "replayed 1 with another body")
			return nil
		})
	}
	return c
}

// readBody reads a file that a flag names; - is standard input, none is nothing.
func readBody(cmd *cobra.Command, file string) ([]byte, error) {
	switch file {
	case "":
		return nil, nil
	case "-":
		return io.ReadAll(io.LimitReader(cmd.InOrStdin(), 1<<20))
	}
	return os.ReadFile(file)
}

// edited opens $EDITOR on a copy that only we may read.
func edited(cmd *cobra.Command, body []byte) ([]byte, error) {
	editor := os.Getenv("EDITOR")
	if editor == "" {
		return nil, usage("$EDITOR is not set: give --file")
	}
	f, err := os.CreateTemp("", "simctl-*.json")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(operator.Indent(body))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	words := strings.Fields(editor)
	run := exec.CommandContext(cmd.Context(), words[0], append(words[1:], f.Name())...)
	run.Stdin, run.Stdout, run.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	if err := run.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w", editor, err)
	}
	return os.ReadFile(f.Name())
}

func dlqExport() *cobra.Command {
	c := &cobra.Command{
		Use: "export", Short: "Write dead letters whole as JSON, one a line, card data included (audited)", Args: cobra.NoArgs,
		Example: "  simctl dlq export --stream ORDERS --reason \"for the sender to correct\" > letters.ndjson",
	}
	f := filterFlags(c)
	who := whoFlags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return withOperator(func(op *operator.Operator) error {
			if err := op.Audit(cmd.Context(), *who, wire.ActDeadReveal, "export", map[string]string{"filter": fmt.Sprintf("%+v", *f)}); err != nil {
				return err
			}
			enc, n := json.NewEncoder(cmd.OutOrStdout()), 0
			err := op.Letters(cmd.Context(), *f, func(l operator.Letter) error {
				n++
				return enc.Encode(letterView{Letter: l, Body: string(l.Data)})
			})
			fmt.Fprintf(cmd.ErrOrStderr(), "exported %d at %s\n", n, time.Now().UTC().Format(time.RFC3339))
			return err
		})
	}
	return c
}
