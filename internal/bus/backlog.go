package bus

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// Backlog tells Prometheus what lies on the server for a worker: it asks at each
// scrape, so that the figures do not depend on messages moving. Every replica
// tells the same; take the max, not the sum.
type Backlog struct {
	b     *Bus
	names []string // as Need takes them, without buckets

	messages, oldest, pending, unacked, backlog *prometheus.Desc
}

// NewBacklog makes a collector for streams ("DEAD") and consumers
// ("ORDERS/orderer-eiotclub"); buckets among names are left out.
func NewBacklog(b *Bus, names ...string) *Backlog {
	c := &Backlog{
		b: b,
		messages: prometheus.NewDesc("simline_bus_stream_messages", "Messages on a stream. On EVIDENCE and CDR those that are not done, on ORDERS also those done within about a second; on DEAD those that a person should look at.",
			[]string{"stream"}, nil),
		oldest: prometheus.NewDesc("simline_bus_oldest_message_seconds", "Age of the oldest message on a queue (ORDERS, EVIDENCE, CDR) that is not done, in work or not; 0 if there is none.",
			[]string{"stream"}, nil),
		backlog: prometheus.NewDesc("simline_bus_backlog_messages", "Pending and unacknowledged together: what a consumer has before it. What replicas are scaled by.", []string{"stream", "consumer"}, nil),
		pending: prometheus.NewDesc("simline_bus_pending_messages", "Messages that a consumer has not been given yet.", []string{"stream", "consumer"}, nil),
		unacked: prometheus.NewDesc("simline_bus_unacked_messages", "Messages that a consumer was given and has not acknowledged: in work.", []string{"stream", "consumer"}, nil),
	}
	for _, n := range names {
		if !strings.HasPrefix(n, "kv/") {
			c.names = append(c.names, n)
		}
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *Backlog) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.messages
	ch <- c.oldest
	ch <- c.backlog
	ch <- c.pending
	ch <- c.unacked
}

// Collect implements prometheus.Collector. What cannot be had is left out: a gap
// in a graph, instead of a zero that looks like peace.
func (c *Backlog) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, name := range c.names {
		if ctx.Err() != nil || !c.b.NC.IsConnected() {
			return
		}
		stream, consumer, ok := strings.Cut(name, "/")
		if !ok {
			if s, err := c.b.JS.Stream(ctx, stream); err == nil {
				info := s.CachedInfo()
				gauge(c.messages, float64(info.State.Msgs), stream)
				if oldest, ok := c.b.oldestOf(ctx, info); ok {
					gauge(c.oldest, oldest, stream)
				}
			}
			continue
		}
		if d, err := c.b.JS.Consumer(ctx, stream, consumer); err == nil {
			info := d.CachedInfo()
			gauge(c.pending, float64(info.NumPending), stream, consumer)
			gauge(c.unacked, float64(info.NumAckPending), stream, consumer)
			gauge(c.backlog, float64(info.NumPending)+float64(info.NumAckPending), stream, consumer)
		}
	}
}

// oldestOf is the age in seconds, by our clock, of the oldest message of a queue that
// is not done; false for a stream that is none, and if nobody can say.
func (b *Bus) oldestOf(ctx context.Context, info *jetstream.StreamInfo) (seconds float64, ok bool) {
	var at time.Time
	switch {
	case info.Config.Name == StreamOrders:
		var err error
		if at, err = b.oldestOpen(ctx, StreamOrders); err != nil {
			return 0, false
		}
	case info.Config.Retention != jetstream.WorkQueuePolicy:
		return 0, false
	case info.State.Msgs > 0:
		at = info.State.FirstTime
	}
	if at.IsZero() {
		return 0, true
	}
	return max(0, time.Since(at).Seconds()), true
}
