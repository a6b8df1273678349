package orderer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/wire"
)

// watchAdvisories sets messages aside that the server gave up delivering. Our
// consumers have no such limit; this is for the day when someone gives them one.
func (w *Worker) watchAdvisories() (stop func(), err error) {
	var subs []*nats.Subscription
	stop = func() {
		for _, s := range subs {
			_ = s.Unsubscribe() // fails only if the connection is gone
		}
	}
	for _, stream := range []string{bus.StreamOrders, bus.StreamEvidence} {
		sub, err := w.bus.NC.QueueSubscribe(bus.SubjectMaxDeliveries(stream), "orderer", func(m *nats.Msg) {
			go func() {
				if err := w.setAside(m.Data); err != nil {
					w.failed("advisory", err)
				}
			}()
		})
		if err != nil {
			stop()
			return nil, fmt.Errorf("advisories of %s: %w", stream, err)
		}
		subs = append(subs, sub)
	}
	return stop, nil
}

// setAside copies the message of an advisory to DEAD and removes it from its queue.
func (w *Worker) setAside(advisory []byte) error {
	var a struct {
		Stream     string `json:"stream"`
		Seq        uint64 `json:"stream_seq"`
		Deliveries int    `json:"deliveries"`
	}
	if err := json.Unmarshal(advisory, &a); err != nil {
		return fmt.Errorf("max deliveries: %w", err)
	}
	ctx, cancel := context.WithTimeout(w.work, 30*time.Second)
	defer cancel()
	s, err := w.bus.JS.Stream(ctx, a.Stream)
	if err != nil {
		return fmt.Errorf("max deliveries: stream %s: %w", a.Stream, err)
	}
	m, err := s.GetMsg(ctx, a.Seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil // another replica was first
	}
	if err != nil {
		return fmt.Errorf("max deliveries: message %d of %s: %w", a.Seq, a.Stream, err)
	}
	err = w.bus.DeadBytes(ctx, bus.DeadLetter{Stream: a.Stream, Subject: m.Subject, Header: m.Header, Data: m.Data, Reason: wire.ReasonMaxDeliveries,
		Cause: fmt.Errorf("the server gave up after %d deliveries", a.Deliveries), Attempts: fmt.Sprint(a.Deliveries),
		MsgID: fmt.Sprintf("dead:%s:%d:%d", a.Stream, m.Time.UnixNano(), m.Sequence)})
	if err != nil {
		return err
	}
	// If we die here: the letter lies in DEAD, and the message too, undelivered.
	if err := s.DeleteMsg(ctx, a.Seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("max deliveries: remove message %d of %s: %w", a.Seq, a.Stream, err)
	}
	return nil
}
