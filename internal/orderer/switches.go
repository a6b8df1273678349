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

	mu sync.Mutex
	on map[string]bool
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
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("switches: %w", err)
	}
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("switches: the watch ended early")
			}
			if e == nil {
				go s.follow(w)
				return nil
			}
			s.set(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *switches) follow(w jetstream.KeyWatcher) {
	for e := range w.Updates() {
		if e != nil {
			s.set(e)
		}
	}
}

func (s *switches) set(e jetstream.KeyValueEntry) {
	on := e.Operation() == jetstream.KeyValuePut && SwitchIsOn(e.Value())
	s.mu.Lock()
	was := s.on[e.Key()]
	if s.on == nil {
		s.on = map[string]bool{}
	}
	s.on[e.Key()] = on
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
