package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/e2e"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/supplier/esimfly"
	"github.com/simline/simline/internal/wire"
)

// quiet waits until the queues are empty and no order is open but what a person
// must settle; those it settles as a person would, who asked the supplier.
func (s *Site) quiet(ctx context.Context, limit time.Duration) (resolved int, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	l, err := ledger.New(s.bus, "chaos")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	told := map[string]uint64{} // the hold that a person has spoken about
	var left string
	for {
		queued, held, open, err := s.open(ctx, l)
		if err == nil && queued == 0 && open == 0 && len(held) == 0 {
			return len(told), nil
		}
		left = fmt.Sprintf("%d messages queued, %d orders open, %d held (%v)", queued, open, len(held), err)
		for _, e := range held {
			if told[e.OrderID] == e.Seq {
				continue
			}
			if err := s.resolve(ctx, e.Record); err != nil {
				return len(told), err
			}
			told[e.OrderID] = e.Seq
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return len(told), fmt.Errorf("not quiet within %s: %s", limit, left)
		}
	}
}

// open counts what is not done yet.
func (s *Site) open(ctx context.Context, l *ledger.Ledger) (queued uint64, held []ledger.Entry, open int, err error) {
	for _, name := range []string{bus.StreamOrders, bus.StreamEvidence} {
		stream, err := s.bus.JS.Stream(ctx, name)
		if err != nil {
			return 0, nil, 0, err
		}
		queued += stream.CachedInfo().State.Msgs
	}
	for o, err := range l.All(ctx) {
		if err != nil {
			return queued, nil, open, err
		}
		e, found, err := l.Get(ctx, o.OrderID)
		switch {
		case err != nil:
			return queued, nil, open, err
		case found && e.State == order.Held:
			held = append(held, e)
		default:
			open++
		}
	}
	return queued, held, open, nil
}

// resolve is a person's word, who looked into the supplier's own books.
func (s *Site) resolve(ctx context.Context, r order.Record) error {
	ev := wire.Evidence{OrderID: r.OrderID, Supplier: r.Supplier, Account: r.Account, Source: order.EvidencePerson, Certainty: order.CertainNotPlaced,
		ObservedAt: time.Now().UTC(), Actor: "chaos", Reason: "asked the supplier"}
	if times, id := s.bought(r.Request); times > 0 {
		ev.Certainty, ev.SupplierOrderID = order.CertainPlaced, id
	}
	env, err := wire.NewEnvelope(wire.TypeEvidence, wire.Source("chaos"), ev.OrderID, "", ev.ObservedAt, ev)
	if err != nil {
		return err
	}
	data, err := env.Marshal()
	if err != nil {
		return err
	}
	_, err = s.bus.Publish(ctx, bus.NewMsg(bus.SubjectEvidence(ev.Supplier, ev.OrderID), env.ID, data))
	return err
}

// maxRounds is more rounds than any order of a run has.
const maxRounds = 40

// bought is how often the supplier's book has an order, and under what id.
func (s *Site) bought(r order.Request) (times int, id string) {
	if r.Supplier == order.EIOTCLUB {
		if o, ok := s.eiotclub.Order(r.OrderID); ok {
			id = o.ID()
		}
		return s.eiotclub.Purchases(r.OrderID), id
	}
	for round := range maxRounds {
		request := esimfly.RequestID(r.OrderID, round)
		if n := s.esimfly.Purchases(request); n > 0 {
			o, _ := s.esimfly.Order(request)
			times, id = times+n, o.Reference
		}
	}
	return times, id
}

// posts is how many purchases arrived for an order.
func (s *Site) posts(r order.Request) (n int) {
	if r.Supplier == order.EIOTCLUB {
		return s.doors[0].of(r.OrderID)
	}
	for round := range maxRounds {
		n += s.doors[1].of(esimfly.RequestID(r.OrderID, round))
	}
	return n
}

// event is one event of an order's history.
type event struct {
	order.Record
	stored time.Time
}

