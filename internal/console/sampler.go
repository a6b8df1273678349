package console

import (
	"context"
	"sync"
	"time"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/order"
)

// Line is one of the five lines as it runs now.
type Line struct {
	Name, Does string
	// Rates are what goes through it, the newest last, per minute.
	Flows []Flow
	// Waits are what has not gone through yet.
	Waits []Wait
	Spark []float64 // of the first flow
	State string    // ok, behind, quiet
}

// Flow is a count that grows.
type Flow struct {
	Name      string
	PerMinute float64
	Total     uint64
}

// Wait is what a consumer has before it.
type Wait struct {
	Name             string
	Pending, Unacked uint64
}

const (
	sampleEvery = 5 * time.Second
	sampleKeep  = 120 // ten minutes
	// behindAbove messages that wait are more than a moment's work.
	behindAbove = 1000
)

// sample is what the server said at one moment.
type sample struct {
	at       time.Time
	last     map[string]uint64 // last sequence by stream
	messages map[string]uint64
	waits    map[string]Wait // by STREAM/consumer
}

// sampler asks the server every few seconds how far streams and consumers are. It
// reads no message.
type sampler struct {
	b   *bus.Bus
	now func() time.Time

	mu   sync.Mutex
	ring []sample
	err  error
}

func newSampler(b *bus.Bus, now func() time.Time) *sampler { return &sampler{b: b, now: now} }

func (s *sampler) run(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		s.take(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// take adds a sample; a server that does not answer adds none.
func (s *sampler) take(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sampleEvery)
	defer cancel()
	one := sample{at: s.now(), last: map[string]uint64{}, messages: map[string]uint64{}, waits: map[string]Wait{}}
	err := s.ask(ctx, &one)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err = err; err != nil {
		return
	}
	s.ring = append(s.ring, one)
	if len(s.ring) > sampleKeep {
		s.ring = s.ring[len(s.ring)-sampleKeep:]
	}
}

func (s *sampler) ask(ctx context.Context, one *sample) error {
	topo := bus.NewTopology(bus.DefaultSettings())
	for _, sc := range topo.Streams {
		st, err := s.b.JS.Stream(ctx, sc.Name)
		if err != nil {
			return err
		}
		state := st.CachedInfo().State
		one.last[sc.Name], one.messages[sc.Name] = state.LastSeq, state.Msgs
		for _, cc := range topo.Consumers[sc.Name] {
			c, err := st.Consumer(ctx, cc.Durable)
			if err != nil {
				return err
			}
			info := c.CachedInfo()
			one.waits[sc.Name+"/"+cc.Durable] = Wait{Name: cc.Durable, Pending: info.NumPending, Unacked: uint64(max(0, info.NumAckPending))}
		}
	}
	return nil
}

// latest is the newest sample; false before the first.
func (s *sampler) latest() (sample, error, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ring) == 0 {
		return sample{}, s.err, false
	}
	return s.ring[len(s.ring)-1], s.err, true
}

// lines draws the five lines from what was sampled.
func (s *sampler) lines() []Line {
	s.mu.Lock()
	ring := append([]sample(nil), s.ring...)
	s.mu.Unlock()
	flow := func(name, stream string) Flow { return flowOf(ring, name, stream) }
	wait := func(keys ...string) []Wait {
		var out []Wait
		for _, k := range keys {
			if len(ring) > 0 {
				out = append(out, ring[len(ring)-1].waits[k])
			}
		}
		return out
	}
	var orders, evidence, hooks, archive []string
	for _, sup := range order.Suppliers {
		orders = append(orders, bus.StreamOrders+"/"+bus.ConsumerOrderer(sup))
		evidence = append(evidence, bus.StreamEvidence+"/"+bus.ConsumerEvidence(sup))
		hooks = append(hooks, bus.StreamWebhooks+"/"+bus.ConsumerOrdererWebhooks(sup))
	}
	for _, stream := range bus.ArchivedStreams {
		archive = append(archive, stream+"/"+bus.ConsumerArchiver(stream))
	}
	list := []Line{
		{Name: "ingest", Does: "notifications stored", Flows: []Flow{flow("notifications", bus.StreamWebhooks)}},
		{Name: "orderer", Does: "orders moved", Flows: []Flow{flow("order events", bus.StreamOrderEvents), flow("requests", bus.StreamOrders), flow("evidence", bus.StreamEvidence)},
			Waits: wait(append(append(orders, evidence...), hooks...)...)},
		{Name: "cdrpull", Does: "usage loaded", Flows: []Flow{flow("files", bus.StreamCDREvents), flow("files announced", bus.StreamCDR)}, Waits: wait(bus.StreamCDR + "/" + bus.ConsumerCDRPull)},
		{Name: "reconciler", Does: "books compared", Flows: []Flow{flow("findings", bus.StreamFindings), flow("tasks", bus.StreamTasks)}, Waits: wait(bus.StreamTasks + "/" + bus.ConsumerReconcilerTasks)},
		{Name: "archiver", Does: "kept in ClickHouse", Flows: []Flow{archived(ring)}, Waits: wait(archive...)},
	}
	for i := range list {
		l := &list[i]
		l.Spark = sparkOf(ring, l.Name)
		l.State = "quiet"
		if l.Flows[0].PerMinute > 0 {
			l.State = "ok"
		}
		for _, w := range l.Waits {
			if w.Pending > behindAbove {
				l.State = "behind"
			}
		}
	}
	return list
}

// flowOf is how fast a stream grew over the last minute, or since the first sample.
func flowOf(ring []sample, name, stream string) Flow {
	f := Flow{Name: name}
	if len(ring) == 0 {
		return f
	}
	end := ring[len(ring)-1]
	begin := ring[max(0, len(ring)-1-int(time.Minute/sampleEvery))]
	f.Total, f.PerMinute = end.last[stream], perMinute(begin, end, end.last[stream], begin.last[stream])
	return f
}

func perMinute(begin, end sample, now, then uint64) float64 {
	if d := end.at.Sub(begin.at).Minutes(); d > 0 && now > then {
		return float64(now-then) / d
	}
	return 0
}

// settledBy is how many messages archiver has behind it at a sample.
func settledBy(s sample) uint64 {
	var n uint64
	for _, stream := range bus.ArchivedStreams {
		w := s.waits[stream+"/"+bus.ConsumerArchiver(stream)]
		if left := w.Pending + w.Unacked; left < s.last[stream] {
			n += s.last[stream] - left
		}
	}
	return n
}

func archived(ring []sample) Flow {
	f := Flow{Name: "messages"}
	if len(ring) == 0 {
		return f
	}
	end := ring[len(ring)-1]
	begin := ring[max(0, len(ring)-1-int(time.Minute/sampleEvery))]
	f.Total, f.PerMinute = settledBy(end), perMinute(begin, end, settledBy(end), settledBy(begin))
	return f
}

// firstFlow is the stream that a line's small chart follows.
var firstFlow = map[string]string{"ingest": bus.StreamWebhooks, "orderer": bus.StreamOrderEvents, "cdrpull": bus.StreamCDREvents, "reconciler": bus.StreamFindings}

func sparkOf(ring []sample, line string) []float64 {
	var out []float64
	for i := 1; i < len(ring); i++ {
		now, then := ring[i].last[firstFlow[line]], ring[i-1].last[firstFlow[line]]
		if line == "archiver" {
			now, then = settledBy(ring[i]), settledBy(ring[i-1])
		}
		out = append(out, perMinute(ring[i-1], ring[i], now, then))
	}
	return out
}
