package main

import (
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/orderer"
)

func switchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "switch",
		Short: "Pause a supplier or stop spending, at once and without a restart",
		Long: "Pause a supplier (no call at all) or stop spending (nothing is bought, looks go on). \"all\" stands for every\n" +
			"supplier. Orders wait meanwhile, or expire if they say so.",
		Example: "  simctl switch ls\n  simctl switch pause eiotclub --reason \"maintenance there\"",
	}
	set := func(use, short, example string, steps func(supplier string) []step) *cobra.Command {
		c := &cobra.Command{
			Use: use + " SUPPLIER", Short: short, Args: cobra.ExactArgs(1), ValidArgs: operator.Suppliers,
			Example: "  simctl switch " + use + " " + example,
		}
		who := whoFlags(c)
		c.RunE = func(cmd *cobra.Command, args []string) error {
			return withOperator(func(op *operator.Operator) error {
				for _, s := range steps(args[0]) {
					if err := op.SetSwitch(cmd.Context(), *who, args[0], s.what, s.on); err != nil {
						return err
					}
					say(cmd, "%s.%s is %s", args[0], s.what, ifElse(s.on, "on", "off"))
				}
				return nil
			})
		}
		return c
	}
	c.AddCommand(switchList(),
		set("pause", "No call at all to a supplier, or to all", `eiotclub --reason "maintenance there"`, func(string) []step { return []step{{orderer.SwitchPause, true}} }),
		set("spend-stop", "Buy nothing from a supplier, or from any; looks go on", `all --reason "somebody else buys with our key"`, func(string) []step { return []step{{orderer.SwitchSpendStop, true}} }),
		set("resume", "Turn off a supplier's pause and spend stop; those of \"all\" are its own", `eiotclub --reason "maintenance is over"`, func(string) []step {
			return []step{{orderer.SwitchPause, false}, {orderer.SwitchSpendStop, false}}
		}))
	return c
}

type step struct {
	what string
	on   bool
}

func switchList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the switches", Args: cobra.NoArgs, Example: "  simctl switch ls",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withOperator(func(op *operator.Operator) error {
				list, err := op.Switches(cmd.Context())
				if err != nil {
					return err
				}
				return printList(cmd, list, table.Row{"switch", "on", "by", "since", "reason"}, func(s operator.Switch) table.Row {
					return table.Row{s.Name, fmt.Sprint(s.On), s.By, s.At, s.Reason}
				})
			})
		},
	}
}
