package check

import (
	"encoding/json"
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
