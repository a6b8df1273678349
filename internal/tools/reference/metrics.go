package main

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/archiver"
	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/cdrpull"
	"github.com/simline/simline/internal/console"
	"github.com/simline/simline/internal/ingest"
	"github.com/simline/simline/internal/orderer"
	"github.com/simline/simline/internal/reconciler"
)

// registrations are what each worker registers, as it does when it starts.
var registrations = []struct {
	worker   string
	register func(prometheus.Registerer)
}{
	{"ingest", ingest.Describe},
	{"orderer", func(r prometheus.Registerer) { orderer.NewMetrics(r) }},
	{"cdrpull", cdrpull.Describe},
	{"reconciler", func(r prometheus.Registerer) { reconciler.NewMetrics(r) }},
	{"archiver", archiver.Describe},
	{"console", console.Describe},
	{"orderer and cdrpull: what lies on NATS for them", func(r prometheus.Registerer) { r.MustRegister(bus.NewBacklog(nil)) }},
}

// metric is one metric as its description gives it.
type metric struct{ name, kind, labels, help string }

func metricsPage() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(`# Metrics

Made from the code by ` + "`make generate`" + `; do not edit. Each worker serves these at ` + "`/metrics`" + ` on its admin port, beside Go's own
(` + "`go_*`, `process_*`" + `). No label takes values from outside that are not bounded: suppliers, accounts, states, reasons and
endpoints are known beforehand.
`)
	for _, w := range registrations {
		var r recorder
		w.register(&r)
		if len(r.metrics) == 0 {
			return nil, fmt.Errorf("%s registers no metric", w.worker)
		}
		slices.SortFunc(r.metrics, func(a, b metric) int { return strings.Compare(a.name, b.name) })
		fmt.Fprintf(&b, "\n## %s\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n", w.worker)
		for _, m := range r.metrics {
			if m.help == "" {
				return nil, fmt.Errorf("%s has no help", m.name)
			}
			labels := "–"
			if m.labels != "" {
				labels = "`" + strings.ReplaceAll(m.labels, ",", "`, `") + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, labels, strings.ReplaceAll(m.help, "|", "\\|"))
		}
	}
	return b.Bytes(), nil
}

// recorder is a registry that only notes what is registered.
type recorder struct{ metrics []metric }

var description = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "((?:[^"\\]|\\.)*)", (?:unit: "[^"]*", )?constLabels: \{[^}]*\}, variableLabels: \{([^}]*)\}\}$`)

// Register notes c's descriptions. Their text is the only way to their parts.
func (r *recorder) Register(c prometheus.Collector) error {
	ch := make(chan *prometheus.Desc, 16)
	go func() {
		c.Describe(ch)
		close(ch)
	}()
	for d := range ch {
		m := description.FindStringSubmatch(d.String())
		if m == nil {
			return fmt.Errorf("a description that is not understood: %s", d)
		}
		r.metrics = append(r.metrics, metric{name: m[1], kind: kindOf(c), labels: m[3], help: strings.ReplaceAll(m[2], `\"`, `"`)})
	}
	return nil
}

// MustRegister is Register for several; a failure here is one of this program.
func (r *recorder) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

// Unregister does nothing: nothing is collected.
func (r *recorder) Unregister(prometheus.Collector) bool { return false }

func kindOf(c prometheus.Collector) string {
	switch c.(type) {
	case prometheus.Histogram, *prometheus.HistogramVec:
		return "histogram"
	case prometheus.Gauge, *prometheus.GaugeVec:
		return "gauge"
	case prometheus.Counter, *prometheus.CounterVec:
		return "counter"
	}
	return "gauge" // a function or a collector of its own
}
