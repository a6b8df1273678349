package orderer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
	"github.com/simline/simline/internal/wire"
)

// watchAdvisories hears what the server gave up delivering. Our consumers have no
// limit of deliveries; this is for the day when someone gives them one. A request is
// not set aside for it: its worker may be at it still, or have died with its call
// made. Each purger is told that the floor may pass it, and has the engine handle it
// where it lies. Evidence is set aside.
func (w *Worker) watchAdvisories(purgers []*purger) (stop func(), err error) {
	requests, err := w.bus.NC.Subscribe(bus.SubjectMaxDeliveries(bus.StreamOrders), func(m *nats.Msg) {
		a, err := gaveUp(m.Data)
		if err != nil {
			w.failed("advisory", err)
		}
		for _, p := range purgers {
			if err != nil || bus.ConsumerOrderer(p.supplier) == a.Consumer {
				p.passed.Store(true)
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("advisories of %s: %w", bus.StreamOrders, err)
	}
	evidence, err := w.bus.NC.QueueSubscribe(bus.SubjectMaxDeliveries(bus.StreamEvidence), "orderer", func(m *nats.Msg) {
		go func() {
			if err := w.setAside(m.Data); err != nil {
				w.failed("advisory", err)
			}
		}()
	})
	if err != nil {
		_ = requests.Unsubscribe() // the connection is gone
		return nil, fmt.Errorf("advisories of %s: %w", bus.StreamEvidence, err)
	}
	return func() {
		_, _ = requests.Unsubscribe(), evidence.Unsubscribe() // they fail only if the connection is gone
	}, nil
}

// advisory is what the server says when it gives a message up.
type advisory struct {
	Stream     string `json:"stream"`
	Consumer   string `json:"consumer"`
	Seq        uint64 `json:"stream_seq"`
	Deliveries int    `json:"deliveries"`
}

func gaveUp(data []byte) (a advisory, err error) {
	if err := json.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("max deliveries: %w", err)
	}
	return a, nil
}

// setAside takes in an advisory: the message that it speaks of goes to DEAD.
func (w *Worker) setAside(data []byte) error {
	a, err := gaveUp(data)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(w.work, 30*time.Second)
	defer cancel()
	s, err := w.bus.JS.Stream(ctx, a.Stream)
	if err != nil {
		return fmt.Errorf("max deliveries: stream %s: %w", a.Stream, err)
	}
	return w.toDead(ctx, s, a.Seq, max(1, a.Deliveries))
}

// toDead copies a message that nobody will be given any more to DEAD and removes it
// from its queue.
func (w *Worker) toDead(ctx context.Context, s jetstream.Stream, seq uint64, deliveries int) error {
	stream := s.CachedInfo().Config.Name
	m, err := s.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil // another replica was first
	}
	if err != nil {
		return fmt.Errorf("max deliveries: message %d of %s: %w", seq, stream, err)
	}
	err = w.bus.DeadBytes(ctx, bus.DeadLetter{Stream: stream, Subject: m.Subject, Header: m.Header, Data: m.Data, Reason: wire.ReasonMaxDeliveries,
		Cause: fmt.Errorf("the server gave up after %d deliveries", deliveries), Attempts: fmt.Sprint(deliveries),
		MsgID: fmt.Sprintf("dead:%s:%d:%d", stream, m.Time.UnixNano(), m.Sequence)})
	if err != nil {
		return err
	}
	// If we die here: the letter lies in DEAD, and the message too, undelivered.
	if err := s.DeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("max deliveries: remove message %d of %s: %w", seq, stream, err)
	}
	return nil
}

// An advisory is said once, to whoever listens at that moment. What was given up of
// the evidence while nobody did is found by looking: it lies in its queue while the
// consumer has nothing pending and nothing in work. Of the requests, see purge.go.

// strandedEvery is the time between two looks; a message is set aside when two found
// it, so that one whose acknowledgement is on its way is not.
const strandedEvery = time.Minute

// maxStranded is how many are set aside at one look.
const maxStranded = 256

func (w *Worker) rescueLoop(ctx context.Context, every time.Duration) error {
	before := map[string]bool{}
	for {
		now := map[string]bool{}
		for _, s := range order.Suppliers {
			if err := w.rescue(ctx, bus.StreamEvidence, bus.ConsumerEvidence(s), before, now); err != nil && ctx.Err() == nil {
				w.failed("stranded", err)
			}
		}
		before = now
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

// rescue looks at one consumer's part of a queue. before are the messages that the
// look before found, now becomes those that this one does.
func (w *Worker) rescue(ctx context.Context, stream, durable string, before, now map[string]bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cons, err := w.bus.JS.Consumer(ctx, stream, durable)
	if err != nil {
		return fmt.Errorf("consumer %s of %s: %w", durable, stream, err)
	}
	s, err := w.bus.JS.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("stream %s: %w", stream, err)
	}
	info := cons.CachedInfo()
	if s.CachedInfo().State.Msgs == 0 || info.NumPending > 0 || info.NumAckPending > 0 {
		return nil
	}
	for _, filter := range slices.DeleteFunc(append(info.Config.FilterSubjects, info.Config.FilterSubject), func(f string) bool { return f == "" }) {
		seq := s.CachedInfo().State.FirstSeq
		for range maxStranded {
			m, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(filter))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				break
			}
			if err != nil {
				return fmt.Errorf("stranded messages of %s: %w", stream, err)
			}
			key := stream + " " + fmt.Sprint(m.Sequence)
			now[key] = true
			if before[key] {
				w.log.Error("a message that nobody was given any more is set aside", "stream", stream, "subject", m.Subject, "seq", m.Sequence)
				if err := w.toDead(ctx, s, m.Sequence, max(1, info.Config.MaxDeliver)); err != nil {
					return err
				}
			}
			seq = m.Sequence + 1
		}
	}
	return nil
}
