package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
)

// enter takes a place among the notifications being stored, or says that we are
// overloaded before we fail.
func (w *Worker) enter() error {
	select {
	case w.places <- struct{}{}:
	default:
		t := time.NewTimer(w.cfg.QueueTimeout)
		defer t.Stop()
		select {
		case w.places <- struct{}{}:
		case <-t.C:
			return errOverload
		}
	}
	w.m.inFlight.Inc()
	return nil
}

func (w *Worker) leave() {
	<-w.places
	w.m.inFlight.Dec()
}

// store returns nil once a durable copy of m stands: in NATS, or in the spool
// while NATS is away, slow or full. While it is known to be, requests do not wait
// for it; drain finds out when it is back.
func (w *Worker) store(m *message) error {
	if w.spool == nil {
		return w.storeInNATS(m)
	}
	if w.away.Load() {
		err := w.storeInSpool(m)
		if err == nil {
			return nil
		}
		if nerr := w.storeInNATS(m); nerr != nil { // the spool is gone: there is nothing to lose
			return fmt.Errorf("%w; %w", nerr, err)
		}
		return nil
	}
	err := w.storeInNATS(m)
	if err == nil || never(err) {
		return err
	}
	if !w.away.Swap(true) {
		w.m.brokerAway.Set(1)
		w.log.Error("NATS does not store notifications, they go to the spool", "error", err)
	}
	return w.storeInSpool(m)
}

func (w *Worker) storeInSpool(m *message) error {
	if err := w.spool.put(m); err != nil {
		w.m.spoolFailures.Inc()
		return fmt.Errorf("%w: spool: %w", errStore, err)
	}
	w.m.spooled.Inc()
	return nil
}

func (w *Worker) storeInNATS(m *message) error {
	ack, err := w.publish(m)
	switch {
	case err == nil && ack.Duplicate:
		w.m.duplicate.Inc()
	case err == nil:
		w.m.stored.Inc()
	case never(err):
		return fmt.Errorf("%w: %w", errTooLarge, err)
	default:
		return fmt.Errorf("%w: %w", errStore, err)
	}
	return nil
}

// publish hands m to NATS. Notifications share fsyncs; the few dead letters go
// to another stream and alone.
func (w *Worker) publish(m *message) (bus.Ack, error) {
	ctx, cancel := context.WithTimeout(w.work, w.cfg.PublishTimeout)
	defer cancel()
	if m.extra != nil {
		return w.bus.Publish(ctx, m.nats())
	}
	return w.commit.Publish(ctx, m.nats())
}

// never says that no waiting will make NATS take the message: it is larger than
// the server or the stream allows.
func never(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &api) && api.ErrorCode == errMessageTooLarge
}

// errMessageTooLarge is JetStream's "message size exceeds maximum allowed".
const errMessageTooLarge = 10054
