package e2e_test

import (
	"net/http"
	"regexp"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/simline/simline/internal/e2e"
)

// idLike is what must never become a label's value: every order, card or file would
// be a series of its own.
var idLike = regexp.MustCompile(`demo-|\d{6,}|[0-9a-f]{12,}|\.csv`)

// maxSeries is more than any metric has: two suppliers, a handful of endpoints and
// the codes that they answered with.
const maxSeries = 60

// After hundreds of orders, notifications and files, with every fault that the
// suppliers have, what a worker tells is as much as after one.
func cardinalityIsBounded(t *testing.T, s *e2e.Stage) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	for _, name := range e2e.Workers {
		res, err := client.Get(s.Workers[name].Admin + "/metrics")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(res.Body)
		res.Body.Close()
		if err != nil || len(families) < 10 {
			t.Errorf("%s: %d metrics: %v", name, len(families), err)
		}
		for metric, f := range families {
			if len(f.GetMetric()) > maxSeries {
				t.Errorf("%s: %s has %d series", name, metric, len(f.GetMetric()))
			}
			for _, m := range f.GetMetric() {
				checkLabels(t, name, metric, m.GetLabel())
			}
		}
	}
}

func checkLabels(t *testing.T, worker, metric string, labels []*dto.LabelPair) {
	t.Helper()
	if metric == "go_info" || metric == "go_build_info" {
		return
	}
	for _, l := range labels {
		if idLike.MatchString(l.GetValue()) {
			t.Errorf("%s: %s: label %s is %q, an id", worker, metric, l.GetName(), l.GetValue())
		}
	}
}
