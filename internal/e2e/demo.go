package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	simeiotclub "github.com/simline/simline/internal/sim/eiotclub"
)

// MemoryLimit is what each worker may hold at its peak in the demonstration.
const MemoryLimit = 128 << 20

// exampleQuery is for a person to paste; any view of mart may be summed plainly.
const exampleQuery = `SELECT event_date, account, mccmnc, formatReadableSize(sum(bytes)) AS data
FROM mart.usage_hourly GROUP BY ALL ORDER BY event_date, account, mccmnc`

// ErrBooksDiffer is returned when the demonstration's books do not agree.
var ErrBooksDiffer = errors.New("the books do not agree")

// Load is how much business a bounded run does.
type Load struct {
	Orders     int
	OrderEvery time.Duration
	Windows    int // half hours of CDRs
	PushEvery  time.Duration
	Settle     time.Duration // how long the books may take to agree afterwards
}

// DemoLoad ends well under 90 s.
var DemoLoad = Load{Orders: 120, OrderEvery: 120 * time.Millisecond, Windows: 40, PushEvery: 350 * time.Millisecond, Settle: 50 * time.Second}

// Feed does the load's business and returns what was asked for. meanwhile runs
// beside it, for a test that kills workers.
func (s *Stage) Feed(ctx context.Context, load Load, meanwhile func(context.Context) error) ([]string, error) {
	Misbehave(s.Stack.EIOTCLUB, s.Stack.ESIMFly)
	biz := NewBusiness(s.Bus, s.Stack.EIOTCLUB)
	var wg sync.WaitGroup
	errs := make(chan error, 3)
	wg.Go(func() { errs <- biz.Run(ctx, load.OrderEvery, load.Orders) })
	wg.Go(func() { errs <- s.pushCDRs(ctx, load) })
	if meanwhile != nil {
		wg.Go(func() { errs <- meanwhile(ctx) })
	}
	wg.Wait()
	close(errs)
	var faults []error
	for err := range errs {
		faults = append(faults, err)
	}
	return biz.Requested(), errors.Join(faults...)
}

