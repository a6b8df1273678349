package orderer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
)

// purgeEvery is the time between two purges: seldom enough to cost nothing, often
// enough that each is short, for the stream takes no message meanwhile. Some
// milliseconds for 14,000 messages, but the server reads what else lies there: 100 ms
// for a backlog of 400,000. So it may take a twentieth of the time at most.
const (
	purgeEvery = time.Second
	purgeShare = 20
)

// strandedAgain is the time to the next look at what a look had to leave.
const strandedAgain = 5 * time.Second

// purger removes the requests and cancels of one supplier that are done. They lie
// behind the floor of its durable, since ORDERS keeps what is acknowledged: removing
// each by itself would cost an fsync each. Every replica does it, each at its own
// pace; nothing depends on it but the size of the stream.
//
// A floor tells what is done as long as nobody gave the durable a limit of
// deliveries, or the like: then the server passes over what it gave up, too. So a
// process goes by a floor only for what was delivered while it saw the durable as
// provisioned, and in which the server told of nothing that it gave up: a limit may
// come and go between two of its looks at the durable. What lies before that it has
// the engine handle again. The ledger is the dedup: what was done already is done,
// without a call.
type purger struct {
	w          *Worker
	supplier   string
	handle     handler
	floor      uint64            // behind which this process has purged
	known      bool              // the durable was seen
	doubt      string            // what was changed on it, if anything
	since      uint64            // what it had delivered when it was first seen to be as provisioned
	watched    bool              // all of that is done
	took       time.Duration     // the last purge
	nextLook   time.Time         // not before
	left       map[uint64]uint64 // how often a look had to leave a message, by sequence
	passed     atomic.Bool       // the server gave something up, and the floor may pass it
	reconnects uint64            // of the connection: nobody heard what the server told between
}

func (w *Worker) newPurger(supplier string) *purger {
	return &purger{w: w, supplier: supplier, handle: w.guarded(supplier, w.handle)}
}

// floorOf is the last sequence up to which everything of a durable is acknowledged.
func floorOf(info *jetstream.ConsumerInfo) uint64 { return info.AckFloor.Stream }

func (p *purger) loop(ctx context.Context, every time.Duration) error {
	for {
		if _, err := p.once(ctx, true); err != nil && ctx.Err() == nil {
			p.w.failed("purge", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(every, purgeShare*p.took)):
		}
	}
}

// once purges what is done. look says whether there is time to handle something.
func (p *purger) once(ctx context.Context, look bool) (bus.Floor, error) {
	reconnects := p.w.bus.NC.Stats().Reconnects
	f, err := p.w.bus.Floor(ctx, bus.StreamOrders, bus.ConsumerOrderer(p.supplier))
	if err != nil {
		return f, err
	}
	if p.passed.Swap(false) || reconnects != p.reconnects {
		p.reconnects = reconnects
		p.unsure(f)
	}
	p.notice(f)
	floor := p.w.decide.floor(f.ConsumerInfo)
	if !p.watched && look && !p.w.now().Before(p.nextLook) {
		upTo := floor
		if f.NumAckPending == 0 {
			// The floor moves with acknowledgements: what was given up may lie before it.
			upTo = f.Delivered.Stream
		}
		if f.Doubt == "" {
			upTo = min(upTo, p.since) // what was delivered later was seen to be
		}
		clean, err := p.look(ctx, f.Filters, upTo)
		if err != nil {
			return f, err
		}
		p.watched = clean && f.Doubt == "" && upTo >= p.since
		switch {
		case f.Doubt != "":
			p.nextLook = p.w.now().Add(strandedEvery)
		case !clean:
			p.nextLook = p.w.now().Add(strandedAgain)
		}
	}
	if !p.watched || floor == p.floor || p.passed.Load() {
		return f, nil
	}
	begin := time.Now()
	defer func() { p.took = time.Since(begin) }()
	for _, filter := range f.Filters {
		// If we die here: messages that are done lie there a little longer.
		if err := p.w.bus.Clear(ctx, bus.StreamOrders, filter, floor+1); err != nil {
			return f, err
		}
	}
	p.floor = floor
	return f, nil
}

// unsure has everything that was delivered so far handled again before the next purge.
func (p *purger) unsure(f bus.Floor) {
	p.watched, p.since, p.nextLook = false, f.Delivered.Stream, time.Time{}
}

