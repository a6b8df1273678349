package archiver

import (
	"context"
	"fmt"
	"time"

	"github.com/simline/simline/internal/bus"
)

// lagEvery is how often a line asks for its lag.
const lagEvery = 2 * time.Second

// watchLag keeps the lag visible while this replica holds the lease, whether or not
// messages move and ClickHouse answers. What cannot be had stays as it was.
func (l *line[R]) watchLag(ctx context.Context) {
	defer func() { // another replica tells it from now on
		l.m.lag.DeleteLabelValues(l.stream)
		l.m.lagSeconds.DeleteLabelValues(l.stream)
	}()
	tick := time.NewTicker(l.lagEvery)
	defer tick.Stop()
	known := true
	for {
		messages, since, err := l.lag(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			age := 0.0
			if messages > 0 {
				age = max(0, time.Since(since).Seconds())
			}
			l.m.lag.WithLabelValues(l.stream).Set(float64(messages))
			l.m.lagSeconds.WithLabelValues(l.stream).Set(age)
		case known:
			l.log.Warn("the lag cannot be told", "error", err)
		}
		known = err == nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// lag asks the stream's leader how many messages are not in ClickHouse, and when it
// stored the first of them. While the place is not known those count that are not
// acknowledged: what is acknowledged is in ClickHouse, or was.
func (l *line[R]) lag(ctx context.Context) (messages uint64, since time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	settled := l.settled.Load()
	if settled == 0 {
		cons, err := l.d.Bus.JS.Consumer(ctx, l.stream, bus.ConsumerArchiver(l.stream))
		if err != nil {
			return 0, time.Time{}, fmt.Errorf("consumer of %s: %w", l.stream, err)
		}
		settled = cons.CachedInfo().AckFloor.Stream
	}
	first, waits, err := l.d.Bus.NextFromLeader(ctx, l.stream, ">", settled+1)
	if err != nil || !waits {
		return 0, time.Time{}, err
	}
	s, err := l.d.Bus.JS.Stream(ctx, l.stream)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("stream %s: %w", l.stream, err)
	}
	return max(first.Sequence, s.CachedInfo().State.LastSeq) - first.Sequence + 1, first.Time, nil
}
