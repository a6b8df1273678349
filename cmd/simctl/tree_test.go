package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/simline/simline/internal/wire"
)

// Every command says what it does and shows how, in commands that there are.
func TestEveryCommandHasAnExample(t *testing.T) {
	root := rootCommand()
	commands := walk(root)
	if len(commands) < 30 {
		t.Fatalf("walked over %d commands only", len(commands))
	}
	for _, c := range commands {
		switch {
		case c.Short == "" || strings.HasSuffix(c.Short, "."):
			t.Errorf("%s: short help %q", c.CommandPath(), c.Short)
		case !strings.Contains(c.Example, c.CommandPath()):
			t.Errorf("%s: its example does not show it: %q", c.CommandPath(), c.Example)
		case !c.Runnable() && !c.HasSubCommands():
			t.Errorf("%s does nothing", c.CommandPath())
		}
		for line := range strings.Lines(strings.ReplaceAll(c.Example, "\\\n", " ")) {
			words := strings.Fields(line)
			if len(words) == 0 || words[0] != "simctl" {
				continue
			}
			if found, _, err := root.Find(words[1:]); err != nil || found == root {
				t.Errorf("%s: example %q: %v", c.CommandPath(), strings.TrimSpace(line), err)
			} else {
				for _, w := range words {
					if name, ok := strings.CutPrefix(w, "--"); ok && found.Flag(strings.SplitN(name, "=", 2)[0]) == nil {
						t.Errorf("%s: example %q: there is no flag %s", c.CommandPath(), strings.TrimSpace(line), w)
					}
				}
			}
		}
	}
}

// What changes something asks why. The commands that do are listed here by hand.
func TestWhatChangesSomethingAsksWhy(t *testing.T) {
	changing := map[string]string{
		"order submit": wire.ActOrderSubmit, "order resolve": wire.ActOrderResolve, "order cancel": wire.ActOrderCancel, "order show": wire.ActOrderReveal,
		"dlq replay": wire.ActDeadReplay, "dlq edit": wire.ActDeadEdit, "dlq show": wire.ActDeadReveal, "dlq export": wire.ActDeadReveal,
		"switch pause": wire.ActSwitchSet, "switch resume": wire.ActSwitchSet, "switch spend-stop": wire.ActSwitchSet,
		"recon accept": wire.ActFindingAccept, "recon run": wire.ActReconRun, "cdr backfill": wire.ActCDRReread, "cdr networks": wire.ActNetworksImport, "spool drain": wire.ActSpoolDrain,
		"backup": wire.ActStreamsBackup, "restore": wire.ActStreamsRestore,
	}
	actions := map[string]bool{}
	for _, c := range walk(rootCommand()) {
		name := strings.TrimPrefix(c.CommandPath(), "simctl ")
		_, want := changing[name]
		if got := c.Flag("reason") != nil && c.Flag("by") != nil; got != want {
			t.Errorf("%s: asks why is %t, want %t", name, got, want)
		}
		actions[changing[name]] = true
	}
	for _, a := range wire.Actions {
		if !actions[a] {
			t.Errorf("no command is audited as %s", a)
		}
	}
}

func TestReferenceIsWhatTheCodeSays(t *testing.T) {
	have, err := os.ReadFile("../../docs/reference/simctl.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), string(referencePage(rootCommand()))); diff != "" {
		t.Errorf("make generate (-have +want):\n%s", diff)
	}
}
