package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// spool keeps notifications on a local disk while NATS does not take them. It is
// a row of append-only files of checksummed frames: whatever a crash, a torn
// write or a bad sector does to a file, every frame that is whole is found again
// and nothing else is. (A B-tree file such as bbolt's cannot promise that: one
// flipped byte in a branch page or a cut end loses it or faults the process.)
//
// Many puts share one fsync. Files are drained in order and removed when all in
// them is stored in NATS; after a crash a file begins anew, and what was stored
// already is known there by its message id.
type spool struct {
	dir  string
	max  int64
	log  *slog.Logger
	m    *metrics
	lock *os.File
	wait time.Duration // spoolWait, but for tests

	puts   chan put
	sealed chan chan error // the drainer asks for the open file
	done   chan struct{}   // closed when the writer has ended
	stop   context.CancelFunc

	bytes atomic.Int64 // of all files
	count atomic.Int64 // messages that wait

	mu    sync.Mutex
	files []*spoolFile // in order; the last may be open for writing
}

// spoolFile is one file of the spool.
type spoolFile struct {
	path  string
	size  int64
	count int64
	open  *os.File // nil once sealed
	done  int      // frames at its beginning that are stored in NATS
}

type put struct {
	m    *message
	done chan error // of capacity 1
}

const (
	segmentBytes = 4 << 20
	// spoolWait is how long a notification waits for the disk.
	spoolWait = 250 * time.Millisecond
	spoolExt  = ".spool"
	// damagedExt and asideName keep for a person what must not be lost silently.
	damagedExt = ".damaged"
	asideName  = "set-aside"
)

// Errors of put.
var (
	errSpoolFull = errors.New("spool is full")
	errSpoolSlow = errors.New("spool does not write in time")
)

// openSpool locks dir, which it makes, and finds what waits in it.
func openSpool(dir string, maxBytes int64, log *slog.Logger, m *metrics) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("spool: %s is used by another process: %w", dir, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &spool{dir: dir, max: maxBytes, log: log, m: m, lock: lock, wait: spoolWait, puts: make(chan put, 4096), sealed: make(chan chan error), done: make(chan struct{}), stop: stop}
	last, err := s.recover()
	if err != nil {
		stop()
		_ = lock.Close()
		return nil, fmt.Errorf("spool: %w", err)
	}
	go s.write(ctx, last+1)
	return s, nil
}

// recover lists the files and returns the highest number of a frame in them.
func (s *spool) recover() (last uint64, err error) {
	entries, err := os.ReadDir(s.dir) // sorted by name
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		if !strings.HasSuffix(e.Name(), spoolExt) {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		// The name bears the file's first number, so that one whose frames are all
		// broken does not make us use their numbers again.
		var first uint64
		if _, err := fmt.Sscanf(e.Name(), "%016x"+spoolExt, &first); err != nil {
			return 0, fmt.Errorf("%s is no spool file: %w", e.Name(), err)
		}
		last = max(last, first)
		frames, _ := scanFrames(b)
		for _, f := range frames {
			last = max(last, f.n)
		}
		s.files = append(s.files, &spoolFile{path: path, size: int64(len(b)), count: int64(len(frames))})
		s.add(int64(len(b)), int64(len(frames)))
	}
	return last, nil
}

func (s *spool) add(bytes, count int64) {
	s.m.spoolBytes.Set(float64(s.bytes.Add(bytes)))
	s.m.spoolMessages.Set(float64(s.count.Add(count)))
}

// full says whether the spool has no room for a large notification.
func (s *spool) full() bool { return s.bytes.Load()+MaxBody > s.max }

// put returns nil once m is on the disk.
func (s *spool) put(m *message) error {
	p := put{m: m, done: make(chan error, 1)}
	t := time.NewTimer(s.wait)
	defer t.Stop()
	select {
	case s.puts <- p:
	case <-s.done:
		return errors.New("spool is closed")
	case <-t.C:
		return errSpoolSlow
	}
	select {
	case err := <-p.done:
		return err
	case <-t.C:
		return errSpoolSlow // it may still be written and drained: its id makes that harmless
	}
}

// write is the one goroutine that writes: it takes what waits, writes it at once
// and fsyncs once.
func (s *spool) write(ctx context.Context, next uint64) {
	defer close(s.done)
	for {
		select {
		case <-ctx.Done():
			_ = s.seal() // all that was answered is on the disk already
			return
		case ask := <-s.sealed:
			ask <- s.seal()
		case p := <-s.puts:
			next = s.writeAll(next, s.gather(p))
		}
	}
}

