package reconciler

import (
	"context"
	"encoding/json"
	"fmt"
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
// reports is no gap as well. An order is asked for its price once, when the stretch
// of time that it lies in is judged.
type Balance struct {
	Accounts []Account
	Ledger   Ledger
	Book     *Book
	Metrics  *Metrics
	Cost     *Cost
	Settle   time.Duration
	Days     int // money for fewer days is low
	// PoolPrices is what a pool's package costs, by type, in the account's
	// currency: no list of the supplier's tells it.
	PoolPrices map[string]decimal.Decimal
	// Records tells how far records is; nil if it is switched off. Turns is how
	// many of its runs meet every card.
	Records func(ctx context.Context) (Progress, error)
	Turns   int
	// PartSize is as in Records.
	PartSize uint64
}

// purse is the job's memory of one account.
type purse struct {
	Anchor  *Snapshot        `json:"anchor,omitempty"`  // judged up to here
	Pending *Snapshot        `json:"pending,omitempty"` // to be judged
	Gaps    []stretchOfMoney `json:"gaps,omitempty"`
	Day     []holding        `json:"day,omitempty"` // the balance over the last day, oldest first
}

// stretchOfMoney is two snapshots that are being judged, or did not agree.
type stretchOfMoney struct {
	Opening Snapshot `json:"opening"`
	Closing Snapshot `json:"closing"`
	// Judged is when it was judged last: each time asks for prices anew.
	Judged time.Time `json:"judged,omitzero"`
	due    bool
	sum    moneySum
}

// holding is what an account held at one moment.
type holding struct {
	At     time.Time       `json:"at"`
	Amount decimal.Decimal `json:"amount"`
}

// judgeFor is for how long a gap is judged anew, and judgeEvery how often: what
// explains it may come late.
const (
	judgeFor   = 48 * time.Hour
	judgeEvery = 4 * time.Hour
)

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
	run     *Run
	sitting *Sitting
	account Account
	name    string
	purse   *purse
	records Progress
	latest  *Snapshot // the last balance that a reply told
}

func (p *balancePass) look(ctx context.Context) error {
	if pending := p.purse.Pending; pending != nil && p.ripe(*pending) {
		p.purse.Gaps = append(p.purse.Gaps, stretchOfMoney{Opening: *p.purse.Anchor, Closing: *pending})
		p.purse.Anchor, p.purse.Pending = pending, nil
	}
	for i := range p.purse.Gaps {
		g := &p.purse.Gaps[i]
		g.due = g.Judged.IsZero() || !p.run.Now.Before(g.Judged.Add(judgeEvery))
	}
	if err := p.add(ctx); err != nil {
		return err
	}
	if err := p.judge(ctx); err != nil {
		return err
	}
	now, err := p.snapshot(ctx)
	if err != nil || now == nil {
		return err
	}
	if err := p.low(ctx, *now); err != nil {
		return err
	}
	anchor := p.purse.Anchor
	first := anchor == nil || anchor.Balance.Currency != now.Balance.Currency
	if !first && (p.purse.Pending != nil || !now.From.After(anchor.At)) {
		return nil // the stretch goes on
	}
	if now.Prices, err = p.pricesNow(ctx); err != nil {
		return err
	}
	p.purse.Pending = now
	if first {
		p.purse.Anchor, p.purse.Pending = now, nil
	}
	return nil
}

// ripe says whether what happened around a snapshot has settled.
func (p *balancePass) ripe(s Snapshot) bool {
	if !p.run.Settled(s.At, p.Settle) {
		return false
	}
	return p.Balance.Records == nil || !p.records.Done.Before(s.At) && p.records.Runs >= s.Runs+int64(p.Turns)
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
	p.Cost.could("agent/balance", 1)
	if err != nil {
		return nil, err
	}
	s.Balance, s.At = b, s.From.Add(time.Since(began))
	return &s, nil
}

// judge looks at every stretch that is due or did not agree before.
func (p *balancePass) judge(ctx context.Context) error {
	var keep []stretchOfMoney
	for _, g := range p.purse.Gaps {
		about := p.name + "/gap/" + g.Closing.At.UTC().Format(time.RFC3339)
		if p.run.Now.Sub(g.Closing.At) > judgeFor {
			continue // it stands until a person accepts it
		}
		if !g.due {
			keep = append(keep, g)
			continue
		}
		gap := g.sum.gap(g.Opening, g.Closing)
		blind := 0.0
		if g.sum.open {
			blind = 1
		}
		p.Metrics.blind.WithLabelValues(p.account.Supplier, p.account.Name).Set(blind)
		if gap.IsZero() {
			if err := p.sitting.Looked(ctx, about); err != nil {
				return err
			}
			// A later look could only explain more.
			continue
		}
		g.Judged = p.run.Now
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

// low warns of an account whose money ends soon at the rate of the last day; a day
// more than the limit ends the warning, so that it does not come and go.
func (p *balancePass) low(ctx context.Context, now Snapshot) error {
	about := p.name + "/low"
	p.purse.note(now)
	p.Metrics.balance.WithLabelValues(p.account.Supplier, p.account.Name, now.Balance.Currency).Set(now.Balance.Amount.InexactFloat64())
	spent := p.purse.spent()
	if spent.Sign() == 0 {
		p.Metrics.daysLeft.DeleteLabelValues(p.account.Supplier, p.account.Name)
		return p.sitting.Looked(ctx, about)
	}
	left := now.Balance.Amount.Div(spent)
	p.Metrics.daysLeft.WithLabelValues(p.account.Supplier, p.account.Name).Set(left.InexactFloat64())
	limit := int64(p.Days)
	if p.sitting.Stands(about) {
		limit++
	}
	if p.Days == 0 || left.IntPart() >= limit {
		return p.sitting.Looked(ctx, about)
	}
	return p.sitting.Looked(ctx, about, wire.Finding{Kind: KindBalanceLow, Supplier: p.account.Supplier, Account: p.account.Name,
		Theirs:   raw(map[string]any{"days_left": left.IntPart(), "currency": now.Balance.Currency}),
		Evidence: "the balance, against how much it fell in the last 24 hours"})
}

// note keeps a balance for a day, and the one before that as its beginning.
func (p *purse) note(now Snapshot) {
	if n := len(p.Day); n > 0 && !p.Day[n-1].At.Before(now.At) {
		return // the last reply's, still
	}
	p.Day = append(p.Day, holding{now.At.UTC(), now.Balance.Amount})
	from := now.At.Add(-24 * time.Hour)
	for len(p.Day) > 2 && (!p.Day[1].At.After(from) || len(p.Day) > maxHoldings) {
		p.Day = p.Day[1:]
	}
}

// maxHoldings bounds what is kept of a day; runs are an hour apart by default.
const maxHoldings = 300

// spent is by how much the balance fell over the last day, money that came in
// between left aside.
func (p *purse) spent() decimal.Decimal {
	var sum decimal.Decimal
	for i := 1; i < len(p.Day); i++ {
		if fell := p.Day[i-1].Amount.Sub(p.Day[i].Amount); fell.Sign() > 0 {
			sum = sum.Add(fell)
		}
	}
	return sum
}
