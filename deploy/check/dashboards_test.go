package check

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// targetLabels are those that the scrape adds to our own.
var targetLabels = []string{"pod", "namespace", "container", "endpoint", "instance", "job", "app_kubernetes_io_name"}

// checkPromQL says what is wrong with a query: syntax, a metric that no worker has,
// a label that its metric has not.
func checkPromQL(t *testing.T, names map[string][]string, where, query string) {
	t.Helper()
	query = strings.NewReplacer("$__rate_interval", "5m").Replace(query)
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		t.Errorf("%s: %v\n%s", where, err, query)
		return
	}
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		v, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		labels, known := names[v.Name]
		switch {
		case strings.HasPrefix(v.Name, "simline_") && !known:
			t.Errorf("%s: no worker has a metric %s", where, v.Name)
			return nil
		case !known:
			return nil // Go's own, or the scrape's
		}
		may := append(slices.Clone(labels), targetLabels...)
		for _, m := range v.LabelMatchers {
			if m.Name != "__name__" && !slices.Contains(may, m.Name) {
				t.Errorf("%s: %s has no label %s", where, v.Name, m.Name)
			}
		}
		for _, above := range path {
			if a, ok := above.(*parser.AggregateExpr); ok && !a.Without {
				for _, l := range a.Grouping {
					if !slices.Contains(may, l) {
						t.Errorf("%s: %s has no label %s to group by", where, v.Name, l)
					}
				}
			}
		}
		return nil
	})
}

func TestOperationsDashboard(t *testing.T) {
	var d struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	// As it is deployed: in a ConfigMap that Grafana's sidecar finds.
	for _, o := range build(t, "overlays/prod") {
		if o.Kind == "ConfigMap" && o.Name == "simline-dashboards" {
			var m struct {
				Metadata struct{ Labels map[string]string }
				Data     map[string]string
			}
			if err := yaml.Unmarshal(o.YAML, &m); err != nil {
				t.Fatal(err)
			}
			if m.Metadata.Labels["grafana_dashboard"] != "1" {
				t.Error("Grafana's sidecar does not find the dashboards")
			}
			if err := json.Unmarshal([]byte(m.Data["operations.json"]), &d); err != nil {
				t.Fatal(err)
			}
		}
	}
	names, queries := metricNames(t), 0
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			queries++
			checkPromQL(t, names, p.Title, target.Expr)
		}
	}
	if queries < 40 {
		t.Errorf("only %d queries: the test looks past them", queries)
	}
}

func TestAlertQueriesFitTheMetrics(t *testing.T) {
	names := metricNames(t)
	for _, g := range ruleGroups(t).Groups {
		for _, r := range g.Rules {
			checkPromQL(t, names, r.Alert, r.Expr)
		}
	}
}

// signals are what an SRE must be able to see, by the metrics that tell it.
var signals = map[string][]string{
	"rate of each line":      {"simline_ingest_taken_total", "simline_orderer_transitions_total", "simline_cdr_rows_total", "simline_recon_passes_total", "simline_archiver_archived_total"},
	"errors by reason":       {"simline_ingest_refused_total", "simline_orderer_failures_total", "simline_orderer_dead_letters_total", "simline_cdr_failures_total", "simline_recon_failures_total", "simline_archiver_insert_failures_total"},
	"how long it takes":      {"simline_ingest_request_seconds_bucket", "simline_orderer_placed_seconds_bucket", "simline_cdr_load_seconds_bucket", "simline_recon_pass_seconds_bucket", "simline_archiver_insert_seconds_bucket"},
	"lag":                    {"simline_bus_pending_messages", "simline_bus_backlog_messages", "simline_archiver_lag_messages", "simline_archiver_lag_seconds", "simline_recon_covered_until_timestamp_seconds"},
	"oldest unsettled order": {"simline_orderer_open_oldest_seconds", "simline_bus_oldest_message_seconds", "simline_orderer_open_oldest_overdue_seconds"},
	"held orders":            {"simline_orderer_open_orders"},
	"money in doubt":         {"simline_orderer_money_in_doubt", "simline_orderer_in_doubt_orders", "simline_orderer_in_doubt_unpriced_orders"},
	"spool":                  {"simline_ingest_spool_bytes", "simline_ingest_spool_messages"},
	"CDR completeness":       {"simline_cdr_complete_until_timestamp_seconds", "simline_cdr_gaps"},
	"findings by kind":       {"simline_recon_findings_open"},
	"balance and days left":  {"simline_orderer_balance", "simline_recon_balance_days_left"},
	"supplier latency":       {"simline_orderer_supplier_call_seconds_bucket", "simline_recon_supplier_call_seconds_bucket"},
	"supplier error codes":   {"simline_orderer_supplier_call_seconds_count", "simline_recon_supplier_call_seconds_count"},
	"breaker and switches":   {"simline_orderer_breaker_open", "simline_orderer_account_stopped", "simline_orderer_switch_on"},
}

func TestEverySignalIsOnTheDashboard(t *testing.T) {
	names, dashboard := metricNames(t), string(readFile(t, "../k8s/components/monitoring/dashboards/operations.json"))
	for what, metrics := range signals {
		for _, m := range metrics {
			if _, ok := names[m]; !ok {
				t.Errorf("%s: no worker has %s", what, m)
			}
			if !regexp.MustCompile(`\b` + m + `\b`).MatchString(dashboard) {
				t.Errorf("%s: %s is on no panel", what, m)
			}
		}
	}
}

// unbounded are labels that no metric may have: each order, card or file would be a
// series of its own.
var unbounded = regexp.MustCompile(`(^|_)(order|id|iccid|eid|imsi|imei|file|message|error|url|path|ip|address|user)(_|$)`)

func TestNoLabelIsUnbounded(t *testing.T) {
	for name, labels := range metricNames(t) {
		for _, l := range labels {
			if unbounded.MatchString(l) {
				t.Errorf("%s has a label %s", name, l)
			}
		}
	}
}
