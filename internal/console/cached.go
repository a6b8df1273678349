package console

import (
	"sync"
	"time"
)

// cached keeps one answer for a short while, so that many people looking cost what
// one does. Whoever finds it old asks anew, the others wait for that answer.
type cached[T any] struct {
	mu  sync.Mutex
	at  time.Time
	val T
	err error
}

func (c *cached[T]) get(now time.Time, fresh time.Duration, ask func() (T, error)) (T, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.at) >= fresh || c.err != nil {
		c.val, c.err = ask()
		c.at = now
	}
	return c.val, c.at, c.err
}
