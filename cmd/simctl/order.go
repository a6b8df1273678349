package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

func orderCommand() *cobra.Command {
	c := &cobra.Command{Use: "order", Short: "Look into orders, and decide what only a person can"}
	c.AddCommand(orderShowCommand(), orderListCommand(), orderResolveCommand(), orderCancelCommand())
	return c
}

// openLedger connects and opens the ledger for reading; close ends both.
func openLedger() (b *bus.Bus, l *ledger.Ledger, close func(), err error) {
	if b, err = connect(); err != nil {
		return nil, nil, nil, err
	}
	if l, err = ledger.New(b, "simctl"); err != nil {
		b.Close()
		return nil, nil, nil, err
	}
	return b, l, func() { l.Close(); b.Close() }, nil
}

func orderShowCommand() *cobra.Command {
	var asJSON, secrets bool
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show an order: every event, what was sent when, what each look said",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, _, done, err := openLedger()
			if err != nil {
				return err
			}
			defer done()
			events, err := history(cmd.Context(), b, args[0])
			if err != nil {
				return err
			}
			if len(events) == 0 {
				return fmt.Errorf("there is no order %s", args[0])
			}
			if !secrets {
				for i := range events {
					events[i].ESIMs = masked(events[i].ESIMs)
				}
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(events)
			}
			printOrder(cmd.OutOrStdout(), events)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "all events as JSON")
	c.Flags().BoolVar(&secrets, "secrets", false, "activation codes and card numbers in clear")
	return c
}

// masked are eSIMs as a terminal may show them.
func masked(list []order.ESIM) []order.ESIM {
	var out []order.ESIM
	for _, e := range list {
		m := order.ESIM{ICCID: tail(e.ICCID), Status: e.Status}
		if e.ActivationCode != "" {
			m.ActivationCode = "****"
		}
		if e.QRCodeURL != "" {
			m.QRCodeURL = "****"
		}
		if e.AppleInstallURL != "" {
			m.AppleInstallURL = "****"
		}
		out = append(out, m)
	}
	return out
}

func tail(s string) string {
	if len(s) <= 4 {
		return s
	}
	return "…" + s[len(s)-4:]
}

// history reads every event of an order, oldest first.
func history(ctx context.Context, b *bus.Bus, id string) ([]order.Record, error) {
	if !order.ValidID(id) {
		return nil, fmt.Errorf("%.40q is not an order id", id)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	last, found, err := b.LastFromLeader(ctx, bus.StreamOrderEvents, bus.SubjectOrderHistory(id))
	if err != nil || !found {
		return nil, err
	}
	cons, err := b.JS.OrderedConsumer(ctx, bus.StreamOrderEvents, jetstream.OrderedConsumerConfig{FilterSubjects: []string{bus.SubjectOrderHistory(id)}})
	if err != nil {
		return nil, fmt.Errorf("events of order %s: %w", id, err)
	}
	var out []order.Record
	for {
		m, err := cons.Next(jetstream.FetchMaxWait(5 * time.Second))
		if err != nil {
			return nil, fmt.Errorf("events of order %s: %w", id, err)
		}
		r, _, err := wire.DecodeOrderEvent(m.Data())
		if err != nil {
			return nil, err
		}
		out = append(out, r)
		if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream >= last.Sequence {
			return out, err
		}
	}
}

func printOrder(w io.Writer, events []order.Record) {
	last := events[len(events)-1]
	fmt.Fprintf(w, "order %s: %s %s, account %s\n", last.OrderID, last.Supplier, last.Product, last.Account)
	fmt.Fprintf(w, "state %s, certainty %s", last.State, last.Certainty)
	if last.Reason != "" {
		fmt.Fprintf(w, " (%s)", last.Reason)
	}
	fmt.Fprintln(w)
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
		line("esim", fmt.Sprintf("%s %s %s", e.ICCID, e.Status, e.ActivationCode))
	}
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.AppendHeader(table.Row{"at", "state", "certainty", "evidence", "attempt", "error or reason"})
	for _, r := range events {
		why := r.Reason
		if r.Error != nil {
			why = strings.TrimSpace(strings.Join([]string{r.Error.Kind, r.Error.Code, r.Error.Message, r.Reason}, " "))
		}
		t.AppendRow(table.Row{r.At.Format(time.RFC3339), r.State, r.Certainty, r.Evidence, r.Attempt, why})
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
	t.AppendHeader(table.Row{"looked at", "where", "said"})
	for _, l := range last.LookLog {
		t.AppendRow(table.Row{l.At.Format(time.RFC3339), l.Where, l.Said})
	}
	t.Render()
}

func stamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339)
}