// gather takes what waits along with p, up to a file's worth.
func (s *spool) gather(p put) []put {
	batch := []put{p}
	for size := len(p.m.data); size < segmentBytes; size += len(p.m.data) {
		select {
		case p = <-s.puts:
			batch = append(batch, p)
		default:
			return batch
		}
	}
	return batch
}

// writeAll numbers the batch from next, makes it durable and tells each how it
// went. It returns the next number.
func (s *spool) writeAll(next uint64, batch []put) uint64 {
	var buf []byte
	var taken []put
	room := s.max - s.bytes.Load()
	for _, p := range batch {
		grown, err := appendFrame(buf, next+uint64(len(taken)), p.m)
		switch {
		case err != nil:
			p.done <- err
		case int64(len(grown)) > room:
			p.done <- errSpoolFull
		default:
			buf, taken = grown, append(taken, p)
		}
	}
	if len(taken) == 0 {
		return next
	}
	err := s.append(buf, next, int64(len(taken)))
	// If we die here: the frames are on the disk and will be drained, although
	// nobody was told; of a write that was cut short, the whole ones count.
	for _, p := range taken {
		p.done <- err
	}
	return next + uint64(len(taken))
}

// append writes frames to the open file, making one if need be, and fsyncs.
func (s *spool) append(b []byte, first uint64, count int64) error {
	f, err := s.current(first)
	if err != nil {
		return err
	}
	_, err = f.open.Write(b)
	if err == nil {
		err = f.open.Sync()
	}
	if err != nil {
		// What is written of it cannot be trusted and the file's state is not known:
		// cut it off if that is possible, and go on in another file.
		s.log.Error("spool: write failed", "error", err)
		_ = f.open.Truncate(f.size)
		_ = s.seal()
		return fmt.Errorf("write: %w", err)
	}
	s.mu.Lock()
	f.size += int64(len(b))
	f.count += count
	s.mu.Unlock()
	s.add(int64(len(b)), count)
	if f.size >= segmentBytes {
		_ = s.seal() // what counts was fsynced
	}
	return nil
}

// current is the open file; only the writer asks.
func (s *spool) current(first uint64) (*spoolFile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.files); n > 0 && s.files[n-1].open != nil {
		return s.files[n-1], nil
	}
	path := filepath.Join(s.dir, fmt.Sprintf("%016x%s", first, spoolExt))
	open, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if errors.Is(err, fs.ErrExist) {
		// Left by a write that failed: its number was not used for anything that counts.
		open, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	}
	if err != nil {
		return nil, err
	}
	if err := syncDir(s.dir); err != nil {
		_ = open.Close()
		return nil, err
	}
	f := &spoolFile{path: path, open: open}
	s.files = append(s.files, f)
	return f, nil
}

// seal closes the open file, so that it can be drained.
func (s *spool) seal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.files)
	if n == 0 || s.files[n-1].open == nil {
		return nil
	}
	f := s.files[n-1]
	err := f.open.Close()
	f.open = nil
	if f.count == 0 {
		_ = os.Remove(f.path) // if it stays it is found empty later
		s.files = s.files[:n-1]
	}
	return err
}

// oldest is the first file, sealed; nil if nothing waits.
func (s *spool) oldest() (*spoolFile, error) {
	s.mu.Lock()
	var f *spoolFile
	if len(s.files) > 0 {
		f = s.files[0]
	}
	open := f != nil && f.open != nil
	s.mu.Unlock()
	if !open {
		return f, nil
	}
	ask := make(chan error, 1)
	select {
	case s.sealed <- ask:
	case <-s.done:
		return nil, errors.New("spool is closed")
	}
	if err := <-ask; err != nil {
		return nil, err
	}
	return s.oldest()
}

// remove takes away a file all of which is stored in NATS. One that was damaged
// is kept aside for a person.
func (s *spool) remove(f *spoolFile, damaged bool) error {
	var err error
	if damaged {
		err = os.Rename(f.path, f.path+damagedExt)
	} else {
		err = os.Remove(f.path)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.files = slices.DeleteFunc(s.files, func(o *spoolFile) bool { return o == f })
	s.mu.Unlock()
	s.add(-f.size, 0)
	return nil
}

// setAside keeps a message that NATS will never take in a file of its own.
func (s *spool) setAside(f frame) error {
	b, err := appendFrame(nil, f.n, &f.message)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(s.dir, asideName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Write(b); err != nil {
		return err
	}
	return file.Sync()
}

// close ends the writer and lets the directory go.
func (s *spool) close() error {
	s.stop()
	<-s.done
	return s.lock.Close()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
