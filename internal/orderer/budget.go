package orderer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
)

// kv is what budgets need of a bucket.
type kv interface {
	Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error)
	Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Put(ctx context.Context, key string, value []byte) (uint64, error)
}

// budget is how many calls an account may make, over all replicas. A replica
// takes some at a time out of the common count; what it does not use of them in
// their window is lost, unless the supplier's limit headers say that it is not. Where
// a supplier documents no limit there is no count, only the pause that it asks for
// when there were too many; that too is for all replicas.
type budget struct {
	kv     kv
	key    string
	limit  int
	window time.Duration
	now    func() time.Time

	mu    sync.Mutex
	left  int       // taken and not used yet
	used  int       // the common count as we left it …
	seen  time.Time // … at this moment; where nothing is counted, when we last looked for a pause
	until time.Time // when left is lost
	pause time.Time // no call before
	told  told      // by the supplier, last
}

// told is what a limit header said: calls left, and when the count starts anew (zero
// if it did not say).
type told struct {
	left      int
	at, reset time.Time
}

// budgetValue is the common count in the bucket.
type budgetValue struct {
	Start time.Time `json:"start"` // of the window
	Used  int       `json:"used"`
	// Pause: the supplier said that there were too many; no call before.
	Pause time.Time `json:"pause,omitzero"`
	// At is when somebody last took of it.
	At time.Time `json:"at,omitzero"`
}

const (
	// budgetParts is in how many parts at least a window's calls are taken.
	budgetParts = 50
	// busyPause is the pause after "too many" without a wish of the supplier's.
	busyPause = time.Second
	// longestPause is the longest that a header's word is taken for.
	longestPause = 24 * time.Hour
	// windowSlack is how exactly a header tells a window's end.
	windowSlack = 5 * time.Second
)

func budgetKey(supplier, account string) string { return "calls." + supplier + "." + account }

// take uses one call, or says when the next may be made.
func (b *budget) take(ctx context.Context) (until time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if b.pause.After(now) {
		return b.pause, nil
	}
	if b.limit == 0 {
		return b.heed(ctx, now), nil
	}
	// More is used than we know of: others have the key.
	more := b.told.at.After(b.seen) && b.limit-b.told.left > b.used+b.part()
	if b.left == 0 || !now.Before(b.until) || more {
		if until, err := b.refill(ctx, now); err != nil || !until.IsZero() {
			return until, err
		}
	}
	b.left--
	return time.Time{}, nil
}

// untake gives a call back that was taken and not made: at a supplier that is dead every
// order that comes by takes one, and would have used the hour up by its return.
func (b *budget) untake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limit > 0 && b.now().Before(b.until) {
		b.left++
	}
}

// heed is the pause that another replica was asked for, where nothing is counted. It is
// looked for once in a while.
func (b *budget) heed(ctx context.Context, now time.Time) (until time.Time) {
	if b.kv == nil || now.Before(b.seen.Add(busyPause)) {
		return time.Time{}
	}
	b.seen = now
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	v, _, err := b.read(ctx)
	if err != nil || !v.Pause.After(now) {
		return time.Time{} // at worst we make one call too many, and hear it ourselves
	}
	b.pause = v.Pause
	return v.Pause
}

// part is how many calls a replica takes at a time.
func (b *budget) part() int { return max(1, b.limit/budgetParts) }

