// Package dirlock keeps two processes from using one directory at a time.
//
// Input: a directory. Output: a lock that the kernel drops when its holder
// dies, kill -9 included. It never looks into the directory and removes nothing.
package dirlock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrHeld: another process, or another server in this one, has the directory.
var ErrHeld = errors.New("in use by another server")

// fileName lies in the locked directory and holds the pid of its last owner.
const fileName = ".simline.lock"

// Lock is one held directory.
type Lock struct{ f *os.File }

// Acquire makes dir if need be and locks it, or fails at once with an error
// that wraps ErrHeld and names the holder's pid.
func Acquire(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory to lock: %w", err)
	}
	return open(filepath.Join(dir, fileName), syscall.LOCK_EX|syscall.LOCK_NB)
}

// Wait is Acquire that waits, without a limit, for the holder to let go.
func Wait(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory to lock: %w", err)
	}
	return open(filepath.Join(dir, fileName), syscall.LOCK_EX)
}

func open(name string, how int) (*Lock, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), how)
	for errors.Is(err, syscall.EINTR) {
		err = syscall.Flock(int(f.Fd()), how)
	}
	if err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("directory %s is %w (%s)", filepath.Dir(name), ErrHeld, holder(f))
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	// The pid is for the reader of a message only; the kernel's lock decides.
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(io.NewOffsetWriter(f, 0), "%d\n", os.Getpid())
	}
	return &Lock{f: f}, nil
}

func holder(f *os.File) string {
	b, _ := io.ReadAll(io.LimitReader(f, 32))
	if pid := strings.TrimSpace(string(b)); pid != "" {
		return "pid " + pid
	}
	return "pid unknown"
}

// Release lets the directory go. The lock file stays: removing it would let two
// processes hold locks on two files of one name.
func (l *Lock) Release() error {
	if err := l.f.Close(); err != nil {
		return fmt.Errorf("release %s: %w", l.f.Name(), err)
	}
	return nil
}
