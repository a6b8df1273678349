package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// referenceCommand writes docs/reference/simctl.md; `make generate` calls it.
func referenceCommand() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use: "reference FILE", Short: "Write this reference", Args: cobra.ExactArgs(1), Hidden: true,
		Example: "  simctl reference docs/reference/simctl.md",
		RunE: func(cmd *cobra.Command, args []string) error {
			want := referencePage(cmd.Root())
			if !check {
				return os.WriteFile(args[0], want, 0o644)
			}
			have, err := os.ReadFile(args[0])
			if err == nil && !bytes.Equal(have, want) {
				err = fmt.Errorf("%s is not what the code says: make generate", args[0])
			}
			return err
		},
	}
	c.Flags().BoolVar(&check, "check", false, "compare instead of writing")
	return c
}

func referencePage(root *cobra.Command) []byte {
	var b bytes.Buffer
	b.WriteString("# simctl\n\nMade from the code by `make generate`; do not edit. " + strings.ReplaceAll(root.Long, "\n", " ") +
		"\nIts environment: [configuration](config.md#simctl).\n\n`simctl completion bash|zsh|fish` writes a shell's completion.\n\n" +
		"| exit code | meaning |\n|---|---|\n")
	for _, e := range exitMeanings {
		fmt.Fprintf(&b, "| %d | %s |\n", e.code, e.meaning)
	}
	b.WriteString("\nEvery command takes:\n\n")
	flagTable(&b, root.PersistentFlags())
	for _, c := range walk(root) {
		if !c.Runnable() {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n", strings.TrimSuffix(c.UseLine(), " [flags]"))
		text := c.Short
		if c.Long != "" {
			text = c.Long
		}
		fmt.Fprintf(&b, "%s.\n\n```sh\n%s\n```\n", strings.TrimSuffix(text, "."), unindent(c.Example))
		if c.LocalNonPersistentFlags().HasAvailableFlags() {
			b.WriteString("\n")
			flagTable(&b, c.LocalNonPersistentFlags())
		}
	}
	return b.Bytes()
}

// walk lists every command that a person may use, depth first.
func walk(c *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, sub := range c.Commands() {
		if sub.Hidden || sub.Name() == "help" || sub.Name() == "completion" {
			continue
		}
		out = append(append(out, sub), walk(sub)...)
	}
	return out
}

func flagTable(b *bytes.Buffer, flags *pflag.FlagSet) {
	b.WriteString("| flag | default | meaning |\n|---|---|---|\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name, def := "`--"+f.Name+"`", "–"
		if f.Shorthand != "" {
			name += ", `-" + f.Shorthand + "`"
		}
		if f.DefValue != "" && f.DefValue != "[]" {
			def = "`" + f.DefValue + "`"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, def, strings.ReplaceAll(f.Usage, "|", "\\|"))
	})
}

func unindent(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}
