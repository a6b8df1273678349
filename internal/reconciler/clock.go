package reconciler

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
)

// Start runs each job whenever one of its periods has ended and settled, and what
// was missed at once, until ctx ends. The cron is only the clock: which period is
// due is for Catch to say, so a tick too many does nothing. It returns what waits
// for the passes in hand; ctx must have ended by then.
func (r *Runner) Start(ctx, work context.Context, jobs []*Job) (wait func()) {
	quiet := cron.DiscardLogger
	c := cron.New(cron.WithLocation(time.UTC), cron.WithLogger(quiet),
		// Recover inside: the other way round one panic would end its job for ever.
		cron.WithChain(cron.SkipIfStillRunning(quiet), cron.Recover(cronLog{r.Log})))
	var first sync.WaitGroup
	for _, job := range jobs {
		id := c.Schedule(delayed{job.Schedule, job.Settle}, cron.FuncJob(func() { r.Keep(ctx, work, job) }))
		wrapped := c.Entry(id).WrappedJob
		first.Go(wrapped.Run)
	}
	c.Start()
	return func() {
		<-c.Stop().Done()
		first.Wait()
	}
}

// cronLog lets cron report what its recovery caught; a pass that panics is caught
// before.
type cronLog struct{ log *slog.Logger }

// Info implements cron.Logger.
func (l cronLog) Info(string, ...any) {}

// Error implements cron.Logger.
func (l cronLog) Error(err error, msg string, keysAndValues ...any) {
	l.log.Error("cron: "+msg, append(keysAndValues, "error", err)...)
}
