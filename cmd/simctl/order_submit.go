package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/order"
)

func orderSubmit() *cobra.Command {
	var file string
	var wait bool
	var timeout time.Duration
	var r order.Request
	var maxTotal, price string
	c := &cobra.Command{
		Use: "submit", Short: "Hand an order request to orderer, from a file or from flags", Args: cobra.NoArgs,
		Long: "Hand an order request to orderer, from --file (bare or as CloudEvents; - is standard input) or from flags. The same request\n" +
			"again is harmless; another one under an id that is taken is refused. With --wait it follows the order until it is settled\nor placed, as `order watch` does.",
		Example: "  simctl order submit --file order.json --reason \"ticket 4711\"\n" +
			"  simctl order submit --id o-17 --supplier eiotclub --product package --iccid 8988308650100524999 \\\n    --package-code CN-5M-7D-C-US-20230103AC4BF927 --max-total \"5.00 USD\" --reason \"ticket 4711\" --wait",
	}
	who := whoFlags(c)
	f := c.Flags()
	f.StringVar(&file, "file", "", "the request as JSON; - is standard input")
	f.StringVar(&r.OrderID, "id", "", "order id, 1 to 32 of A-Z, a-z, 0-9, _ and -")
	f.StringVar(&r.Supplier, "supplier", "", "eiotclub or esimfly")
	f.StringVar(&r.Product, "product", "", "package, esim, cloud_esim_package or pool_package")
	f.StringVar(&r.Account, "account", order.DefaultAccount, "the account's name")
	f.StringVar(&r.ICCID, "iccid", "", "the card")
	f.StringVar(&r.EID, "eid", "", "the cloud eSIM")
	f.StringVar(&r.GoodsCode, "goods-code", "", "what to buy: an eSIM's goods code")
	f.StringVar(&r.PackageCode, "package-code", "", "what to buy: a package's code")
	f.StringVar(&r.PackageName, "package-name", "", "the package's name (esimfly)")
	f.StringVar(&r.PoolObjectID, "pool-object-id", "", "the pool")
	f.StringVar(&r.PoolTypeCode, "pool-type-code", "", "what to buy for it")
	f.StringVar(&price, "price", "", "of one eSIM, such as \"1.50 USD\" (esimfly)")
	f.IntVar(&r.Quantity, "quantity", 0, "how many, 1 to 10 (esimfly)")
	f.StringVar(&maxTotal, "max-total", "", "the most that it may cost, such as \"5.00 USD\"")
	f.BoolVar(&wait, "wait", false, "follow it until it is placed or settled")
	f.DurationVar(&timeout, "timeout", 2*time.Minute, "give up following after this long; the order goes on")
	_ = c.RegisterFlagCompletionFunc("supplier", cobra.FixedCompletions(order.Suppliers, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("product", cobra.FixedCompletions(order.Products(order.EIOTCLUB), cobra.ShellCompDirectiveNoFileComp))
	c.MarkFlagsMutuallyExclusive("file", "id")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		body, err := readBody(cmd, file)
		if file == "" {
			if err := errors.Join(money(&r.MaxTotal, maxTotal), money(&r.Price, price)); err != nil {
				return err
			}
			body, err = json.Marshal(r)
		}
		if err != nil {
			return err
		}
		return withOperator(func(op *operator.Operator) error {
			r, err := op.Submit(cmd.Context(), *who, body)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "order %s handed to orderer\n", r.OrderID)
			if !wait {
				return nil
			}
			return follow(cmd, op, r.OrderID, timeout, untilPlaced)
		})
	}
	return c
}

// money reads "5.00 USD"; an empty text is none.
func money(to **order.Money, text string) error {
	if text == "" {
		return nil
	}
	amount, currency, _ := strings.Cut(strings.TrimSpace(text), " ")
	m, err := order.NewMoney(amount, strings.TrimSpace(currency))
	if err != nil {
		return quiet{fmt.Errorf("%q is not an amount such as \"5.00 USD\": %w", text, err), errUsage}
	}
	*to = &m
	return nil
}

func orderWatch() *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use: "watch ID", Short: "Print an order's events as they happen, until it is settled", Args: cobra.ExactArgs(1), ValidArgsFunction: completeOpen,
		Long: "Print an order's events, those that were and those that come, until it is settled. An order that is not there yet is waited\n" +
			"for. Exit code 0: fulfilled or refunded; 4: rejected, expired or cancelled; 5: --timeout was up.",
		Example: "  simctl order watch 630000198311142676\n  simctl order watch 630000198311142676 -o ndjson | jq .state",
		RunE: func(cmd *cobra.Command, args []string) error {
			return withOperator(func(op *operator.Operator) error { return follow(cmd, op, args[0], timeout, untilSettled) })
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", 0, "give up after this long; 0 never")
	return c
}

func untilSettled(s order.State) bool { return s.Settled() }
func untilPlaced(s order.State) bool  { return s.Settled() || s == order.Placed || s == order.Held }

// follow prints an order's events as they happen until its state is what until
// waits for.
func follow(cmd *cobra.Command, op *operator.Operator, id string, timeout time.Duration, until func(order.State) bool) error {
	f, err := format(cmd)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	enc := json.NewEncoder(cmd.OutOrStdout())
	var last order.State
	err = op.Watch(ctx, id, func(e operator.Event) bool {
		last = e.State
		e = operator.Masked([]operator.Event{e})[0]
		if f == formatTable {
			say(cmd, "%s  %-9s  %-10s  %s", stamp(&e.At), e.State, e.Certainty, why(e.Record))
		} else {
			_ = enc.Encode(e) // a pipe that is closed ends us by its signal
		}
		return !until(e.State)
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("order %s is %s after %s, and goes on: %w", id, last, timeout, err)
	case err != nil:
		return err
	case last == order.Rejected || last == order.Expired || last == order.Cancelled:
		return notWell("order %s is %s", id, last)
	}
	return nil
}
