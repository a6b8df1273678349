package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of ingest. The series of the normal case are looked up once.
type metrics struct {
	stored, duplicate, spooled, stale prometheus.Counter
	refused                           map[*refusal]prometheus.Counter
	events                            *prometheus.CounterVec
	seconds                           prometheus.Histogram
	inFlight                          prometheus.Gauge
	brokerAway                        prometheus.Gauge
	spoolBytes, spoolMessages         prometheus.Gauge
	spoolLimit                        prometheus.Gauge
	drained, setAside, spoolFailures  prometheus.Counter
	damaged                           prometheus.Counter
	conns                             prometheus.GaugeFunc
	evicted                           prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, openConns func() float64) *metrics {
	taken := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "simline_ingest_taken_total",
		Help: "Notifications answered with SUCCESS, by where they were made durable: stored (WEBHOOKS), duplicate (there already), stale (DEAD), spooled."}, []string{"how"})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "simline_ingest_refused_total",
		Help: "Requests not answered with SUCCESS, by reason."}, []string{"reason"})
	m := &metrics{
		stored: taken.WithLabelValues("stored"), duplicate: taken.WithLabelValues("duplicate"),
		spooled: taken.WithLabelValues("spooled"), stale: taken.WithLabelValues("stale"),
		refused: map[*refusal]prometheus.Counter{},
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "simline_ingest_events_total",
			Help: "Verified notifications by event; events that are not documented count as unknown."}, []string{"account", "event"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "simline_ingest_request_seconds",
			Help: "Time to the answer of a notification.", Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}}),
		inFlight:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "simline_ingest_in_flight", Help: "Notifications being stored."}),
		brokerAway:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "simline_ingest_broker_away", Help: "1 while NATS does not store in time and the spool takes its place."}),
		spoolBytes:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "simline_ingest_spool_bytes", Help: "Notifications in the spool, bytes."}),
		spoolLimit:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "simline_ingest_spool_limit_bytes", Help: "What the spool may hold (SPOOL_MAX_BYTES), bytes; 0 if there is no spool."}),
		spoolMessages: prometheus.NewGauge(prometheus.GaugeOpts{Name: "simline_ingest_spool_messages", Help: "Notifications in the spool."}),
		drained:       prometheus.NewCounter(prometheus.CounterOpts{Name: "simline_ingest_spool_drained_total", Help: "Notifications brought from the spool to NATS."}),
		setAside:      prometheus.NewCounter(prometheus.CounterOpts{Name: "simline_ingest_spool_set_aside_total", Help: "Spooled notifications that NATS will never take; kept in the spool for a person."}),
		spoolFailures: prometheus.NewCounter(prometheus.CounterOpts{Name: "simline_ingest_spool_failures_total", Help: "Notifications that the spool could not take."}),
		damaged:       prometheus.NewCounter(prometheus.CounterOpts{Name: "simline_ingest_spool_damaged_total", Help: "Spool files that held something else than whole notifications; kept in the spool for a person."}),
		conns:         prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "simline_ingest_connections", Help: "Open connections."}, openConns),
		evicted:       prometheus.NewCounter(prometheus.CounterOpts{Name: "simline_ingest_connections_evicted_total", Help: "Idle connections closed to make room."}),
	}
	for _, r := range refusals {
		m.refused[r] = refused.WithLabelValues(r.reason)
	}
	reg.MustRegister(taken, refused, m.events, m.seconds, m.inFlight, m.brokerAway, m.spoolBytes, m.spoolLimit, m.spoolMessages, m.drained, m.setAside, m.spoolFailures, m.damaged, m.conns, m.evicted)
	return m
}

func (m *metrics) took(start time.Time) { m.seconds.Observe(time.Since(start).Seconds()) }

// Describe registers the metrics alone, for docs/reference/metrics.md.
func Describe(reg prometheus.Registerer) { newMetrics(reg, func() float64 { return 0 }) }
