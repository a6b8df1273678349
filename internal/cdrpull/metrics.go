package cdrpull

import "github.com/prometheus/client_golang/prometheus"

// metrics are what an SRE watches; the alerts stand in docs/alerts.
type metrics struct {
	files     *prometheus.CounterVec   // by account and outcome
	rows      *prometheus.CounterVec   // by account and kind
	rejects   *prometheus.CounterVec   // by account and reason
	bytes     *prometheus.CounterVec   // bytes of files read, by account
	seconds   *prometheus.HistogramVec // of a load, by account
	failures  *prometheus.CounterVec   // by account and step
	foreign   *prometheus.GaugeVec     // by directory
	unread    *prometheus.GaugeVec     // by directory
	waiting   *prometheus.GaugeVec     // by directory
	held      *prometheus.GaugeVec     // by account
	gaps      *prometheus.GaugeVec     // by account
	complete  *prometheus.GaugeVec     // by account
	listed    *prometheus.GaugeVec     // by directory
	daysOpen  *prometheus.GaugeVec     // by account
	duplicate prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "simline_cdr_" + name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "simline_cdr_" + name, Help: help}, labels)
	}
	m := &metrics{
		files:    counter("files_total", "CDR files by outcome: loaded, with_rejects, held, changed, unended, gone, again (loaded before).", "account", "outcome"),
		rows:     counter("rows_total", "Rows of CDR files by kind: inserted, known, rejected, conflict, outside (of the file's window).", "account", "kind"),
		rejects:  counter("rejects_total", "Bad rows by reason.", "account", "reason"),
		bytes:    counter("file_bytes_total", "Bytes of CDR files read.", "account"),
		failures: counter("failures_total", "Steps that failed and will be tried again.", "account", "step"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "simline_cdr_load_seconds",
			Help: "Time to load a file, from claim to mark.", Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}}, []string{"account"}),
		foreign:  gauge("foreign_files", "Files in the directory whose account number is not configured; they are left alone.", "directory"),
		unread:   gauge("unreadable_entries", "Names in the directory whose listing could not be read and that were too many to ask for.", "directory"),
		waiting:  gauge("waiting_files", "Files seen that have not settled yet, or are empty, or whose last line is not whole.", "directory"),
		held:     gauge("held_files", "Files held for a person: too many bad rows, or a header that fits no file of ours.", "account"),
		gaps:     gauge("gaps", "Half hours that no loaded file covers although they are late.", "account"),
		complete: gauge("complete_until_timestamp_seconds", "Every half hour before this is covered by a loaded file.", "account"),
		listed:   gauge("listed_timestamp_seconds", "When the directory was listed last by this replica.", "directory"),
		daysOpen: gauge("open_days", "Days whose daily marts read the records rather than stored sums.", "account"),
		duplicate: prometheus.NewCounter(prometheus.CounterOpts{Name: "simline_cdr_stale_messages_total",
			Help: "File messages that had been dealt with before."}),
	}
	reg.MustRegister(m.files, m.rows, m.rejects, m.bytes, m.failures, m.seconds, m.foreign, m.unread, m.waiting,
		m.held, m.gaps, m.complete, m.listed, m.daysOpen, m.duplicate)
	return m
}

// Describe registers the metrics alone, for docs/reference/metrics.md.
func Describe(reg prometheus.Registerer) { newMetrics(reg) }
