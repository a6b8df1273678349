package ingest

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// drainEvery is how often NATS is tried again while it is away.
	drainEvery = 200 * time.Millisecond
	// drainChunk messages are published together.
	drainChunk = 128
	// drainTimeout is how long one chunk may take; nobody waits for the answer.
	// A probe's is shorter, so that a broker that is back is soon noticed.
	drainTimeout = 5 * time.Second
	probeTimeout = time.Second
)

// drain brings what the spool holds to NATS, in order, until ctx ends. It is also
// what finds out that NATS is back: meanwhile requests do not wait for it.
func (w *Worker) drain(ctx context.Context) {
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for {
		for ctx.Err() == nil {
			more, err := w.drainFile(ctx)
			if err != nil {
				if ctx.Err() == nil && w.logLimit.Allow() {
					w.log.Warn("spool is not drained yet", "messages", w.spool.count.Load(), "error", err)
				}
				break
			}
			if !more {
				if w.bus.Ready() == nil {
					w.comeBack() // nothing waits: let the next request try
				}
				break
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *Worker) comeBack() {
	if w.away.Swap(false) {
		w.m.brokerAway.Set(0)
		w.log.Info("NATS stores notifications again", "spooled", w.spool.count.Load())
	}
}

// drainFile publishes the oldest file and removes it; more says that there was
// one. What is stored of it by then is remembered, so that an error in the middle
// does not publish it anew.
func (w *Worker) drainFile(ctx context.Context) (more bool, err error) {
	f, err := w.spool.oldest()
	if f == nil || err != nil {
		return false, err
	}
	b, err := os.ReadFile(f.path)
	if err != nil {
		return true, fmt.Errorf("spool: %w", err)
	}
	frames, damaged := scanFrames(b)
	for f.done < len(frames) {
		n := drainChunk
		if w.away.Load() {
			n = 1 // a probe
		}
		if err := w.drainSome(ctx, f, frames[f.done:min(f.done+n, len(frames))]); err != nil {
			return true, err
		}
		w.comeBack()
	}
	if damaged {
		w.m.damaged.Inc()
		w.log.Error("spool file is damaged; what was whole in it is stored, the file is kept", "file", f.path+damagedExt, "whole", len(frames), "bytes", len(b))
	}
	// If we die here: the file is drained once more, and all of it is known in NATS
	// by its message ids.
	return true, w.spool.remove(f, damaged)
}

// drainSome publishes frames in order and counts those that are stored, up to
// the first that is not.
func (w *Worker) drainSome(ctx context.Context, f *spoolFile, frames []frame) error {
	for i, err := range w.publishAll(ctx, frames) {
		if err != nil && never(err) {
			w.m.setAside.Inc()
			w.log.Error("NATS will never take this notification; it is kept in the spool's file "+asideName, "id", frames[i].id, "error", err)
			err = w.spool.setAside(frames[i])
		}
		if err != nil {
			return err
		}
		f.done++
		w.m.drained.Inc()
		w.spool.add(0, -1)
	}
	return nil
}

// publishAll publishes frames in order; dead letters, which belong to another
// stream, one by one among them.
func (w *Worker) publishAll(ctx context.Context, frames []frame) []error {
	limit := drainTimeout
	if w.away.Load() {
		limit = probeTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out []error
	var run []*nats.Msg
	flush := func() {
		if len(run) > 0 {
			out = append(out, w.commit.PublishAll(ctx, run)...)
			run = nil
		}
	}
	for i := range frames {
		if frames[i].extra == nil {
			run = append(run, frames[i].nats())
			continue
		}
		flush()
		_, err := w.bus.Publish(ctx, frames[i].nats())
		out = append(out, err)
	}
	flush()
	return out
}
