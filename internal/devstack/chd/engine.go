package chd

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync"
)

// slots is how many statements run at once; more wait their turn. Each needs an
// OS thread of its own for as long as it runs and its answer is being read.
const slots = 16

// engine runs statements in the library, each in a session where nothing but its
// own request has set anything.
type engine struct {
	lib  *library
	args []string
	base *conn // keeps the data directory open between requests
	jobs chan func(*worker)
	wg   sync.WaitGroup
}

// worker is one locked OS thread, and the session it used last: opening one
// costs half of what a small query does.
type worker struct {
	conn *conn  // nil if none
	made string // what for
}

func openEngine(libPath, dataDir string) (*engine, error) {
	lib, err := loadLibrary(libPath)
	if err != nil {
		return nil, err
	}
	e := &engine{lib: lib, args: []string{"clickhouse", "--path=" + dataDir}, jobs: make(chan func(*worker))}
	for range slots {
		e.wg.Go(func() {
			runtime.LockOSThread() // the engine keeps a session's state in its thread
			var w worker
			defer w.forget()
			for job := range e.jobs {
				job(&w)
			}
		})
	}
	err = e.run(context.Background(), func(*worker) (err error) {
		e.base, err = lib.open(e.args...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, dataDir)
	}
	return e, nil
}

// close ends every session. Statements in work are waited for.
func (e *engine) close() {
	close(e.jobs)
	e.wg.Wait()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	e.base.close()
}

// session is what one request asked for besides its statement.
type session struct {
	database string
	settings [][2]string
	// plain: the statement changes nothing in its session, which may then serve
	// another request that asks for the same.
	plain bool
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// do runs fn in a session made for s. It waits for a free slot until ctx ends; a
// statement once begun is not interrupted (max_execution_time does that).
func (e *engine) do(ctx context.Context, s session, fn func(*conn) error) error {
	return e.run(ctx, func(w *worker) error {
		c, err := w.session(e, s)
		if err != nil {
			return err
		}
		defer func() {
			if !s.plain {
				w.forget()
			}
		}()
		return fn(c)
	})
}

// session is the worker's own if it was made for the same, else a new one.
func (w *worker) session(e *engine, s session) (*conn, error) {
	key := fmt.Sprintf("%q%q", s.database, s.settings)
	if w.conn != nil && w.made == key {
		return w.conn, nil
	}
	w.forget()
	c, err := e.lib.open(e.args...)
	if err != nil {
		return nil, err
	}
	if err := c.prepare(s); err != nil {
		c.close()
		return nil, err
	}
	w.conn, w.made = c, key
	return c, nil
}

func (w *worker) forget() {
	if w.conn != nil {
		w.conn.close()
		w.conn = nil
	}
}

func (c *conn) prepare(s session) error {
	if s.database != "" {
		if _, err := c.query("USE "+quote(s.database, '`'), "Null"); err != nil {
			return err
		}
	}
	for _, kv := range s.settings {
		if !settingName.MatchString(kv[0]) {
			return engineError(fmt.Sprintf("Code: 115. DB::Exception: %q is no name of a setting. (UNKNOWN_SETTING)", kv[0]))
		}
		if _, err := c.query("SET "+kv[0]+" = "+quote(kv[1], '\''), "Null"); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) run(ctx context.Context, fn func(*worker) error) (err error) {
	done := make(chan struct{})
	job := func(w *worker) {
		defer close(done)
		defer func() {
			// A fault in one request's encoding must not take the engine down.
			if p := recover(); p != nil {
				w.forget()
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		err = fn(w)
	}
	select {
	case e.jobs <- job:
		<-done
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unstreamable: the engine cannot answer this kind of statement piece by piece;
// it says so before running any of it.
func unstreamable(err error) bool {
	var ee engineError
	return errors.As(err, &ee) && strings.Contains(string(ee), "Streaming query is not supported")
}

func quote(s string, q byte) string {
	var b strings.Builder
	b.WriteByte(q)
	for i := range len(s) {
		if s[i] == q || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte(q)
	return b.String()
}
