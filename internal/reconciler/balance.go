package reconciler

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

// Balance checks that each account's money follows from what was bought and
// refunded, so that a purchase which no list shows is seen all the same, and warns
// when the money ends soon.
//
// What an account holds is noted at one run and judged at a later one, once the
// orders around that moment have settled and records had its turn: what records
// reports is no gap as well.
type Balance struct {
	Accounts []Account
	Ledger   Ledger
	Book     *Book
	Metrics  *Metrics
	Settle   time.Duration
	Days     int // money for fewer days is low
	// Records tells how far records is; nil if it is switched off. Turns is how
	// many of its runs meet every card.
	Records func(ctx context.Context) (Progress, error)
	Turns   int
}

// purse is the job's memory of one account.
type purse struct {
	Anchor  *Snapshot `json:"anchor,omitempty"`  // judged up to here
	Pending *Snapshot `json:"pending,omitempty"` // to be judged
	Gaps    []stretchOfMoney
}

// stretchOfMoney is two snapshots that did not agree.
type stretchOfMoney struct {
	Opening Snapshot `json:"opening"`
	Closing Snapshot `json:"closing"`
}

// Gaps are judged anew for so long: what explains one may come late.
const judgeFor = 48 * time.Hour

// Look notes what each account holds and judges what was noted before.
func (j *Balance) Look(ctx context.Context, run *Run, sitting *Sitting) error {
	purses := map[string]*purse{}
	if len(run.Notes) > 0 {
		if err := json.Unmarshal(run.Notes, &purses); err != nil {
			return fmt.Errorf("notes: %w", err)
		}
	}
	var records Progress
	if j.Records != nil {
		var err error
		if records, err = j.Records(ctx); err != nil {
			return err
		}
	}
	for _, a := range j.Accounts {
		name := a.Supplier + "/" + a.Name
		if purses[name] == nil {
			purses[name] = &purse{}
		}
		p := &balancePass{Balance: j, run: run, sitting: sitting, account: a, name: name, purse: purses[name], records: records}
		if err := p.look(ctx); err != nil {
			return fmt.Errorf("account %s: %w", a.Name, err)
		}
	}
	run.Notes = raw(purses)
	return nil
}

type balancePass struct {
	*Balance
	run       *Run
	sitting   *Sitting
	account   Account
	name      string
	purse     *purse
	records   Progress
	orders    map[string]*spent
	spentADay decimal.Decimal
	latest    *Snapshot // the last balance that a reply told
}

// spent is an order of the account as far as its money is concerned.
type spent struct {
	last order.Record
	paid time.Time // when it was first known to be placed; zero: never
}

func (p *balancePass) look(ctx context.Context) error {
	if err := p.read(ctx); err != nil {
		return err
	}
	now, err := p.snapshot(ctx)
	if err != nil || now == nil {
		return err
	}
	if err := p.low(ctx, *now); err != nil {
		return err
	}
	if p.purse.Anchor == nil || p.purse.Anchor.Balance.Currency != now.Balance.Currency {
		p.purse.Anchor, p.purse.Pending = now, nil
		return nil
	}
	if pending := p.purse.Pending; pending != nil && p.ripe(*pending) {
		p.purse.Gaps = append(p.purse.Gaps, stretchOfMoney{*p.purse.Anchor, *pending})
		p.purse.Anchor, p.purse.Pending = pending, nil
	}
	if p.purse.Pending == nil && now.From.After(p.purse.Anchor.At) {
		p.purse.Pending = now
	}
	return p.judge(ctx)
}

// ripe says whether what happened around a snapshot has settled.
func (p *balancePass) ripe(s Snapshot) bool {
	if !p.run.Settled(s.At, p.Settle) {
		return false
	}
	return p.Balance.Records == nil || !p.records.Done.Before(s.At) && p.records.Runs >= s.Runs+int64(p.Turns)
}

