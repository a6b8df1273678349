package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/orderer"
)

func switchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "switch",
		Short: "Pause a supplier or stop spending, at once and without a restart",
		Long: "Pause a supplier (<supplier>.pause: no call at all) or stop spending (<supplier>.spend_stop: nothing is bought,\n" +
			"looks go on). \"all\" stands for every supplier. Orders wait meanwhile.",
	}
	c.AddCommand(switchListCommand(), switchSetCommand("on", true), switchSetCommand("off", false))
	return c
}

func switchNames() []string {
	var names []string
	for _, s := range append([]string{orderer.SwitchAll}, order.Suppliers...) {
		names = append(names, s+"."+orderer.SwitchPause, s+"."+orderer.SwitchSpendStop)
	}
	return names
}

func switchListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the switches",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := connect()
			if err != nil {
				return err
			}
			defer b.Close()
			kv, err := b.JS.KeyValue(cmd.Context(), bus.BucketSwitches)
			if err != nil {
				return fmt.Errorf("bucket %s: %w", bus.BucketSwitches, err)
			}
			t := table.NewWriter()
			t.SetOutputMirror(cmd.OutOrStdout())
			t.AppendHeader(table.Row{"switch", "on", "by", "since", "reason"})
			for _, name := range switchNames() {
				var v orderer.Switch
				e, err := kv.Get(cmd.Context(), name)
				switch {
				case err == nil:
					v.On = orderer.SwitchIsOn(e.Value())
					_ = json.Unmarshal(e.Value(), &v) // set by hand it may be no JSON; on or off counts
					v.At = cmp.Or(v.At, e.Created().UTC().Format(time.RFC3339))
				case !errors.Is(err, jetstream.ErrKeyNotFound):
					return fmt.Errorf("switch %s: %w", name, err)
				}
				t.AppendRow(table.Row{name, v.On, v.By, v.At, v.Reason})
			}
			t.Render()
			return nil
		},
	}
}

func switchSetCommand(use string, on bool) *cobra.Command {
	var reason, by string
	c := &cobra.Command{
		Use:       use + " NAME",
		Short:     "Put a switch " + use + ": " + strings.Join(switchNames(), ", "),
		Args:      cobra.ExactArgs(1),
		ValidArgs: switchNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(switchNames(), args[0]) {
				return fmt.Errorf("no switch %q; there are %s", args[0], strings.Join(switchNames(), ", "))
			}
			b, err := connect()
			if err != nil {
				return err
			}
			defer b.Close()
			kv, err := b.JS.KeyValue(cmd.Context(), bus.BucketSwitches)
			if err != nil {
				return fmt.Errorf("bucket %s: %w", bus.BucketSwitches, err)
			}
			data, err := json.Marshal(orderer.Switch{On: on, By: cmp.Or(by, os.Getenv("USER")), Reason: reason, At: time.Now().UTC().Format(time.RFC3339)})
			if err != nil {
				return err
			}
			if _, err := kv.Put(cmd.Context(), args[0], data); err != nil {
				return fmt.Errorf("switch %s: %w", args[0], err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is %s\n", args[0], use)
			return nil
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the others")
	c.Flags().StringVar(&by, "by", "", "who you are (default $USER)")
	return c
}
