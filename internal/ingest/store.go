package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
// for it; drain finds out when it is back. free says that nobody holds m.
func (w *Worker) store(m *message) (free bool, err error) {
	if w.spool != nil && w.away.Load() {
		err := w.storeInSpool(m)
		if err == nil {
			return false, nil
		}
		if nerr := w.storeInNATS(m.nats()); nerr != nil { // the spool is gone: there is nothing to lose
			return false, fmt.Errorf("%w; %w", nerr, err)
		}
		return false, nil
	}
	err = w.storeInNATS(m.lean())
	if err == nil || w.spool == nil || never(err) {
		return err == nil, err
	}
	if !w.away.Swap(true) {
		w.m.brokerAway.Set(1)
		w.log.Error("NATS does not store notifications, they go to the spool", "error", err)
	}
	return false, w.storeInSpool(m)
}

func (w *Worker) storeInSpool(m *message) error {
	if err := w.spool.put(m); err != nil {
		w.m.spoolFailures.Inc()
		return fmt.Errorf("%w: spool: %w", errStore, err)
	}
	w.m.spooled.Inc()
	return nil
}

func (w *Worker) storeInNATS(msg *nats.Msg) error {
	ack, err := w.publish(msg)
	switch {
	case err == nil && ack.Duplicate:
		w.m.duplicate.Inc()
	case err == nil && msg.Header[bus.HeaderReason] != nil:
		w.m.stale.Inc()
	case err == nil:
		w.m.stored.Inc()
	case never(err):
		return fmt.Errorf("%w: %w", errTooLarge, err)
	default:
		return fmt.Errorf("%w: %w", errStore, err)
	}
	return nil
}

// publish hands msg to NATS. Notifications go out together; the few dead letters
// go to another stream and alone.
func (w *Worker) publish(msg *nats.Msg) (bus.Ack, error) {
	ctx := w.deadlines.next(w.work, w.cfg.PublishTimeout)
	if msg.Header[bus.HeaderReason] != nil {
		return w.bus.Publish(ctx, msg)
	}
	return w.commit.Publish(ctx, msg)
}

// deadlines hands out contexts that end a time-out from now, and up to a
// sixteenth later: requests that come together share one and its timer.
type deadlines struct {
	mu    sync.Mutex
	ctx   context.Context
	fresh time.Time
}

func (d *deadlines) next(parent context.Context, timeout time.Duration) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); d.ctx == nil || now.After(d.fresh) {
		share := timeout / 16
		ctx, cancel := context.WithTimeout(parent, timeout+share)
		context.AfterFunc(ctx, cancel)
		d.ctx, d.fresh = ctx, now.Add(share)
	}
	return d.ctx
}

// never says that no waiting will make NATS take the message: it is larger than
// the server or the stream allows.
func never(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &api) && api.ErrorCode == errMessageTooLarge
}

// errMessageTooLarge is JetStream's "message size exceeds maximum allowed".
const errMessageTooLarge = 10054