func orderListCommand() *cobra.Command {
	var state, supplier string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the open orders: waiting, unknown, placed, held",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, l, done, err := openLedger()
			if err != nil {
				return err
			}
			defer done()
			t := table.NewWriter()
			t.SetOutputMirror(cmd.OutOrStdout())
			t.AppendHeader(table.Row{"order", "supplier", "account", "state", "waits for", "due"})
			for o, err := range l.All(cmd.Context()) {
				if err != nil {
					return err
				}
				if (state == "" || string(o.State) == state) && (supplier == "" || o.Supplier == supplier) {
					t.AppendRow(table.Row{o.OrderID, o.Supplier, o.Account, o.State, o.WaitingFor, o.Due.Format(time.RFC3339)})
				}
			}
			t.Render()
			return nil
		},
	}
	c.Flags().StringVar(&state, "state", "", "only this state")
	c.Flags().StringVar(&supplier, "supplier", "", "only this supplier")
	return c
}

func orderResolveCommand() *cobra.Command {
	var as, supplierOrderID, reason, actor string
	var sendAgain bool
	c := &cobra.Command{
		Use:   "resolve ID --as placed|not-placed --reason …",
		Short: "Settle an order that nobody but a person can settle; who and why goes into its events",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, l, done, err := openLedger()
			if err != nil {
				return err
			}
			defer done()
			cur, found, err := l.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if !found {
				return fmt.Errorf("there is no order %s", args[0])
			}
			ev := wire.Evidence{OrderID: cur.OrderID, Supplier: cur.Supplier, Account: cur.Account, Source: order.EvidencePerson,
				SupplierOrderID: supplierOrderID, ObservedAt: time.Now().UTC(), Actor: cmp.Or(actor, os.Getenv("USER"), "unknown"), Reason: reason, SendAgain: sendAgain}
			switch as {
			case "placed":
				ev.Certainty = order.CertainPlaced
				if cmp.Or(supplierOrderID, cur.SupplierOrderID) == "" {
					return errors.New("placed under what id? --supplier-order-id is missing")
				}
				if sendAgain {
					return errors.New("what is placed is not sent again")
				}
			case "not-placed":
				ev.Certainty = order.CertainNotPlaced
			default:
				return fmt.Errorf("--as %q is not placed or not-placed", as)
			}
			if strings.TrimSpace(reason) == "" {
				return errors.New("--reason is missing: it is the audit")
			}
			if cur.State.Settled() {
				return fmt.Errorf("order %s is %s: nothing to resolve", cur.OrderID, cur.State)
			}
			return handOver(cmd, b, l, cur, ev)
		},
	}
	c.Flags().StringVar(&as, "as", "", "placed or not-placed")
	c.Flags().StringVar(&supplierOrderID, "supplier-order-id", "", "the order's id at the supplier, if it was placed")
	c.Flags().StringVar(&reason, "reason", "", "how you know")
	c.Flags().StringVar(&actor, "actor", "", "who you are (default $USER)")
	c.Flags().BoolVar(&sendAgain, "send-again", false, "not placed: buy it now instead of rejecting it")
	return c
}

// handOver gives evidence to orderer and waits a little for what it makes of it.
func handOver(cmd *cobra.Command, b *bus.Bus, l *ledger.Ledger, cur ledger.Entry, ev wire.Evidence) error {
	env, err := wire.NewEnvelope(wire.TypeEvidence, wire.Source("simctl"), ev.OrderID, "", ev.ObservedAt, ev)
	if err != nil {
		return err
	}
	data, err := env.Marshal()
	if err != nil {
		return err
	}
	if _, err := b.Publish(cmd.Context(), bus.NewMsg(bus.SubjectEvidence(ev.Supplier, ev.OrderID), env.ID, data)); err != nil {
		return err
	}
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		now, _, err := l.Get(cmd.Context(), ev.OrderID)
		if err != nil {
			return err
		}
		if now.Seq != cur.Seq {
			fmt.Fprintf(cmd.OutOrStdout(), "order %s is %s now\n", now.OrderID, now.State)
			return nil
		}
		select {
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "handed to orderer, which has not acted on it yet (is it running? see `simctl dead list`)\n")
	return nil
}

func orderCancelCommand() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "cancel ID --reason …",
		Short: "Withdraw an order that has not been placed",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, l, done, err := openLedger()
			if err != nil {
				return err
			}
			defer done()
			cur, found, err := l.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if !found {
				return fmt.Errorf("there is no order %s", args[0])
			}
			var data bytes.Buffer
			if err := json.NewEncoder(&data).Encode(wire.Cancel{OrderID: cur.OrderID, Account: cur.Account, Reason: reason}); err != nil {
				return err
			}
			if _, err := b.Publish(cmd.Context(), bus.NewMsg(bus.SubjectCancel(cur.Supplier), "", data.Bytes())); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "cancel of order %s, which is %s, handed to orderer\n", cur.OrderID, cur.State)
			return nil
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why")
	return c
}