func (s *Stage) pushCDRs(ctx context.Context, load Load) error {
	tick := time.NewTicker(load.PushEvery)
	defer tick.Stop()
	for i := 0; load.Windows == 0 || i < load.Windows; i++ {
		// Simulated time runs fast until it has caught up; a CDR of the future is
		// no CDR.
		if next := s.CDR.Now().Add(30 * time.Minute); next.Before(time.Now()) {
			if err := s.CDR.Step(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("push CDRs: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	return nil
}

// Plant puts an order into the supplier's book that simline never asked for.
func (s *Stage) Plant() error {
	cards := s.Stack.EIOTCLUB.Cards()
	i := slices.IndexFunc(cards, func(c simeiotclub.Card) bool { return c.ICCID != "" })
	_, err := s.Stack.EIOTCLUB.Plant(simeiotclub.Order{Product: simeiotclub.PackageProduct, ICCID: cards[i].ICCID,
		Code: simeiotclub.PackageCode, OutTradeNo: "nobody-asked-for-this"}, false, false)
	if err != nil {
		return fmt.Errorf("plant a discrepancy: %w", err)
	}
	return nil
}

// Planted is the kind of finding that Plant must lead to.
const Planted = "order_missing_here"

// Books reads everybody's books at this moment.
func (s *Stage) Books(ctx context.Context, requested []string) (Books, error) {
	ledger, err := s.Ledger.Records()
	if err != nil {
		return Books{}, err
	}
	eiot, fly := s.Stack.EIOTCLUB, s.Stack.ESIMFly
	b := Books{Requested: requested, Ledger: ledger, Bought: purchases(eiot, fly, ledger, requested),
		Usage: s.CDR.Totals().Bytes, Planted: []string{Planted}, Notified: map[string]bool{}}
	for id, n := range eiot.Book().Purchases {
		if !strings.HasPrefix(id, "nobody-") {
			b.Sold += n
		}
	}
	for _, n := range fly.Book().Purchases {
		b.Sold += n
	}
	for _, n := range eiot.Notifications() {
		if n.Accepted > 0 {
			b.Notified[n.ID] = true
		}
	}
	return b, b.warehouseBooks(ctx, s.DB)
}

// steadyFor is how long books must stay equal to count: a finding that does not
// belong there has had its settle time and two passes to show itself.
const steadyFor = 12 * time.Second

// Settle reads the books again and again until they agree, and agree still when
// Steady is over, or until the limit is up. It returns the last comparison.
func (s *Stage) Settle(ctx context.Context, requested []string, limit time.Duration, heldAllowed bool) ([]Figure, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	steady := cmp.Or(s.Steady, steadyFor)
	var figures []Figure
	var since time.Time
	for {
		b, err := s.Books(ctx, requested)
		if err == nil {
			figures = b.Compare(heldAllowed)
			switch {
			case !agree(figures):
				since = time.Time{}
			case since.IsZero():
				since = time.Now()
			case time.Since(since) >= steady:
				return figures, nil
			}
		}
		select {
		case <-ctx.Done():
			return figures, errors.Join(ErrBooksDiffer, err)
		case <-tick.C:
		}
	}
}

func agree(figures []Figure) bool {
	return !slices.ContainsFunc(figures, func(f Figure) bool { return !f.OK })
}

// Memory compares each worker's peak with the limit.
func (s *Stage) Memory() []Figure {
	var out []Figure
	for _, name := range Workers {
		peak := s.Workers[name].Peak()
		out = append(out, Figure{What: "peak memory of " + name, Want: "< " + mebibytes(MemoryLimit), Got: mebibytes(peak), OK: peak > 0 && peak < MemoryLimit})
	}
	return out
}

// Demo is `make demo`: bounded business, equal books, exit. It prints the figures
// side by side and returns ErrBooksDiffer unless all of them agree.
func Demo(ctx context.Context, out io.Writer, cfg StageConfig) (err error) {
	begin := time.Now()
	cfg.Progress = func(s string) { fmt.Fprintf(out, "%5.1fs  %s\n", time.Since(begin).Seconds(), s) }
	cfg.Since = time.Duration(DemoLoad.Windows+4) * 30 * time.Minute
	s, err := NewStage(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	cfg.Progress(fmt.Sprintf("%d orders, %d half hours of CDRs, the suppliers on a bad day", DemoLoad.Orders, DemoLoad.Windows))
	if err := s.Plant(); err != nil {
		return err
	}
	requested, err := s.Feed(ctx, DemoLoad, nil)
	if err != nil {
		return err
	}
	cfg.Progress("waiting for the books to agree, and to stay so")
	figures, err := s.Settle(ctx, requested, DemoLoad.Settle, false)
	figures = append(figures, s.Memory()...)
	fmt.Fprint(out, RenderFigures(figures))
	fmt.Fprintf(out, "took %s\n", time.Since(begin).Round(100*time.Millisecond))
	if err == nil && !agree(figures) {
		err = ErrBooksDiffer
	}
	return err
}

// Run is `make run`: business until ctx ends, and a live table meanwhile.
func Run(ctx context.Context, screen *Screen, out io.Writer, cfg StageConfig) (err error) {
	cfg.Progress = func(s string) { fmt.Fprintln(out, "·", s) }
	cfg.Since = 7 * 24 * time.Hour
	s, err := NewStage(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		fmt.Fprintln(out, "\n· stopping")
		err = errors.Join(err, s.Stop())
	}()
	if err := s.Plant(); err != nil {
		return err
	}
	load := Load{OrderEvery: time.Second, PushEvery: 2 * time.Second}
	feeding := make(chan error, 1)
	go func() {
		_, err := s.Feed(ctx, load, nil)
		feeding <- err
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		screen.Draw(s.View(ctx).Render())
		select {
		case <-ctx.Done():
			return <-feeding
		case err := <-feeding:
			return err
		case <-tick.C:
		}
	}
}
