package orderer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// What a waiting order waits for, beside the kinds of refusals.
const (
	forSwitch  = "switch"
	forBreaker = "breaker"
	forBudget  = "budget"
	forSpend   = "spend_limit"
	forCard    = "card"
	forLedger  = "ledger" // it was slow to store what must stand before a call
)

// shut is a gate that keeps an order from being sent: for good, or until a moment.
type shut struct {
	state order.State // Rejected, Expired, Cancelled; empty: wait
	why   string
	until time.Time
	err   *order.Error
}

func waits(why string, until time.Time) *shut { return &shut{why: why, until: until} }

// gates are asked before money moves; the first that is shut decides. They cost
// nothing, or little, before they cost a call. A nil shut and nil error: go, with what
// was counted for it.
func (w *Worker) gates(ctx context.Context, a *account, cur *order.Record) (counted reserved, s *shut, err error) {
	if s := w.freeGates(a, cur); s != nil {
		return counted, s, nil
	}
	if until, closed := a.stop(); closed { // once: who finds it open is the one that tries
		return counted, &shut{why: string(supplier.Setup), until: until, err: cur.Error}, nil
	}
	counts := w.counts(a, cur) // once: midnight may pass while others are asked
	price, s, err := w.priceGate(ctx, a, cur, counts)
	if s != nil || err != nil {
		return counted, s, err
	}
	if s, err := w.budgetGate(ctx, a); s != nil || err != nil {
		return counted, s, err
	}
	// What was asked of others may have taken as long as a call does: meanwhile the
	// order may have expired, or somebody stopped spending.
	if s := w.freeGates(a, cur); s != nil {
		return counted, s, nil
	}
	if !counts {
		return counted, nil, nil
	}
	return w.spendGate(ctx, a, price) // last: it takes something that an intent must follow
}

// freeGates ask nobody and take nothing.
func (w *Worker) freeGates(a *account, cur *order.Record) *shut {
	now := w.now()
	switch {
	case cur.CancelRequested:
		return &shut{state: order.Cancelled, why: "cancel"}
	case cur.Request.ExpiresAt != nil && !now.Before(*cur.Request.ExpiresAt):
		return &shut{state: order.Expired, why: "expires_at"}
	case w.switches.noSpend(a.Supplier):
		return waits(forSwitch, now.Add(w.cfg.Sweep))
	}
	return nil
}

// budgetGate takes one call out of the account's budget. Where none is left the order
// comes again before the window ends: the supplier's headers may say meanwhile that
// some are, and an order in doubt should not lie an hour for a count that was corrected.
func (w *Worker) budgetGate(ctx context.Context, a *account) (*shut, error) {
	until, err := a.budget.take(ctx)
	if err != nil {
		return nil, err
	}
	if until.IsZero() {
		return nil, nil
	}
	if soon := w.now().Add(w.cfg.WaitMax); until.After(soon) {
		until = soon
	}
	return waits(forBudget, until), nil
}

// priceGate holds the order to its max_total, and the account to the money that
// it has. Where neither matters, and it is not to be counted, no price is asked for.
func (w *Worker) priceGate(ctx context.Context, a *account, cur *order.Record, counts bool) (order.Money, *shut, error) {
	fundsAt, short := a.noFunds()
	if short && w.now().Before(fundsAt) {
		return order.Money{}, waits(string(supplier.NoFunds), fundsAt), nil
	}
	needed := cur.Request.MaxTotal != nil || counts
	if !needed && !short {
		return order.Money{}, nil, nil
	}
	price, s, err := w.price(ctx, a, cur)
	if err != nil || s != nil && (needed || s.state == "") {
		return price, s, err
	}
	if limit := cur.Request.MaxTotal; limit != nil {
		over, err := price.Cmp(*limit)
		if err != nil {
			return price, rejects("currency", fmt.Sprintf("max_total is in %s, the price in %s", limit.Currency, price.Currency)), nil
		}
		if over > 0 {
			return price, rejects("max_total", fmt.Sprintf("costs %s, at most %s", price, limit)), nil
		}
	}
	if short {
		s, err = w.fundsGate(ctx, a, price, s == nil)
	}
	return price, s, err
}

func rejects(code, message string) *shut {
	return &shut{state: order.Rejected, why: code, err: &order.Error{Kind: string(supplier.Price), Code: code, Message: message}}
}

// price asks what the order would cost now.
func (w *Worker) price(ctx context.Context, a *account, cur *order.Record) (order.Money, *shut, error) {
	var price order.Money
	if s, err := w.budgetGate(ctx, a); s != nil || err != nil {
		return price, s, err
	}
	err := a.call(ctx, func(ctx context.Context) (err error) {
		price, err = a.Client.Price(ctx, cur.Request)
		return err
	})
	switch {
	case err == nil:
		return price, nil, nil
	case errors.Is(err, errBreaker):
		return price, waits(forBreaker, w.now().Add(w.cfg.breakerPause())), nil
	case errors.Is(err, supplier.ErrNoPrice):
		return price, rejects("price_unknown", "the supplier tells no price for it"), nil
	}
	e := supplier.AsError("price", err)
	if e.Kind == supplier.Refused {
		return price, &shut{state: order.Rejected, why: e.Code, err: errorOf(e)}, nil
	}
	// No price is no reason to guess, and nothing was placed.
	j := w.judge(a, cur)
	return price, &shut{why: string(e.Kind), until: w.now().Add(max(j.backoff(2), e.RetryAfter)), err: errorOf(e)}, nil
}

// fundsGate lets an order of an account that was short of money through once the
// balance covers its price; where either cannot be had, it may try.
func (w *Worker) fundsGate(ctx context.Context, a *account, price order.Money, priceKnown bool) (*shut, error) {
	if s, err := w.budgetGate(ctx, a); s != nil || err != nil {
		return s, err
	}
	again := w.now().Add(w.cfg.WaitMin)
	a.setFunds(again) // the others wait while this one asks
	var balance order.Money
	err := a.call(ctx, func(ctx context.Context) (err error) {
		balance, err = a.Client.Balance(ctx)
		return err
	})
	if err != nil || !priceKnown {
		return nil, nil
	}
	a.sawBalance(&balance)
	if less, err := balance.Cmp(price); err == nil && less < 0 {
		return waits(string(supplier.NoFunds), again), nil
	}
	a.setFunds(time.Time{})
	return nil, nil
}

// shutOut is what becomes of an order at a shut gate: the next record, or nil if
// it stays as it is until the moment. What may have been placed is not given up: it
// waits as it is, or for a person.
func (j judge) shutOut(cur *order.Record, permit supplier.Permit, s *shut) (*order.Record, time.Time) {
	proof, notPlaced := permit.NotPlaced()
	wait := s.state == ""
	if wait && (!notPlaced || cur.State == order.Waiting && cur.WaitingFor == s.why) {
		return nil, s.until // nothing new: no event
	}
	r := j.next(cur)
	r.Error = cur.Error
	switch {
	case wait:
		r = proof.Wait(r, s.why, s.until)
		r.Error = s.err
	case !notPlaced:
		r = j.hold(r, order.CertainUnknown, "it may have been placed, and is not sent again: "+s.why)
	case s.state == order.Expired:
		r = proof.Expire(r)
	case s.state == order.Cancelled:
		r = proof.Cancel(r)
	default:
		r = proof.Reject(r, s.err)
	}
	return &r, time.Time{}
}