// notice tells, once, that somebody changed the durable, or changed it back.
func (p *purger) notice(f bus.Floor) {
	if p.known && f.Doubt == p.doubt {
		return
	}
	first, log := !p.known, p.w.log.With("consumer", bus.ConsumerOrderer(p.supplier))
	p.known, p.doubt = true, f.Doubt
	if f.Doubt != "" {
		p.watched = false
		p.w.m.kept.WithLabelValues(p.supplier).Set(1)
		log.Error("requests that are done are kept: somebody changed the durable; run `simctl provision`", "changed", f.Doubt)
		return
	}
	p.unsure(f)
	p.w.m.kept.WithLabelValues(p.supplier).Set(0)
	if !first {
		log.Info("the durable is as provisioned again: requests that are done are purged")
	}
}

const (
	lookPage = 256 // messages read at once
	lookers  = 16  // messages handled at once
)

// look handles what lies up to a sequence, and removes what is done then. clean says that
// nothing had to be left.
func (p *purger) look(ctx context.Context, filters []string, upTo uint64) (clean bool, err error) {
	before, all := p.left, 0
	p.left = map[uint64]uint64{}
	for _, filter := range filters {
		from := uint64(1)
		for more := true; more && from <= upTo; {
			var msgs []bus.Stored
			if msgs, more, err = p.w.bus.Range(ctx, bus.StreamOrders, filter, from, lookPage); err != nil {
				return false, err
			}
			for len(msgs) > 0 && msgs[len(msgs)-1].Sequence > upTo {
				msgs, more = msgs[:len(msgs)-1], false
			}
			if len(msgs) == 0 {
				break
			}
			done := p.handleAll(msgs, before)
			if err := p.remove(ctx, filter, done, len(done) == len(msgs) && len(p.left) == 0); err != nil {
				return false, err
			}
			all += len(msgs)
			from = msgs[len(msgs)-1].Sequence + 1
		}
		// Any replica may have answered, and lack the last ones still.
		if m, found, err := p.w.bus.NextFromLeader(ctx, bus.StreamOrders, filter, from); err != nil {
			return false, err
		} else if found && m.Sequence <= upTo {
			return false, fmt.Errorf("message %d of %s is not on every replica yet", m.Sequence, bus.StreamOrders)
		}
	}
	if all > 0 {
		p.w.log.Info("what lay behind the durable's floor was handled again", "consumer", bus.ConsumerOrderer(p.supplier), "messages", all, "left", len(p.left))
	}
	return len(p.left) == 0, nil
}

// handleAll has the engine handle messages where they lie and returns the sequences
// of those that are done; the others are noted as left.
func (p *purger) handleAll(msgs []bus.Stored, before map[uint64]uint64) (done []uint64) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, lookers)
	for _, m := range msgs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			// It was delivered once at least, so the ledger is asked.
			ok, err := p.w.bus.HandleStored(p.w.work, bus.StreamOrders, m, 2+before[m.Sequence],
				func(ctx context.Context, msg bus.Message) bus.Verdict { return p.handle(ctx, msg) })
			if err != nil {
				p.w.failed("look behind the floor", err)
			}
			mu.Lock()
			defer mu.Unlock()
			if ok {
				done = append(done, m.Sequence)
			} else {
				p.left[m.Sequence] = before[m.Sequence] + 1
			}
		})
	}
	wg.Wait()
	return done
}

// remove removes what is done: all that lies on filter up to the last of it, if none
// of it was left.
func (p *purger) remove(ctx context.Context, filter string, done []uint64, whole bool) error {
	// If we die here: they are handled once more, and found done.
	if whole {
		last := uint64(0)
		for _, seq := range done {
			last = max(last, seq)
		}
		return p.w.bus.Clear(ctx, bus.StreamOrders, filter, last+1)
	}
	s, err := p.w.bus.JS.Stream(ctx, bus.StreamOrders)
	if err != nil {
		return fmt.Errorf("stream %s: %w", bus.StreamOrders, err)
	}
	for _, seq := range done {
		if err := s.DeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return fmt.Errorf("remove message %d of %s: %w", seq, bus.StreamOrders, err)
		}
	}
	return nil
}

// lastTries is how often, 20 ms apart, the last purge looks for acknowledgements that
// are on their way: of this process within milliseconds. Those of other replicas never
// end under load, and they purge behind them.
const lastTries = 10

// last purges once more when nothing is taken any more, so that who scales orderer to
// zero finds an empty queue.
func (p *purger) last() {
	ctx, cancel := context.WithTimeout(p.w.work, bus.PublishTimeout)
	defer cancel()
	for range lastTries {
		f, err := p.once(ctx, false)
		if err != nil {
			p.w.failed("purge", err)
			return
		}
		if f.NumAckPending == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}
