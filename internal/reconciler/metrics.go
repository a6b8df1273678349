package reconciler

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/simline/simline/internal/wire"
)

// Metrics are what an SRE sees of this worker.
type Metrics struct {
	passes   *prometheus.CounterVec
	failures *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	answers  *prometheus.HistogramVec
	daysLeft *prometheus.GaugeVec
	doneAt   *prometheus.GaugeVec
	covered  *prometheus.GaugeVec
	open     *prometheus.GaugeVec
	changes  *prometheus.CounterVec
	evidence *prometheus.CounterVec
	calls    *prometheus.CounterVec
	optimum  *prometheus.CounterVec
	rows     *prometheus.CounterVec
	ended    *prometheus.CounterVec
	zone     *prometheus.GaugeVec
	balance  *prometheus.GaugeVec
	blind    *prometheus.GaugeVec
	rereads  *prometheus.CounterVec

	mu       sync.Mutex
	standing map[string]map[string]int // open findings by kind, then by job
}

// NewMetrics registers the metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "simline_recon_" + name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: "simline_recon_" + name, Help: help}, labels)
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return f.NewHistogramVec(prometheus.HistogramOpts{Name: "simline_recon_" + name, Help: help,
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800}}, labels)
	}
	return &Metrics{
		standing: map[string]map[string]int{},
		passes:   counter("passes_total", "Spans done.", "job"),
		failures: counter("failures_total", "Passes that failed and were tried again; why is error or panic.", "job", "why"),
		seconds:  histogram("pass_seconds", "Time that a span of the job took.", "job"),
		answers:  histogram("supplier_call_seconds", "Calls to suppliers, by endpoint and the answer's code.", "supplier", "op", "code"),
		daysLeft: gauge("balance_days_left", "For how many days an account's balance lasts at the rate of the last 24 hours; absent while nothing is spent.", "supplier", "account"),
		doneAt:   gauge("last_done_timestamp_seconds", "When a span of the job was last done.", "job"),
		covered:  gauge("covered_until_timestamp_seconds", "Up to when the job has compared.", "job"),
		open:     gauge("findings_open", "Findings that are open, without the accepted ones.", "kind"),
		changes:  counter("finding_changes_total", "Findings opened, updated, accepted or closed.", "kind", "status"),
		evidence: counter("evidence_total", "Evidence handed to orderer.", "supplier", "certainty"),
		calls:    counter("calls_total", "Calls made to suppliers, those made again included.", "job", "endpoint"),
		optimum:  counter("calls_optimum_total", "The least calls that could have answered.", "job", "endpoint"),
		rows:     counter("rows_total", "Rows of the suppliers' lists compared.", "job"),
		ended:    counter("tasks_ended_total", "Tracked tasks that ended.", "supplier", "status"),
		zone:     gauge("zone_offset_seconds", "How far the supplier's dates are ahead of the zone that we take them to be in, by known orders.", "supplier", "account"),
		balance:  gauge("balance", "What the account holds, in its currency.", "supplier", "account", "currency"),
		rereads:  counter("rereads_total", "CDR files that were asked to be read again because a day's sums differ.", "account"),
		blind:    gauge("balance_blind", "1 if the stretch judged last holds orders whose price nobody tells, so that missing money would not show.", "supplier", "account"),
	}
}

func (m *Metrics) done(job string, run *Run, open map[string]int, now time.Time, took time.Duration) {
	m.seconds.WithLabelValues(job).Observe(took.Seconds())
	m.passes.WithLabelValues(job).Inc()
	m.doneAt.WithLabelValues(job).Set(float64(now.Unix()))
	m.covered.WithLabelValues(job).Set(float64(run.To.Unix()))
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, kind := range kindsOf[job] {
		if m.standing[kind] == nil {
			m.standing[kind] = map[string]int{}
		}
		m.standing[kind][job] = open[kind]
		n := 0
		for _, of := range m.standing[kind] {
			n += of
		}
		m.open.WithLabelValues(kind).Set(float64(n))
	}
}

func (m *Metrics) failed(job string, panicked bool) {
	why := "error"
	if panicked {
		why = "panic"
	}
	m.failures.WithLabelValues(job, why).Inc()
}

func (m *Metrics) finding(f wire.Finding) { m.changes.WithLabelValues(f.Kind, f.Status).Inc() }

// answered is what supplier.HTTPConfig.Observe wants.
func (m *Metrics) answered(supplier string) func(op, code string, took time.Duration) {
	return func(op, code string, took time.Duration) {
		m.answers.WithLabelValues(supplier, op, code).Observe(took.Seconds())
	}
}
