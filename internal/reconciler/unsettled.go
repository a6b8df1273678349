package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
	"github.com/simline/simline/internal/supplier/eiotclub"
	"github.com/simline/simline/internal/wire"
)

// Unsettled asks the suppliers for every order that is open longer than it needs
// to settle, hands what they say to orderer, and reports those that stay open.
// It holds a few batches of orders at a time, however many are open.
type Unsettled struct {
	Accounts   []Account
	Ledger     Ledger
	Witness    *Witness
	Metrics    *Metrics
	Cost       *Cost
	Settle     time.Duration
	StuckAfter time.Duration
}

// Look asks for what is open now; which span it is for does not matter.
func (j *Unsettled) Look(ctx context.Context, run *Run, sitting *Sitting) error {
	p := &unsettledPass{Unsettled: j, run: run, sitting: sitting, seen: map[string]bool{}, asking: map[string]*asking{}, pools: map[poolOf][]order.Record{}, failed: map[string]error{}}
	if err := j.Ledger.Open(ctx, func(r order.Record) error { return p.order(ctx, r) }); err != nil {
		return err
	}
	for _, a := range p.asking {
		if err := p.finish(ctx, a); err != nil {
			return err
		}
	}
	if err := p.sendPools(ctx); err != nil {
		return err
	}
	if err := p.close(ctx); err != nil {
		return err
	}
	return errors.Join(slices.Collect(maps.Values(p.failed))...)
}

// close closes what is not in the index any more and settled indeed: the index
// alone could have been read in part.
func (p *unsettledPass) close(ctx context.Context) error {
	for _, about := range p.sitting.Abouts() {
		if p.seen[about] {
			continue
		}
		r, found, err := p.Ledger.Get(ctx, about[strings.LastIndexByte(about, '/')+1:])
		if err != nil {
			return err
		}
		if found && !r.State.Settled() {
			continue
		}
		if err := p.sitting.Looked(ctx, about); err != nil {
			return err
		}
	}
	return nil
}

type unsettledPass struct {
	*Unsettled
	run     *Run
	sitting *Sitting
	seen    map[string]bool    // abouts with a finding that are still open
	asking  map[string]*asking // by account: package orders on their way through the states
	pools   map[poolOf][]order.Record
	pooled  int              // orders in pools
	failed  map[string]error // by account: why it is asked no more in this pass
}

func accountKey(a Account) string { return a.Supplier + "/" + a.Name }

// asking is the package orders of one account that were not found in the states
// before: one batch being gathered for each state.
type asking struct {
	account Account
	stage   [][]order.Record
}

func (p *unsettledPass) account(r order.Record) (Account, bool) {
	for _, a := range p.Accounts {
		if a.Supplier == r.Supplier && a.Name == r.Account {
			return a, true
		}
	}
	return Account{}, false
}

// order takes up one open order.
func (p *unsettledPass) order(ctx context.Context, r order.Record) error {
	if r.State.Settled() {
		return nil
	}
	if err := p.stuck(ctx, r); err != nil {
		return err
	}
	account, ok := p.account(r)
	if !ok || p.failed[accountKey(account)] != nil || r.LastSentAt == nil && r.SupplierOrderID == "" || !p.run.Settled(sentAt(r), p.Settle) {
		return nil // never sent, or sent a moment ago
	}
	switch {
	case r.Product == order.ProductPackage && account.Packages != nil:
		a := p.asking[accountKey(account)]
		if a == nil {
			a = &asking{account: account, stage: make([][]order.Record, len(eiotclub.PackageStates))}
			p.asking[accountKey(account)] = a
		}
		return p.ask(ctx, a, 0, r)
	case r.Product == order.ProductPoolPackage && account.Pools != nil:
		return p.pool(ctx, account, r)
	case account.Statuses != nil:
		return p.lookUp(ctx, account, r)
	}
	return nil
}

func sentAt(r order.Record) time.Time {
	if r.LastSentAt != nil {
		return *r.LastSentAt
	}
	return r.At
}

// ask puts an order into the batch of a state and sends the batch once it is full.
// Past the last state the order is in none.
func (p *unsettledPass) ask(ctx context.Context, a *asking, stage int, r order.Record) error {
	if stage == len(a.stage) {
		return nil // absence proves nothing yet: orderer looks by itself, and records compares
	}
	a.stage[stage] = append(a.stage[stage], r)
	if len(a.stage[stage]) < eiotclub.MaxDetailIDs {
		return nil
	}
	return p.send(ctx, a, stage)
}

func (p *unsettledPass) finish(ctx context.Context, a *asking) error {
	for stage := range a.stage {
		if err := p.send(ctx, a, stage); err != nil {
			return err
		}
	}
	return nil
}

