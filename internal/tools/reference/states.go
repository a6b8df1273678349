package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/simline/simline/internal/order"
)

// meanings say what each state is to a reader; the page fails without one.
var meanings = map[order.State]string{
	order.Intent:    "The call to the supplier is about to be made, or was being made when its worker died. Durable before the call.",
	order.Waiting:   "Certainly not placed; tried again later: no money, no stock, a rate or daily limit, a breaker, a switch, a stopped account, its card.",
	order.Unknown:   "It may have been placed. Looked up until something proves it; never reported as a failure, never sent blindly.",
	order.Placed:    "The supplier accepted it and we know its id there.",
	order.Held:      "A person decides, or proof that it was placed; where that is known, proof of its end.",
	order.Fulfilled: "What was bought is there.",
	order.Rejected:  "Not placed and will not be, or the supplier gave it up.",
	order.Expired:   "Not placed by expires_at, and not tried again.",
	order.Cancelled: "Withdrawn by upstream before money moved.",
	order.Refunded:  "The supplier gave the money back.",
}

// statesPage draws the life of an order from internal/order's own law.
func statesPage() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# States of an order\n\nMade from internal/order by `make generate`; do not edit. The law is internal/order/state.go; its test keeps a second copy.\n\n```mermaid\nstateDiagram-v2\n")
	for _, from := range append([]order.State{order.Begin}, order.States...) {
		name := string(from)
		if from == order.Begin {
			name = "[*]"
		}
		for _, to := range order.Next(from) {
			fmt.Fprintf(&b, "  %s --> %s\n", name, to)
		}
	}
	b.WriteString("```\n\nThe certainty of a state says what is known of the money. It is decided by evidence: the supplier's reply, its refusal of a duplicate, a\nlook-up, a notification, or a person. A time-out decides nothing.\nPlaced and settled orders repeat their state only to note evidence that contradicts it (`conflicts`); it moves nothing, lies in DEAD with\nthe reason `conflict`, and becomes a finding.\n\n" +
		"| state | settled | certainty | may become | meaning |\n|---|---|---|---|---|\n")
	for _, s := range order.States {
		if meanings[s] == "" {
			return nil, fmt.Errorf("state %s has no meaning here", s)
		}
		settled := ""
		if s.Settled() {
			settled = "yes"
		}
		var next []string
		for _, n := range order.Next(s) {
			next = append(next, string(n))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", s, settled, strings.Join(certaintiesOf(s), ", "), strings.Join(next, ", "), meanings[s])
	}
	return b.Bytes(), nil
}

// certaintiesOf asks the law which certainties a state may carry.
func certaintiesOf(s order.State) []string {
	from := order.Begin
	for _, f := range order.States {
		if slices.Contains(order.Next(f), s) {
			from = f
			break
		}
	}
	var out []string
	for _, c := range []order.Certainty{order.CertainPlaced, order.CertainNotPlaced, order.CertainUnknown} {
		if order.CheckMove(from, &order.Record{OrderID: "x", State: s, Certainty: c, SupplierOrderID: "x"}) == nil {
			out = append(out, string(c))
		}
	}
	return out
}