// read gathers the account's orders since the oldest snapshot, and of a day.
func (p *balancePass) read(ctx context.Context) error {
	day := p.run.Now.Add(-24 * time.Hour)
	from := day
	for _, g := range p.purse.Gaps {
		from = earlier(from, g.Opening.From)
	}
	if p.purse.Anchor != nil {
		from = earlier(from, p.purse.Anchor.From)
	}
	p.orders = map[string]*spent{}
	err := p.Ledger.Since(ctx, p.account.Supplier, from.Add(-clockSkew), func(r order.Record) error {
		if r.Account != p.account.Name {
			return nil
		}
		s := p.orders[r.OrderID]
		if s == nil {
			s = &spent{}
			p.orders[r.OrderID] = s
		}
		if s.last = r; s.paid.IsZero() && r.Certainty == order.CertainPlaced {
			s.paid = r.At
		}
		if r.Balance != nil && r.LastSentAt != nil && r.Evidence == order.EvidenceReply {
			p.latest = &Snapshot{From: *r.LastSentAt, At: r.At, Balance: *r.Balance, Order: r.OrderID}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := p.price(ctx); err != nil {
		return err
	}
	for _, s := range p.orders {
		if s.paid.After(day) && s.last.Total != nil {
			p.spentADay = p.spentADay.Add(s.last.Total.Amount)
		}
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// price fills in what package orders cost where no reply told it.
func (p *balancePass) price(ctx context.Context) error {
	if p.account.Packages == nil {
		return nil
	}
	var ids []string
	for id, s := range p.orders {
		if s.last.Total == nil && !s.paid.IsZero() && lookupByID(s.last.Product) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	rows, cost, err := details(ctx, p.account.Packages, ids)
	p.Metrics.asked(JobBalance, "getOrderPackageDetails", cost)
	if err != nil {
		return err
	}
	for id, found := range rows {
		if s := p.orders[id]; s != nil && len(found) > 0 {
			s.last.Total = found[0].Price
		}
	}
	return nil
}

// snapshot asks what the account holds, or takes what the last reply said.
func (p *balancePass) snapshot(ctx context.Context) (*Snapshot, error) {
	if p.account.Balance == nil {
		if p.latest != nil {
			p.latest.Runs = p.records.Runs
		}
		return p.latest, nil
	}
	s := Snapshot{From: p.run.Now, Runs: p.records.Runs}
	began := time.Now()
	b, err := p.account.Balance.Balance(ctx)
	p.Metrics.asked(JobBalance, "agent/balance", tally{1, 1})
	if err != nil {
		return nil, err
	}
	s.Balance, s.At = b, s.From.Add(time.Since(began))
	return &s, nil
}

// judge looks at every stretch that did not agree, and at the newest one.
func (p *balancePass) judge(ctx context.Context) error {
	standing, err := p.explained(ctx)
	if err != nil {
		return err
	}
	var keep []stretchOfMoney
	for _, g := range p.purse.Gaps {
		about := p.name + "/gap/" + g.Closing.At.UTC().Format(time.RFC3339)
		if p.run.Now.Sub(g.Closing.At) > judgeFor {
			continue // it stands until a person accepts it
		}
		gap := Gap(g.Opening, g.Closing, p.movements(standing))
		if gap.IsZero() {
			if err := p.sitting.Looked(ctx, about); err != nil {
				return err
			}
			// A later look could only explain more.
			continue
		}
		keep = append(keep, g)
		if err := p.sitting.Looked(ctx, about, p.gap(g, gap)); err != nil {
			return err
		}
	}
	p.purse.Gaps = keep
	return nil
}

func (p *balancePass) gap(g stretchOfMoney, gap decimal.Decimal) wire.Finding {
	currency := g.Closing.Balance.Currency
	f := wire.Finding{Kind: KindBalanceGap, Supplier: p.account.Supplier, Account: p.account.Name, Amount: money(gap.Abs(), currency),
		Window: Span{g.Opening.At, g.Closing.At}.String(), Theirs: raw(map[string]order.Money{"opening": g.Opening.Balance, "closing": g.Closing.Balance}),
		Ours:     raw(map[string]order.Money{"unexplained": {Amount: gap, Currency: currency}}),
		Evidence: "money is gone that no order of ours and no other finding explains"}
	if gap.Sign() > 0 {
		f.Severity, f.Evidence = severityInfo, "money came in that no refund of ours explains"
		f.SuggestedAction = "accept it if the account was topped up"
	}
	return f
}

// movements is the money of all orders read, and of purchases that are not ours.
func (p *balancePass) movements(others []Movement) []Movement {
	out := slices.Clone(others)
	for _, s := range p.orders {
		price := s.last.Total
		if price == nil {
			price = s.last.SpendReserved // as the price list had it before the call
		}
		out = append(out, movementsOf(s.last, s.paid, price)...)
	}
	return out
}

// explained are purchases that records reports: they took money as well.
func (p *balancePass) explained(ctx context.Context) ([]Movement, error) {
	entries, err := p.Book.List(ctx, JobRecords)
	if err != nil {
		return nil, err
	}
	var out []Movement
	for _, e := range entries {
		f := e.Finding
		if f.Amount == nil || f.Supplier+"/"+f.Account != p.name {
			continue
		}
		m := Movement{To: p.run.Now, Low: f.Amount.Amount.Neg(), High: decimal.Zero}
		switch f.Kind {
		case KindMissingHere, KindDuplicate:
		case KindState:
		case KindPrice, KindRefund:
			m.High = f.Amount.Amount // it may have been more or less than we know
		default:
			continue
		}
		out = append(out, m)
	}
	return out, nil
}

// low warns of an account whose money ends soon; a day more than the limit ends
// the warning, so that it does not come and go.
func (p *balancePass) low(ctx context.Context, now Snapshot) error {
	about := p.name + "/low"
	if p.spentADay.Sign() == 0 {
		p.Metrics.daysLeft.DeleteLabelValues(p.account.Supplier, p.account.Name)
		return p.sitting.Looked(ctx, about)
	}
	days := now.Balance.Amount.Div(p.spentADay)
	p.Metrics.daysLeft.WithLabelValues(p.account.Supplier, p.account.Name).Set(days.InexactFloat64())
	if p.Days == 0 {
		return p.sitting.Looked(ctx, about)
	}
	left := days.IntPart()
	limit := int64(p.Days)
	if p.sitting.Stands(about) {
		limit++
	}
	if left >= limit {
		return p.sitting.Looked(ctx, about)
	}
	return p.sitting.Looked(ctx, about, wire.Finding{Kind: KindBalanceLow, Supplier: p.account.Supplier, Account: p.account.Name,
		Theirs:   raw(map[string]any{"days_left": left, "currency": now.Balance.Currency}),
		Evidence: "what was spent in the last 24 hours against the balance"})
}