// refill takes some of the window's calls out of the common count.
func (b *budget) refill(ctx context.Context, now time.Time) (until time.Time, err error) {
	for range 20 {
		v, revision, err := b.read(ctx)
		if err != nil {
			return time.Time{}, err
		}
		if !now.Before(v.Start.Add(b.window)) {
			v.Start, v.Used = now.UTC(), 0
		}
		if v.Pause.After(now) {
			b.pause = v.Pause
			return v.Pause, nil
		}
		was := v.Used
		if now.Before(b.until) {
			v.Used = max(0, v.Used-b.left) // what is in hand goes back
		}
		b.correct(&v)
		v.At = now.UTC()
		end := v.Start.Add(b.window)
		n := max(0, min(b.limit-v.Used, b.part()))
		v.Used += n
		if n == 0 && b.left == 0 && v.Used == was {
			return end, nil // nothing that the others do not know
		}
		// If we die here: these calls are lost to everyone until the window ends, or the
		// supplier says that they are not.
		switch err := b.write(ctx, v, revision); {
		case err == nil:
			b.left, b.until, b.used, b.seen = n, end, v.Used, now
			if n == 0 {
				return end, nil
			}
			return time.Time{}, nil
		case !errors.Is(err, jetstream.ErrKeyExists):
			return time.Time{}, err
		}
	}
	return now.Add(time.Second), nil // so many replicas at it that the next second is soon enough
}

// giveBack returns to the common count what was taken and not used, at a clean end.
func (b *budget) giveBack(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range 20 {
		if b.left == 0 || !b.now().Before(b.until) {
			return nil
		}
		v, revision, err := b.read(ctx)
		if err != nil {
			return err
		}
		v.Used = max(0, v.Used-b.left)
		if err = b.write(ctx, v, revision); err == nil {
			b.left = 0
		} else if !errors.Is(err, jetstream.ErrKeyExists) {
			return err
		}
	}
	return nil
}

// correct brings the common count in line with what the supplier said in its window.
// That more was used, by whoever else has the key, counts always. That less was, as
// after a replica died with calls in hand, counts only if it was said since anybody
// took of the count, and once that is used up: what the others hold is not in the
// supplier's figure yet.
func (b *budget) correct(v *budgetValue) {
	if b.told.at.IsZero() || b.told.at.Before(v.Start) {
		return
	}
	if start := b.told.reset.Add(-b.window); !b.told.reset.IsZero() && start.Sub(v.Start).Abs() > windowSlack && !start.After(b.told.at) {
		v.Start = start.UTC()
	}
	if used := b.limit - b.told.left; used > v.Used || v.Used >= b.limit && b.told.at.After(v.At) {
		v.Used = max(0, used)
	}
}

func (b *budget) read(ctx context.Context) (v budgetValue, revision uint64, err error) {
	e, err := b.kv.Get(ctx, b.key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return v, 0, nil
	}
	if err != nil {
		return v, 0, fmt.Errorf("call budget %s: %w", b.key, err)
	}
	if err := json.Unmarshal(e.Value(), &v); err != nil {
		return budgetValue{}, e.Revision(), nil // unreadable: begin anew
	}
	return v, e.Revision(), nil
}

// write returns an error that is jetstream.ErrKeyExists if another came first.
func (b *budget) write(ctx context.Context, v budgetValue, revision uint64) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if revision == 0 {
		_, err = b.kv.Create(ctx, b.key, data)
	} else {
		_, err = b.kv.Update(ctx, b.key, data, revision)
	}
	if bus.IsConflict(err) {
		return jetstream.ErrKeyExists
	}
	if err != nil {
		return fmt.Errorf("call budget %s: %w", b.key, err)
	}
	return nil
}

// busy: the supplier said that there were too many calls, and when to come back.
// The others are told at their next refill, or look; until then each learns it by itself.
func (b *budget) busy(retryAfter time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	until := now.Add(max(retryAfter, busyPause))
	if !until.After(b.pause) {
		return
	}
	known := until.Sub(b.pause) < busyPause/4 // to everybody, from the call beside this one
	b.pause, b.left = until, 0
	if b.kv == nil || known {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	v, revision, err := b.read(ctx)
	if err != nil || v.Pause.After(until) {
		return
	}
	v.Pause = until.UTC()
	_ = b.write(ctx, v, revision) // at worst another replica makes one call too many
}

// remaining is what the supplier's limit headers say is left, and until when.
func (b *budget) remaining(n int, reset time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if reset.Sub(b.now()) > longestPause {
		reset = time.Time{} // no count is that long: it would park the account for good
	}
	b.told = told{n, b.now(), reset}
	if n == 0 && reset.After(b.now()) {
		b.pause = reset
	}
}
