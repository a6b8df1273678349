package orderer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
)

// switches are what people have switched off, followed live: a key
// "<supplier>.pause" stops all calls to a supplier, "<supplier>.spend_stop" stops
// buying and lets looks go on; "all" stands for every supplier.
type switches struct {
	log *slog.Logger
	m   *Metrics

	mu   sync.Mutex
	on   map[string]bool
	seen map[string]uint64 // the revision that on is of, by key
	last uint64            // all that the bucket held up to this revision was heard
}

// Switch is the value of a switch. Any other value than one that is plainly off
// counts as on: who wrote it wanted something stopped.
type Switch struct {
	On     bool   `json:"on"`
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	At     string `json:"at,omitempty"` // RFC 3339
}

// Names of switches.
const (
	SwitchPause     = "pause"
	SwitchSpendStop = "spend_stop"
	SwitchAll       = "all"
)

// SwitchIsOn reads a switch's value: on unless it is plainly off.
func SwitchIsOn(value []byte) bool {
	var s struct {
		On *bool `json:"on"`
	}
	if json.Unmarshal(value, &s) == nil && s.On != nil {
		return *s.On
	}
	switch strings.ToLower(strings.Trim(strings.TrimSpace(string(value)), `"`)) {
	case "", "0", "off", "false", "no", "null":
		return false
	}
	return true
}

// switchCheck is the time between two questions whether the watch has heard all.
const switchCheck = time.Second

// watch reads what stands and returns once that is known; it then follows the
// bucket until ctx ends.
func (s *switches) watch(ctx context.Context, js jetstream.JetStream) error {
	kv, err := js.KeyValue(ctx, bus.BucketSwitches)
	if err != nil {
		return fmt.Errorf("switches: %w", err)
	}
	for _, supplier := range append([]string{SwitchAll}, order.Suppliers...) {
		for _, name := range []string{SwitchPause, SwitchSpendStop} {
			s.m.switches.WithLabelValues(supplier, name).Set(0)
		}
	}
	w, err := s.begin(ctx, kv)
	if err != nil {
		return fmt.Errorf("switches: %w", err)
	}
	go s.follow(ctx, kv, w)
	return nil
}

// begin reads what stands and returns the watch that tells what changes from then on.
func (s *switches) begin(ctx context.Context, kv jetstream.KeyValue) (jetstream.KeyWatcher, error) {
	asked, cancel := context.WithTimeout(ctx, bus.PublishTimeout)
	defer cancel()
	at, err := lastRevision(asked, kv)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	if at < s.last {
		s.seen = nil // another bucket of that name: it counts anew
	}
	s.last = at // what was removed up to there nobody tells
	s.mu.Unlock()
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return nil, err
	}
	for {
		select {
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return nil, errors.New("the watch ended early")
			case e != nil:
				s.set(e)
				continue
			}
			return w, nil
		case <-asked.Done():
			_ = w.Stop() // its consumer goes by itself if nobody asks for it
			return nil, asked.Err()
		}
	}
}

// follow takes in what changes. The watch tells it at once; but it is a consumer in
// the memory of one server, which goes with that server, and nobody hears of it for
// 15 s: too long for who wants spending stopped. So the bucket is asked each second
// whether it holds what the watch has told.
func (s *switches) follow(ctx context.Context, kv jetstream.KeyValue, w jetstream.KeyWatcher) {
	check := time.NewTicker(switchCheck)
	defer check.Stop()
	behind := false
	for {
		select {
		case <-ctx.Done():
			return // and the watch with it
		case e := <-w.Updates():
			if e != nil {
				s.set(e)
				continue
			}
			behind = true // ended
		case <-check.C:
			behind = behind || s.behind(ctx, kv)
		}
		if !behind {
			continue
		}
		fresh, err := s.begin(ctx, kv)
		if err != nil {
			s.log.Warn("switches are not followed", "error", err)
			select {
			case <-ctx.Done():
			case <-check.C: // again with the next
			}
			continue
		}
		_ = w.Stop() // it is deaf, or gone
		w, behind = fresh, false
	}
}

// behind says whether the bucket is at another revision than what was heard. What cannot be asked is
// not behind: then nobody can set a switch either.
func (s *switches) behind(ctx context.Context, kv jetstream.KeyValue) bool {
	ctx, cancel := context.WithTimeout(ctx, bus.PublishTimeout)
	defer cancel()
	at, err := lastRevision(ctx, kv)
	s.mu.Lock()
	defer s.mu.Unlock()
	return err == nil && at != s.last
}

func lastRevision(ctx context.Context, kv jetstream.KeyValue) (uint64, error) {
	status, err := kv.Status(ctx)
	if err != nil {
		return 0, err
	}
	b, ok := status.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return 0, fmt.Errorf("a bucket's status of type %T", status)
	}
	return b.StreamInfo().State.LastSeq, nil
}

func (s *switches) set(e jetstream.KeyValueEntry) {
	on := e.Operation() == jetstream.KeyValuePut && SwitchIsOn(e.Value())
	s.mu.Lock()
	if e.Revision() < s.seen[e.Key()] {
		s.mu.Unlock()
		return // of a watch, or a replica, that is behind
	}
	was := s.on[e.Key()]
	if s.on == nil {
		s.on = map[string]bool{}
	}
	if s.seen == nil {
		s.seen = map[string]uint64{}
	}
	s.on[e.Key()], s.seen[e.Key()], s.last = on, e.Revision(), max(s.last, e.Revision())
	s.mu.Unlock()
	supplier, name, _ := strings.Cut(e.Key(), ".")
	if known := supplier == SwitchAll || slices.Contains(order.Suppliers, supplier); known && (name == SwitchPause || name == SwitchSpendStop) {
		s.m.switches.WithLabelValues(supplier, name).Set(map[bool]float64{true: 1}[on])
	}
	if on != was {
		s.log.Warn("switch", "key", e.Key(), "on", on)
	}
}

// paused: no call at all to this supplier.
func (s *switches) paused(supplier string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on[supplier+"."+SwitchPause] || s.on[SwitchAll+"."+SwitchPause]
}

// noSpend: nothing is bought from this supplier.
func (s *switches) noSpend(supplier string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on[supplier+"."+SwitchPause] || s.on[SwitchAll+"."+SwitchPause] ||
		s.on[supplier+"."+SwitchSpendStop] || s.on[SwitchAll+"."+SwitchSpendStop]
}
