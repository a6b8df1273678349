package operator

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

// Event is one transition of an order, as the ledger has it.
type Event struct {
	order.Record
	Seq    uint64    `json:"sequence"`
	Stored time.Time `json:"stored_at"`
}

// maxEvents bounds one order's history; a held order may be told something often.
const maxEvents = 5000

// Order reads an order's last event, which is the truth about it.
func (o *Operator) Order(ctx context.Context, id string) (ledger.Entry, error) {
	if !order.ValidID(id) {
		return ledger.Entry{}, invalid("%.40q is not an order id", id)
	}
	e, found, err := o.ledger.Get(ctx, id)
	if err == nil && !found {
		err = notFound("there is no order %s", id)
	}
	return e, err
}

// Events reads every event of an order, oldest first, card data in clear.
func (o *Operator) Events(ctx context.Context, id string) ([]Event, error) {
	if !order.ValidID(id) {
		return nil, invalid("%.40q is not an order id", id)
	}
	msgs, _, err := o.bus.Range(ctx, bus.StreamOrderEvents, bus.SubjectOrderHistory(id), 1, maxEvents)
	if err != nil {
		return nil, err
	}
	if len(msgs) == 0 {
		return nil, notFound("there is no order %s", id)
	}
	out := make([]Event, len(msgs))
	for i, m := range msgs {
		if out[i], err = eventOf(m.Data, m.Sequence, m.Time); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func eventOf(data []byte, seq uint64, at time.Time) (Event, error) {
	r, _, err := wire.DecodeOrderEvent(data)
	return Event{Record: r, Seq: seq, Stored: at}, err
}

// Watch hands every event of an order to each, those that were before first, until
// each returns false or ctx ends. An order that is not there yet is waited for.
func (o *Operator) Watch(ctx context.Context, id string, each func(Event) bool) error {
	if !order.ValidID(id) {
		return invalid("%.40q is not an order id", id)
	}
	cons, err := o.bus.JS.OrderedConsumer(ctx, bus.StreamOrderEvents, jetstream.OrderedConsumerConfig{FilterSubjects: []string{bus.SubjectOrderHistory(id)}})
	if err != nil {
		return fmt.Errorf("watch order %s: %w", id, err)
	}
	it, err := cons.Messages()
	if err != nil {
		return fmt.Errorf("watch order %s: %w", id, err)
	}
	defer it.Stop()
	defer context.AfterFunc(ctx, it.Stop)()
	for {
		m, err := it.Next()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return fmt.Errorf("watch order %s: %w", id, err)
		}
		if err != nil {
			continue // the ordered consumer starts itself anew
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("watch order %s: %w", id, err)
		}
		e, err := eventOf(m.Data(), meta.Sequence.Stream, meta.Timestamp)
		if err != nil {
			return err
		}
		if !each(e) {
			return nil
		}
	}
}

// Open walks through the orders that are not settled and left the queue.
func (o *Operator) Open(ctx context.Context) iter.Seq2[ledger.Open, error] {
	return ledger.WalkOpen(ctx, o.bus)
}

// Submit hands an order request, bare or as CloudEvents, to orderer. The same
// request again is harmless; another one under an id that is taken is refused here
// already. What is returned is the request as it will be understood.
func (o *Operator) Submit(ctx context.Context, who Who, body []byte) (order.Request, error) {
	r, _, err := wire.DecodeRequest(body)
	if err != nil {
		return r, invalid("order request: %w", err)
	}
	cur, found, err := o.ledger.Get(ctx, r.OrderID)
	switch {
	case err != nil:
		return r, err
	case found && cur.RequestHash != r.Hash():
		return r, invalid("order %s is there already, with another request; take another id", r.OrderID)
	}
	if err := o.Audit(ctx, who, wire.ActOrderSubmit, r.OrderID, map[string]string{"supplier": r.Supplier, "product": r.Product, "account": r.Account}); err != nil {
		return r, err
	}
	data, err := envelope(wire.TypeOrderRequest, o.via, r.OrderID, o.now(), r)
	if err != nil {
		return r, err
	}
	_, err = o.bus.Publish(ctx, bus.NewMsg(bus.SubjectRequest(r.Supplier, r.Product), "submit:"+r.OrderID+":"+r.Hash()[:16], data))
	// If we die here: the request is on ORDERS; submitting it again buys nothing more.
	return r, err
}

// Cancel asks orderer to withdraw an order and returns the order as it was.
func (o *Operator) Cancel(ctx context.Context, who Who, id string) (ledger.Entry, error) {
	cur, err := o.Order(ctx, id)
	if err != nil {
		return cur, err
	}
	if cur.State.Settled() || cur.State == order.Placed {
		return cur, invalid("order %s is %s: too late to cancel", id, cur.State)
	}
	c := wire.Cancel{OrderID: cur.OrderID, Account: cur.Account, Reason: who.Actor + ": " + who.Reason}
	if err := c.Validate(); err != nil {
		return cur, invalid("%w", err)
	}
	if err := o.Audit(ctx, who, wire.ActOrderCancel, id, map[string]string{"state": string(cur.State)}); err != nil {
		return cur, err
	}
	data, err := envelope(wire.TypeOrderCancel, o.via, id, o.now(), c)
	if err != nil {
		return cur, err
	}
	_, err = o.bus.Publish(ctx, bus.NewMsg(bus.SubjectCancel(cur.Supplier), "", data))
	// If we die here: orderer has the cancel; a second one changes nothing.
	return cur, err
}

// awaitEvery is how often Await looks.
const awaitEvery = 100 * time.Millisecond

// Await returns the order once it has an event after seq; moved is false if it had
// none within limit.
func (o *Operator) Await(ctx context.Context, id string, seq uint64, limit time.Duration) (now ledger.Entry, moved bool, err error) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(awaitEvery)
	defer tick.Stop()
	for {
		now, _, err = o.ledger.Get(ctx, id)
		if err != nil || now.Seq > seq {
			return now, now.Seq > seq, err
		}
		select {
		case <-ctx.Done():
			return now, false, context.Cause(ctx)
		case <-deadline.C:
			return now, false, nil
		case <-tick.C:
		}
	}
}

// Reveal is Events for a person who asked to see card data in clear, which is
// written down first.
func (o *Operator) Reveal(ctx context.Context, who Who, id string) ([]Event, error) {
	if _, err := o.Order(ctx, id); err != nil {
		return nil, err
	}
	if err := o.Audit(ctx, who, wire.ActOrderReveal, id, nil); err != nil {
		return nil, err
	}
	return o.Events(ctx, id)
}
