package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
)

// Progress is how far a job is. Only who moves it by compare-and-set may say
// that a period is done.
type Progress struct {
	// Done: every period up to here is done.
	Done time.Time `json:"done"`
	// Running is the span that was begun and not yet done; whoever comes next
	// goes on with it at Cursor.
	Running *Span  `json:"running,omitempty"`
	Cursor  string `json:"cursor,omitempty"`
	// Runs counts the spans done.
	Runs int64 `json:"runs"`
	// Notes is the job's own memory between runs, small.
	Notes json.RawMessage `json:"notes,omitempty"`
	// Writer tells our own write whose answer was lost from another's.
	Writer string `json:"writer"`
}

// ErrMoved: another replica moved the job's progress; what we were doing is theirs.
var ErrMoved = errors.New("another replica moved this job's progress")

// Periods keeps each job's progress.
type Periods interface {
	// Load returns the progress and its revision; 0 when there is none yet.
	Load(ctx context.Context, job string) (Progress, uint64, error)
	// Save moves the progress if it is still at revision, else ErrMoved.
	Save(ctx context.Context, job string, p Progress, revision uint64) (uint64, error)
}

// Locks lets one replica at a time work on a job.
type Locks interface {
	// Lock returns a context that ends when the lock is lost, and what gives the
	// lock up. bus.ErrLeaseHeld: another replica has it.
	Lock(ctx context.Context, job string) (context.Context, func(), error)
}

// kvPeriods is the bucket recon_periods.
type kvPeriods struct{ kv jetstream.KeyValue }

func openPeriods(ctx context.Context, b *bus.Bus) (kvPeriods, error) {
	kv, err := b.JS.KeyValue(ctx, bus.BucketReconPeriods)
	if err != nil {
		return kvPeriods{}, fmt.Errorf("bucket %s: %w", bus.BucketReconPeriods, err)
	}
	return kvPeriods{kv}, nil
}

func (k kvPeriods) Load(ctx context.Context, job string) (Progress, uint64, error) {
	var p Progress
	e, err := k.kv.Get(ctx, job)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return p, 0, nil
	}
	if err != nil {
		return p, 0, fmt.Errorf("progress of %s: %w", job, err)
	}
	if err := json.Unmarshal(e.Value(), &p); err != nil {
		return p, 0, fmt.Errorf("progress of %s: %w", job, err)
	}
	return p, e.Revision(), nil
}

func (k kvPeriods) Save(ctx context.Context, job string, p Progress, revision uint64) (uint64, error) {
	p.Writer = uuid.NewString()
	data, err := json.Marshal(p)
	if err != nil {
		return 0, fmt.Errorf("encode progress of %s: %w", job, err)
	}
	var at uint64
	if revision == 0 {
		at, err = k.kv.Create(ctx, job, data)
	} else {
		at, err = k.kv.Update(ctx, job, data, revision)
	}
	if err == nil {
		return at, nil
	}
	// Refused, or stored with the answer lost: what stands there now tells.
	if now, rev, loadErr := k.Load(ctx, job); loadErr == nil && now.Writer == p.Writer {
		return rev, nil
	}
	if bus.IsConflict(err) {
		return 0, fmt.Errorf("%s: %w", job, ErrMoved)
	}
	return 0, fmt.Errorf("progress of %s: %w", job, err)
}

// leases locks jobs with the bucket leases.
type leases struct {
	bus   *bus.Bus
	owner string
	ttl   time.Duration
}

func (l leases) Lock(ctx context.Context, job string) (context.Context, func(), error) {
	lease, err := l.bus.Acquire(ctx, "reconciler."+job, l.owner, l.ttl)
	if err != nil {
		return nil, nil, err
	}
	held, lost := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(l.ttl / 3)
		defer t.Stop()
		last := time.Now()
		for {
			select {
			case <-held.Done():
				return
			case <-t.C:
			}
			err := lease.Renew(held)
			if err == nil {
				last = time.Now()
				continue
			}
			if errors.Is(err, bus.ErrLeaseHeld) || time.Since(last) > l.ttl {
				lost(fmt.Errorf("lease of %s lost: %w", job, err))
				return
			}
		}
	}()
	unlock := func() {
		lost(context.Canceled)
		<-done
		// The run's context may be over; giving the lease up early is a courtesy.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = lease.Release(ctx) // else it ends by itself within its ttl
	}
	return held, unlock, nil
}
