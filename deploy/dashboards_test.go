package deploy

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/simline/simline/internal/warehouse/warehousetest"
)

// dashboard is the part of Grafana's JSON that holds queries.
type dashboard struct {
	Panels []struct {
		ID      int
		Type    string
		Title   string
		Targets []struct{ RawSQL string }
	}
	Templating struct {
		List []struct{ Name, Type, Query string }
	}
}

func business(t *testing.T) dashboard {
	t.Helper()
	b, err := os.ReadFile("k8s/components/monitoring/dashboards/business.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// macros are those of Grafana's ClickHouse data source that the panels use, written
// out as it does.
var macros = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\$__timeFilter\(([a-z_.]+)\)`), "$1 >= toDateTime(1767225600) AND $1 <= toDateTime(1769904000)"},
	{regexp.MustCompile(`\$__dateFilter\(([a-z_.]+)\)`), "$1 >= toDate('2026-01-01') AND $1 <= toDate('2026-02-01')"},
	{regexp.MustCompile(`\$\{account:singlequote\}`), "'default','other'"},
}

func expand(query string) string {
	for _, m := range macros {
		query = m.pattern.ReplaceAllString(query, m.with)
	}
	return query
}

// Every panel's query runs on the real engine, reads mart only, and a graph has a
// time to draw by.
func TestBusinessDashboard(t *testing.T) {
	db, ctx := warehousetest.Open(t), t.Context()
	d := business(t)
	panels, ids := 0, map[int]string{}
	run := func(title, query string) []string {
		query = expand(query)
		if strings.Contains(query, "$") {
			t.Errorf("%s: a macro or variable that the test does not know: %s", title, query)
		}
		if strings.Contains(query, "simline.") || !strings.Contains(query, "mart.") {
			t.Errorf("%s: reads something else than mart, the only thing that BI is granted: %s", title, query)
		}
		rows, err := db.Conn().Query(ctx, query)
		if err != nil {
			t.Errorf("%s: %v\n%s", title, err, query)
			return nil
		}
		defer rows.Close()
		for rows.Next() {
			continue
		}
		if err := rows.Err(); err != nil {
			t.Errorf("%s: %v\n%s", title, err, query)
		}
		var columns []string
		for _, c := range rows.ColumnTypes() {
			columns = append(columns, c.Name())
			if c.Name() == "time" && c.ScanType().String() != "time.Time" {
				t.Errorf("%s: time is a %s", title, c.DatabaseTypeName())
			}
		}
		return columns
	}
	for _, p := range d.Panels {
		if other, twice := ids[p.ID]; twice {
			t.Errorf("panels %q and %q have one id", other, p.Title)
		}
		ids[p.ID] = p.Title
		for _, target := range p.Targets {
			panels++
			if columns := run(p.Title, target.RawSQL); p.Type == "timeseries" && columns != nil && !slices.Contains(columns, "time") {
				t.Errorf("%s: a graph without a column time: %v", p.Title, columns)
			}
		}
	}
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			run("variable "+v.Name, v.Query)
		}
	}
	if panels < 15 {
		t.Errorf("only %d panels with a query: the test looks past them", panels)
	}
}

// The row policies go by account, so every view must have it.
func TestEveryMartHasAnAccount(t *testing.T) {
	db := warehousetest.Open(t)
	rows, err := db.Conn().Query(t.Context(), "SELECT name FROM system.tables WHERE database = 'mart' AND name NOT IN (SELECT table FROM system.columns WHERE database = 'mart' AND name = 'account')")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		t.Errorf("mart.%s has no column account: a row policy of one account cannot be kept on it", name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}