// histories reads the whole ledger.
func (s *Site) histories(ctx context.Context) (map[string][]event, error) {
	stream, err := s.bus.JS.Stream(ctx, bus.StreamOrderEvents)
	if err != nil {
		return nil, err
	}
	cons, err := s.bus.JS.OrderedConsumer(ctx, bus.StreamOrderEvents, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	out := map[string][]event{}
	for last := stream.CachedInfo().State.LastSeq; last > 0; {
		m, err := cons.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			return nil, fmt.Errorf("read the ledger: %w", err)
		}
		r, _, err := wire.DecodeOrderEvent(m.Data())
		if err != nil {
			return nil, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, err
		}
		out[r.OrderID] = append(out[r.OrderID], event{r, meta.Timestamp})
		if meta.Sequence.Stream >= last {
			break
		}
	}
	return out, nil
}

// Books are what everybody's books say at the end, compared.
func (s *Site) books(ctx context.Context, all []asked) ([]e2e.Figure, error) {
	histories, err := s.histories(ctx)
	if err != nil {
		return nil, err
	}
	zero := func(what string) *e2e.Figure { return &e2e.Figure{What: what, Want: "0", OK: true} }
	lost, double, wrong := zero("lost: asked for, and no end in the ledger"), zero("double: bought more than once"), zero("wrong: the ledger says other than the supplier's book")
	blind, unlawful := zero("purchases that arrived without an intent"), zero("transitions that the table has not")
	count := map[*e2e.Figure]int{}
	note := func(f *e2e.Figure, format string, args ...any) {
		count[f]++
		f.Complain(format, args...)
	}
	var bought, fulfilled, rejected, posts, intents int
	for _, a := range all {
		h := histories[a.OrderID]
		times, id := s.bought(a.Request)
		arrived, announced := s.posts(a.Request), 0
		bought, posts = bought+times, posts+arrived
		from := order.Begin
		for _, e := range h {
			if err := order.CheckMove(from, &e.Record); err != nil {
				note(unlawful, "%v", err)
			}
			if from = e.State; from == order.Intent {
				announced++
			}
		}
		intents += announced
		if times > 1 {
			note(double, "%s: %d times", a.OrderID, times)
		}
		if arrived > announced {
			note(blind, "%s: %d calls, %d intents", a.OrderID, arrived, announced)
		}
		if len(h) == 0 || !from.Settled() {
			note(lost, "%s ends as %q", a.OrderID, from)
			continue
		}
		last := h[len(h)-1]
		switch {
		case last.State == order.Fulfilled && times == 1 && last.SupplierOrderID == id:
			fulfilled++
		case last.State == order.Rejected && times == 0:
			rejected++
		default:
			note(wrong, "%s is %s as %q; bought %d times, as %q; %d events", a.OrderID, last.State, last.SupplierOrderID, times, id, len(h))
		}
	}
	for _, f := range []*e2e.Figure{lost, double, wrong, blind, unlawful} {
		f.Got = fmt.Sprint(count[f])
	}
	sold := s.eiotclub.Orders() + s.esimfly.Orders()
	figures := []e2e.Figure{e2e.Equal("sold by the suppliers, under whatever id = bought for the orders asked for", int64(sold), int64(bought)),
		e2e.Equal("fulfilled in the ledger = bought", int64(bought), int64(fulfilled)),
		e2e.Equal("orders asked for = fulfilled + rejected", int64(len(all)), int64(fulfilled+rejected)),
		*lost, *double, *wrong, *blind, *unlawful}
	s.cfg.Say(fmt.Sprintf("%d orders, %d events, %d intents, %d purchases arrived, %d bought, %d rejected", len(all), s.events(histories), intents, posts, bought, rejected))
	var faults []error
	for _, f := range figures {
		if !f.OK {
			faults = append(faults, fmt.Errorf("%s: %s, want %s: %v", f.What, f.Got, f.Want, f.Complaints))
		}
	}
	return figures, errors.Join(faults...)
}

func (s *Site) events(histories map[string][]event) (n int) {
	for _, h := range histories {
		n += len(h)
	}
	return n
}

// waits are how long each order took from its message being stored to the supplier's
// acceptance, the shortest first.
func waits(all []asked, histories map[string][]event) []time.Duration {
	var out []time.Duration
	for _, a := range all {
		for _, e := range histories[a.OrderID] {
			if e.Certainty == order.CertainPlaced {
				out = append(out, e.stored.Sub(a.at))
				break
			}
		}
	}
	slices.Sort(out)
	return out
}
