package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/warehouse"
)

func orderCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "order", Short: "Submit, follow and look into orders, and decide what only a person can",
		Example: "  simctl order list --state held\n  simctl order show 630000198311142676",
	}
	c.AddCommand(orderSubmit(), orderStatus(), orderWatch(), orderList(), orderShow(), orderResolve(), orderCancel())
	return c
}

// completeOpen offers the ids of open orders.
func completeOpen(cmd *cobra.Command, args []string, begins string) ([]string, cobra.ShellCompDirective) {
	var ids []string
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	_ = withOperator(func(op *operator.Operator) error { // completion is silent
		for o, err := range op.Open(cmd.Context()) {
			if err != nil || len(ids) == 50 {
				return err
			}
			if strings.HasPrefix(o.OrderID, begins) {
				ids = append(ids, o.OrderID)
			}
		}
		return nil
	})
	return ids, cobra.ShellCompDirectiveNoFileComp
}

func orderStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status ID", Short: "Say where an order stands, from its last event", Args: cobra.ExactArgs(1), ValidArgsFunction: completeOpen,
		Example: "  simctl order status 630000198311142676",
		RunE: func(cmd *cobra.Command, args []string) error {
			return withOperator(func(op *operator.Operator) error {
				e, err := op.Order(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				last := operator.Masked([]operator.Event{{Record: e.Record, Seq: e.Seq, Stored: e.Stored}})[0]
				return printOne(cmd, last, func(w io.Writer) { headline(w, last.Record) })
			})
		},
	}
}

func headline(w io.Writer, r order.Record) {
	fmt.Fprintf(w, "order %s: %s %s, account %s\nstate %s, certainty %s", r.OrderID, r.Supplier, r.Product, r.Account, r.State, r.Certainty)
	if r.State == order.Waiting && r.WaitingFor != "" {
		fmt.Fprintf(w, ", waits for %s", r.WaitingFor)
	}
	if r.Reason != "" {
		fmt.Fprintf(w, " (%s)", r.Reason)
	}
	fmt.Fprintln(w)
}

func orderShow() *cobra.Command {
	var secrets bool
	c := &cobra.Command{
		Use: "show ID", Short: "Show an order: every event, what was sent when, what each look said", Args: cobra.ExactArgs(1), ValidArgsFunction: completeOpen,
		Long:    "Show an order: every event, what was sent when, what each look said. Card numbers and activation codes are masked; with\n--secrets they are not, which needs a --reason and is audited.",
		Example: "  simctl order show 630000198311142676\n  simctl order show 630000198311142676 --secrets --reason \"the customer lost the mail\" -o json",
	}
	who := optionalWhoFlags(c)
	c.Flags().BoolVar(&secrets, "secrets", false, "activation codes and card numbers in clear (audited)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return withOperator(func(op *operator.Operator) error {
			var events []operator.Event
			var err error
			if secrets {
				events, err = op.Reveal(cmd.Context(), *who, args[0])
			} else {
				events, err = op.Events(cmd.Context(), args[0])
				events = operator.Masked(events)
			}
			if err != nil {
				return err
			}
			if f, _ := format(cmd); f == formatNDJSON {
				return printList(cmd, events, nil, nil)
			}
			return printOne(cmd, events, func(w io.Writer) { printStory(w, events) })
		})
	}
	return c
}

// printStory is an order for a terminal.
func printStory(w io.Writer, events []operator.Event) {
	last := events[len(events)-1]
	headline(w, last.Record)
	line := func(name string, v any) {
		if s := fmt.Sprint(v); s != "" && s != "<nil>" {
			fmt.Fprintf(w, "  %-22s %s\n", name, s)
		}
	}
	line("supplier order id", last.SupplierOrderID)
	line("supplier order number", last.SupplierOrderNumber)
	line("request id there", last.SupplierRequestID)
	line("first sent", stamp(last.FirstSentAt))
	line("last sent", stamp(last.LastSentAt))
	line("not before", stamp(last.NotBefore))
	for _, m := range []struct {
		name string
		v    *order.Money
	}{{"total", last.Total}, {"balance before", last.BalanceBefore}, {"balance after", last.Balance}} {
		if m.v != nil {
			line(m.name, m.v)
		}
	}
	for _, e := range last.ESIMs {
		line("esim", strings.TrimSpace(fmt.Sprintf("%s %s %s", e.ICCID, e.Status, e.ActivationCode)))
	}
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"at", "state", "certainty", "evidence", "attempt", "error or reason"})
	for _, r := range events {
		t.AppendRow(table.Row{stamp(&r.At), r.State, r.Certainty, r.Evidence, r.Attempt, why(r.Record)})
	}
	t.Render()
	for _, c := range last.Conflicts {
		fmt.Fprintf(w, "CONTRADICTED at %s: %s says %s %s as %q %s\n", c.At.Format(time.RFC3339), c.Evidence, c.Certainty, c.StateThere, c.SupplierOrderID, c.Reason)
	}
	if len(last.LookLog) == 0 {
		return
	}
	t = table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"looked at", "where", "said"})
	for _, l := range last.LookLog {
		t.AppendRow(table.Row{stamp(&l.At), l.Where, l.Said})
	}
	t.Render()
}

// why is an event's error and reason in one line.
func why(r order.Record) string {
	if r.Error == nil {
		return r.Reason
	}
	return strings.Join(slices.DeleteFunc([]string{r.Error.Kind, r.Error.Code, r.Error.Message, r.Reason}, func(s string) bool { return s == "" }), " ")
}