// send asks for one batch in one state; who is not found goes on to the next.
func (p *unsettledPass) send(ctx context.Context, a *asking, stage int) error {
	batch := a.stage[stage]
	a.stage[stage] = nil
	if len(batch) == 0 || p.failed[accountKey(a.account)] != nil {
		return nil
	}
	ids := make([]string, len(batch))
	for i, r := range batch {
		ids[i] = r.OrderID
	}
	rows, err := detailsOf(ctx, a.account.Packages, ids, eiotclub.PackageStates[stage])
	p.Cost.could("getOrderPackageDetails", 1)
	if err != nil {
		p.fail(a.account, err)
		return ctx.Err()
	}
	found := map[string]eiotclub.Order{}
	for _, row := range rows {
		if _, twice := found[row.OutTradeNo]; !twice {
			found[row.OutTradeNo] = row
		}
	}
	told := new(errgroup.Group)
	told.SetLimit(tellAtOnce)
	for _, r := range batch {
		row, ok := found[r.OrderID]
		if !ok {
			if err := p.ask(ctx, a, stage+1, r); err != nil {
				return err
			}
			continue
		}
		seen := supplier.Placement{State: order.Fulfilled, SupplierOrderID: cmp.Or(row.OrderID, r.SupplierOrderID), SupplierOrderNumber: row.OrderNumber, Total: row.Price}
		if row.Refunded {
			seen.State = order.Refunded
		}
		switch {
		case !asOrdered(r, row.ICCID, row.PackageCode): // records reports it
		case seen.SupplierOrderID == "" && a.account.Statuses != nil:
			// This list is documented without the order's id; a single look-up finds it.
			if err := p.lookUp(ctx, a.account, r); err != nil {
				return err
			}
		default:
			told.Go(func() error { return p.tell(ctx, r, seen) })
		}
	}
	return told.Wait()
}

// tellAtOnce is how many pieces of evidence are under way to the bus at a time.
const tellAtOnce = 16

// lookUp asks for one order by whatever is known of it.
func (p *unsettledPass) lookUp(ctx context.Context, a Account, r order.Record) error {
	seen, err := a.Statuses.Lookup(ctx, supplier.Query{Request: r.Request, Round: r.Round, SupplierOrderID: r.SupplierOrderID, SupplierOrderNumber: r.SupplierOrderNumber})
	if errors.Is(err, supplier.ErrNoLookup) {
		return nil // no question leads to it; it is reported as stuck in time
	}
	p.Cost.could(lookOf(r.Product), 1)
	if err != nil {
		if kind := supplier.AsError("", err).Kind; kind == supplier.Busy || kind == supplier.Setup {
			p.fail(a, err)
		}
		// One order that cannot be asked for must not hide the others.
		p.Metrics.failures.WithLabelValues(JobUnsettled, "look-up").Inc()
		return ctx.Err()
	}
	if !seen.Found || len(seen.Mismatch) > 0 {
		return nil
	}
	return p.tell(ctx, r, seen.Placement)
}

// fail leaves an account alone for the rest of the pass, which is tried again: one
// that does not answer must not hold up the others.
func (p *unsettledPass) fail(a Account, err error) {
	p.failed[accountKey(a)] = fmt.Errorf("account %s: %w", a.Name, err)
}

func (p *unsettledPass) tell(ctx context.Context, r order.Record, seen supplier.Placement) error {
	if p.run.Dry || !news(r, seen) {
		return nil
	}
	return p.Witness.Tell(ctx, evidenceOf(r, seen, p.run.Now))
}

// stuck reports an order that has been open for too long.
func (p *unsettledPass) stuck(ctx context.Context, r order.Record) error {
	about := r.Supplier + "/" + r.Account + "/" + r.OrderID
	if p.sitting.Stands(about) {
		p.seen[about] = true
	}
	limit := p.StuckAfter
	switch r.State {
	case order.Held:
		limit = min(p.StuckAfter, p.Settle) // it waits for a person from the beginning
	case order.Waiting:
		limit = 24 * p.StuckAfter // money and stock take their time
	}
	if !p.run.Settled(r.AcceptedAt, limit) {
		return p.sitting.Looked(ctx, about)
	}
	amount := r.Total
	if amount == nil {
		amount = r.Request.MaxTotal
	}
	code := ""
	if r.Error != nil {
		code = r.Error.Kind + " " + r.Error.Code
	}
	return p.sitting.Looked(ctx, about, wire.Finding{Kind: KindStuck, OrderID: r.OrderID, Supplier: r.Supplier, Account: r.Account,
		SupplierOrderID: r.SupplierOrderID, ICCID: r.Request.ICCID, EID: r.Request.EID, Amount: amount,
		Ours: raw(struct {
			State      order.State     `json:"state"`
			Certainty  order.Certainty `json:"certainty"`
			WaitingFor string          `json:"waiting_for,omitempty"`
			Error      string          `json:"error,omitempty"`
			AcceptedAt time.Time       `json:"accepted_at"`
		}{r.State, r.Certainty, r.WaitingFor, code, r.AcceptedAt.UTC()}),
		Evidence: "the ledger's index of open orders"})
}
