package archiver

import "github.com/prometheus/client_golang/prometheus"

// metrics of archiver, by stream.
type metrics struct {
	archived, batches, failures, skipped, lost *prometheus.CounterVec
	lag, lagSeconds, active                    *prometheus.GaugeVec
	insertSeconds                              *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "simline_archiver_" + name, Help: help}, []string{"stream"})
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "simline_archiver_" + name, Help: help}, []string{"stream"})
	}
	m := &metrics{
		archived:   counter("archived_total", "Messages archived in ClickHouse."),
		batches:    counter("batches_total", "Batches inserted."),
		failures:   counter("insert_failures_total", "Inserts that failed or whose outcome is unknown, and times that the place to go on from could not be found; each is repeated."),
		skipped:    counter("skipped_total", "Messages that could not be read and were set aside in DEAD."),
		lost:       counter("lost_total", "Messages that the stream dropped before they were archived."),
		lag:        gauge("lag_messages", "Messages on the stream that are not in ClickHouse yet. Only on the replica that archives the stream."),
		lagSeconds: gauge("lag_seconds", "Age of the oldest message on the stream that is not in ClickHouse yet; 0 if there is none. Only on the replica that archives the stream."),
		active:     gauge("active", "1 on the replica that archives the stream."),
		insertSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "simline_archiver_insert_seconds",
			Help: "Time of an insert.", Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"stream"}),
	}
	reg.MustRegister(m.archived, m.batches, m.failures, m.skipped, m.lost, m.lag, m.lagSeconds, m.active, m.insertSeconds)
	return m
}

// Describe registers the metrics alone, for docs/reference/metrics.md.
func Describe(reg prometheus.Registerer) { newMetrics(reg) }
