package cdrpull

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

// States of a file in the bucket cdr_files. ClickHouse's simline.cdr_files is
// the record of what was loaded; this is how replicas tell each other what to
// do next.
const (
	stateAnnounced = "announced"    // a message lies in the queue, or is being worked on
	stateReread    = "reread"       // the same, asked for: read it although it is known
	stateForced    = "forced"       // the same, and load it whatever it looks like
	stateUnended   = "unended"      // read, but its last line has no end: wait
	stateWaited    = "waited"       // announced after having waited: an unended last row counts
	stateLoaded    = "loaded"       //
	stateRejects   = "with_rejects" // loaded, with bad rows set aside
	stateHeld      = "held"         // not loaded: a person must look
	stateChanged   = "changed"      // was not what was announced: look again
	stateGap       = "gap"          // of a gap's entry: it has been announced
)

// fileState is what the bucket says of one file.
type fileState struct {
	State    string    `json:"state"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"` // as the listing told it
	// Stamp is the file's time when it was read, to the second; zero if the server
	// does not tell. Checked: it had this time when its minute was over as well.
	Stamp   time.Time `json:"stamp,omitzero"`
	Checked bool      `json:"checked,omitempty"`
	SHA256  string    `json:"sha256,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Cut     bool      `json:"cut,omitempty"` // unended in the middle of a row, or empty: it never counts
	Try     int       `json:"try"`           // announcements so far
	At      time.Time `json:"at"`
	// Asked is the newest wish for a reading, by its place in the stream CDR, that
	// this state answers, or will once it is not queued any more.
	Asked uint64 `json:"asked,omitempty"`

	revision uint64 // of the entry; 0: there is none
}

// done reports whether the file, as the state knows it, needs no more work.
func (s fileState) done() bool {
	return s.State == stateLoaded || s.State == stateRejects || s.State == stateHeld
}

// ordered: somebody wants it read, also if this very content was loaded before.
func (s fileState) ordered() bool { return s.State == stateReread || s.forced() }

// forced: a person wants it loaded whatever it looks like.
func (s fileState) forced() bool { return s.State == stateForced }

// news: the state does not answer this wish, by its place in the stream and its
// time, which tells when the stream was made anew and counts from 1 again. Clocks
// that differ cost a reading too many, never one too few.
func (s fileState) news(wish uint64, at time.Time) bool {
	return wish > s.Asked || wish < s.Asked && at.After(s.At)
}

func (s fileState) queued() bool {
	return s.State == stateAnnounced || s.State == stateReread || s.State == stateForced || s.State == stateWaited
}

// states is the bucket, and a copy of it in memory kept up to date by a watch,
// so that looking at a directory of 100,000 files asks the server nothing.
type states struct {
	kv jetstream.KeyValue

	mu   sync.RWMutex
	copy map[string]fileState
}

// openStates binds to the bucket and reads all of it. Updates follow until ctx ends.
func openStates(ctx context.Context, b *bus.Bus) (*states, error) {
	kv, err := b.JS.KeyValue(ctx, bus.BucketCDRFiles)
	if err != nil {
		return nil, fmt.Errorf("bind to bucket %s (simctl provision makes it): %w", bus.BucketCDRFiles, err)
	}
	s := &states{kv: kv, copy: map[string]fileState{}}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch bucket %s: %w", bus.BucketCDRFiles, err)
	}
	ready := make(chan struct{})
	go func() {
		for e := range w.Updates() {
			if e == nil { // all that was there has come
				close(ready)
				continue
			}
			s.see(e)
		}
	}()
	select {
	case <-ready:
		return s, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("read bucket %s: %w", bus.BucketCDRFiles, context.Cause(ctx))
	}
}

func (s *states) see(e jetstream.KeyValueEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Operation() != jetstream.KeyValuePut {
		delete(s.copy, e.Key())
		return
	}
	var f fileState
	if err := json.Unmarshal(e.Value(), &f); err != nil {
		// Not written by us: to be looked at as if it were not there, and
		// overwritten by its revision.
		f = fileState{}
	}
	f.revision = e.Revision()
	if f.revision >= s.copy[e.Key()].revision {
		s.copy[e.Key()] = f
	}
}

func fileKey(account, file string) string { return account + "." + file }

func gapKey(account string, start time.Time) string {
	return "gap." + account + "." + start.UTC().Format("200601021504")
}

// seen is what the copy says; it may be a moment old.
func (s *states) seen(key string) fileState {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.copy[key]
}

// each calls f for all of the copy.
func (s *states) each(f func(key string, st fileState)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for key, st := range s.copy {
		f(key, st)
	}
}

// get asks the server.
func (s *states) get(ctx context.Context, key string) (fileState, error) {
	ctx, cancel := answered(ctx)
	defer cancel()
	e, err := s.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return fileState{}, nil
	}
	if err != nil {
		return fileState{}, fmt.Errorf("state of %s: %w", key, err)
	}
	var f fileState
	if err := json.Unmarshal(e.Value(), &f); err != nil {
		f = fileState{}
	}
	f.revision = e.Revision()
	return f, nil
}

// answered bounds the wait for one answer. The bucket's own bound holds only where
// ctx has no deadline: a look at a directory has one, minutes away, and an answer
// that was lost with its node would be waited for until then.
func answered(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, bus.PublishTimeout)
}

// errMoved: somebody else wrote the entry since it was read.
var errMoved = errors.New("the file's state was changed by another")

// put writes the state over the revision it was read at, and returns its own.
func (s *states) put(ctx context.Context, key string, f fileState) (uint64, error) {
	b, err := json.Marshal(f)
	if err != nil {
		return 0, fmt.Errorf("state of %s: %w", key, err)
	}
	ctx, cancel := answered(ctx)
	defer cancel()
	var rev uint64
	if f.revision == 0 {
		rev, err = s.kv.Create(ctx, key, b) // over a deleted entry as well
	} else {
		rev, err = s.kv.Update(ctx, key, b, f.revision)
	}
	if bus.IsConflict(err) {
		return 0, fmt.Errorf("state of %s: %w", key, errMoved)
	}
	if err != nil {
		return 0, fmt.Errorf("state of %s: %w", key, err)
	}
	f.revision = rev
	s.mu.Lock()
	defer s.mu.Unlock()
	if rev >= s.copy[key].revision {
		s.copy[key] = f
	}
	return rev, nil
}

// remove forgets an entry.
func (s *states) remove(ctx context.Context, key string) error {
	ctx, cancel := answered(ctx)
	defer cancel()
	if err := s.kv.Delete(ctx, key); err != nil {
		return fmt.Errorf("forget %s: %w", key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.copy, key)
	return nil
}
