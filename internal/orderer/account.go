package orderer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier"
)

// Client is one account at one supplier.
type Client interface {
	Place(ctx context.Context, p supplier.Purchase) (supplier.Placement, error)
	Lookup(ctx context.Context, q supplier.Query) (supplier.Sighting, error)
	Price(ctx context.Context, r order.Request) (order.Money, error)
	Balance(ctx context.Context) (order.Money, error)
	Rules(product string) (supplier.Rules, bool)
	RequestID(orderID string, round int) string
	AdjustClock(offset time.Duration)
}

// Account is an account that orders are placed with.
type Account struct {
	Supplier, Name string
	Client         Client
	// DailyLimit is the most that is spent in a UTC day; nil is no limit. Its
	// currency is that of the account's prices.
	DailyLimit *order.Money
}

type accountKey struct{ supplier, name string }

// account is what one replica knows of an account at this moment.
type account struct {
	Account
	timing  Timing
	metrics *Metrics
	now     func() time.Time
	breaker *gobreaker.TwoStepCircuitBreaker[any]
	budget  *budget

	mu      sync.Mutex
	stopped time.Time // set-up wrong: one order tries again after this moment
	buying  bool      // it was a purchase that was refused for it
	funds   time.Time // no money: the balance is asked again after this moment
	balance *order.Money
	seen    time.Time     // when the balance was
	drift   time.Duration // what the client's clock was corrected by
}

// breakerFailures in a row open an account's breaker.
const breakerFailures = 8

func newAccount(a Account, timing Timing, m *Metrics, b *budget, now func() time.Time) *account {
	acct := &account{Account: a, timing: timing, metrics: m, now: now, budget: b}
	open := m.breaker.WithLabelValues(a.Supplier, a.Name)
	acct.breaker = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
		Name: a.Supplier + "/" + a.Name, MaxRequests: 1, Timeout: timing.breakerPause(),
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures },
		IsExcluded:  func(err error) bool { return errors.Is(err, errNoWord) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			open.Set(map[bool]float64{true: 1}[to == gobreaker.StateOpen])
		},
	})
	m.stopped.WithLabelValues(a.Supplier, a.Name).Set(0)
	return acct
}

// call makes a call under the breaker and learns from its answer. errBreaker
// means that it was not made, and that the budget has it back.
func (a *account) call(ctx context.Context, what func(context.Context) error) error {
	done, err := a.breaker.Allow()
	if err != nil {
		a.budget.untake()
		return errBreaker
	}
	ctx, cancel := context.WithTimeout(ctx, a.timing.Timeout)
	defer cancel()
	err = what(ctx)
	done(a.learn(err, false))
	return err
}

var errBreaker = errors.New("the breaker is open")

// errNoWord: what was asked says nothing of the supplier's health; no call was made, as
// far as anyone can tell.
var errNoWord = errors.New("no word of the supplier")

// learn takes in what an answer says of the account, and returns the error if it
// speaks against the supplier's health, or errNoWord. purchase: it is the answer to one.
func (a *account) learn(err error, purchase bool) error {
	if err == nil {
		a.setUpRight(purchase)
		return nil
	}
	if errors.Is(err, supplier.ErrNoLookup) || errors.Is(err, supplier.ErrNoPrice) {
		return errNoWord
	}
	e := supplier.AsError("", err)
	switch {
	case e.Kind == supplier.Setup:
		a.setUpWrong(e, purchase)
		return nil
	case e.Kind == supplier.NoFunds:
		a.mu.Lock()
		a.funds = a.now().Add(a.timing.WaitMin)
		a.mu.Unlock()
		return nil
	case e.Kind == supplier.Busy && e.Sent:
		a.budget.busy(e.RetryAfter)
		return nil
	case e.Kind == supplier.Unknown, !e.Sent:
		return err
	}
	a.setUpRight(purchase)
	return nil
}

// setUpRight: a call was let through. That questions are answered does not show that
// the account may buy, if it was a purchase that was refused.
func (a *account) setUpRight(purchase bool) {
	a.mu.Lock()
	refused := a.buying
	a.mu.Unlock()
	if purchase || !refused {
		a.setStopped(time.Time{}, false)
	}
}

// minDrift is the smallest difference that a clock refusal is answered with a
// correction: the Date header is true to a second or so.
const minDrift = 5 * time.Second

// setUpWrong leaves the account alone for a while, unless the clock was what was
// wrong and could be put right: then the next call goes at once.
func (a *account) setUpWrong(e *supplier.Error, purchase bool) {
	if e.HasClock {
		a.metrics.drift.WithLabelValues(a.Supplier, a.Name).Set(e.Clock.Seconds())
		a.mu.Lock()
		wrong := (e.Clock - a.drift).Abs() >= minDrift
		if wrong {
			a.drift = e.Clock
		}
		a.mu.Unlock()
		if wrong && isClock(e.Code) {
			a.Client.AdjustClock(e.Clock)
			return
		}
	}
	a.setStopped(a.now().Add(a.timing.WaitMax), purchase)
}

// isClock: the codes with which suppliers refuse a timestamp.
func isClock(code string) bool {
	switch code {
	case "42203", "INVALID_TIMESTAMP", "AUTH_INVALID_TIMESTAMP", "AUTH_TIMESTAMP_EXPIRED":
		return true
	}
	return false
}

func (a *account) setStopped(until time.Time, purchase bool) {
	a.mu.Lock()
	was := !a.stopped.IsZero()
	a.stopped, a.buying = until, !until.IsZero() && (purchase || a.buying)
	a.mu.Unlock()
	if was != !until.IsZero() {
		a.metrics.stopped.WithLabelValues(a.Supplier, a.Name).Set(map[bool]float64{true: 1}[!until.IsZero()])
	}
}

// stop says until when the account is left alone. Once that has passed, one order
// in each WaitMin tries.
func (a *account) stop() (until time.Time, closed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if a.stopped.IsZero() || a.stopped.After(now) {
		return a.stopped, !a.stopped.IsZero()
	}
	a.stopped = now.Add(a.timing.WaitMin) // this one tries; the others wait for it
	return time.Time{}, false
}

// noFunds says until when no money is expected to be there.
func (a *account) noFunds() (until time.Time, asked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.funds, !a.funds.IsZero()
}

func (a *account) setFunds(until time.Time) {
	a.mu.Lock()
	a.funds = until
	a.mu.Unlock()
}

// seenBalance is the balance when it was last seen; nil if it never was.
func (a *account) seenBalance() *order.Money {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.balance
}

func (a *account) sawBalance(m *order.Money) {
	if m == nil {
		return
	}
	a.mu.Lock()
	a.balance, a.seen = m, a.now()
	a.mu.Unlock()
	a.metrics.seen(a.Supplier, a.Name, m)
}