func orderList() *cobra.Command {
	var state, supplier, account, find string
	c := &cobra.Command{
		Use: "list", Short: "List the open orders (waiting, unknown, placed, held), or find any", Args: cobra.NoArgs,
		Long:    "List the open orders, the oldest entry first. With --find it looks for an order id, an ICCID, an EID or a supplier's order\nid among all that were ever archived (needs CLICKHOUSE_DSN).",
		Example: "  simctl order list --state held --supplier eiotclub\n  simctl order list --find 8988308650100524999",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if find != "" {
				return findOrders(cmd, find)
			}
			return withOperator(func(op *operator.Operator) error {
				var list []ledger.Open
				for o, err := range op.Open(cmd.Context()) {
					if err != nil {
						return err
					}
					if (state == "" || string(o.State) == state) && (supplier == "" || o.Supplier == supplier) && (account == "" || o.Account == account) {
						list = append(list, o)
					}
				}
				slices.SortStableFunc(list, func(a, b ledger.Open) int { return a.Due.Compare(b.Due) })
				return printList(cmd, list, table.Row{"order", "supplier", "account", "state", "waits for", "due"}, func(o ledger.Open) table.Row {
					return table.Row{o.OrderID, o.Supplier, o.Account, o.State, o.WaitingFor, stamp(&o.Due)}
				})
			})
		},
	}
	f := c.Flags()
	f.StringVar(&state, "state", "", "only this state")
	f.StringVar(&supplier, "supplier", "", "only this supplier")
	f.StringVar(&account, "account", "", "only this account (its name)")
	f.StringVar(&find, "find", "", "an order id, ICCID, EID or supplier's order id")
	_ = c.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{string(order.Waiting), string(order.Unknown), string(order.Placed), string(order.Held)}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("supplier", cobra.FixedCompletions(order.Suppliers, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func findOrders(cmd *cobra.Command, text string) error {
	return withWarehouse(func(_ *cdrSettings, db *warehouse.DB) error {
		list, err := db.FindOrders(cmd.Context(), text, 100)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return quiet{errors.New("no archived order has it as its id, its card or the supplier's id"), operator.ErrNotFound}
		}
		return printList(cmd, list, table.Row{"order", "supplier", "account", "state", "supplier's id", "last moved"}, func(o warehouse.OrderRow) table.Row {
			return table.Row{o.OrderID, o.Supplier, o.Account, o.State, o.SupplierOrderID, stamp(&o.UpdatedAt)}
		})
	})
}

func orderResolve() *cobra.Command {
	var res operator.Resolution
	var esims string
	c := &cobra.Command{
		Use:   "resolve ID --as placed|fulfilled|not-placed --reason …",
		Short: "Settle an order that nobody but a person can settle; who and why goes into its events", Args: cobra.ExactArgs(1), ValidArgsFunction: completeOpen,
		Long: "Settle an order that nobody but a person can settle; who and why goes into its events. placed: the supplier has it, and orderer\n" +
			"follows it. fulfilled: what was bought is there, and the order ends. Of eSIMs those that are known count, and those in the file of\n" +
			"--esims, a JSON array such as [{\"iccid\": …, \"activation_code\": …, \"qr_code_url\": …, \"apple_install_url\": …}] that need not\n" +
			"repeat the known ones. not-placed: the supplier does not have it; it is rejected, or with --send-again bought now.",
		Example: "  simctl order resolve o-17 --as placed --supplier-order-id 10004728 --reason \"seen in the supplier's records\"\n" +
			"  simctl order resolve o-17 --as fulfilled --esims second.json --reason \"their dashboard shows both\"\n" +
			"  simctl order resolve o-17 --as not-placed --send-again --reason \"the supplier says it never came\"",
	}
	who := whoFlags(c)
	c.Flags().StringVar(&res.As, "as", "", "placed, fulfilled or not-placed (required)")
	_ = c.MarkFlagRequired("as")
	_ = c.RegisterFlagCompletionFunc("as", cobra.FixedCompletions([]string{operator.AsPlaced, operator.AsFulfilled, operator.AsNotPlaced}, cobra.ShellCompDirectiveNoFileComp))
	c.Flags().StringVar(&res.SupplierOrderID, "supplier-order-id", "", "the order's id at the supplier; needed if it was placed and we do not know it")
	c.Flags().StringVar(&esims, "esims", "", "fulfilled: the eSIMs that we do not know, as JSON; - is standard input")
	c.Flags().BoolVar(&res.SendAgain, "send-again", false, "not placed: buy it now instead of rejecting it")
	c.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if res.ESIMs, err = readBody(cmd, esims); err != nil {
			return err
		}
		return withOperator(func(op *operator.Operator) error {
			was, err := op.Resolve(cmd.Context(), *who, args[0], res)
			if err != nil {
				return err
			}
			return await(cmd, op, was)
		})
	}
	return c
}

func orderCancel() *cobra.Command {
	c := &cobra.Command{
		Use: "cancel ID --reason …", Short: "Withdraw an order that has not been placed", Args: cobra.ExactArgs(1), ValidArgsFunction: completeOpen,
		Example: "  simctl order cancel o-17 --reason \"the customer changed their mind\"",
	}
	who := whoFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return withOperator(func(op *operator.Operator) error {
			was, err := op.Cancel(cmd.Context(), *who, args[0])
			if err != nil {
				return err
			}
			return await(cmd, op, was)
		})
	}
	return c
}

// await waits a little for what orderer makes of what it was handed.
func await(cmd *cobra.Command, op *operator.Operator, was ledger.Entry) error {
	now, moved, err := op.Await(cmd.Context(), was.OrderID, was.Seq, 10*time.Second)
	switch {
	case err != nil:
		return err
	case moved:
		say(cmd, "order %s is %s now", now.OrderID, now.State)
		return nil
	}
	say(cmd, "handed to orderer, which has not acted on it yet (is it running? see `simctl dlq ls`)")
	return nil
}
