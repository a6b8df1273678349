package warehouse_test

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/simline/simline/internal/cdr/cdrgen"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/warehouse/warehousetest"
	"github.com/simline/simline/schemas"
)

// rendered are all statements of the migrations on a cluster, by file.
func rendered(t *testing.T) (files []string, statements map[string][]string) {
	t.Helper()
	all, err := schemas.ClickHouseFiles()
	if err != nil {
		t.Fatal(err)
	}
	if files, err = fs.Glob(all, "*.sql"); err != nil || len(files) < 40 {
		t.Fatal(files, err)
	}
	comments := regexp.MustCompile(`(?m)^--.*\n`)
	statements = map[string][]string{}
	for _, name := range files {
		b, err := fs.ReadFile(all, name)
		if err != nil {
			t.Fatal(err)
		}
		text, err := warehouse.RenderCluster(string(b), "simline")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for s := range strings.SplitSeq(comments.ReplaceAllString(text, ""), ";\n") {
			if s = strings.TrimSpace(s); s != "" {
				statements[name] = append(statements[name], s)
			}
		}
	}
	return files, statements
}

// Every migration has a form on a cluster, and the engine takes it for SQL.
func TestClusterIsSQL(t *testing.T) {
	db := warehousetest.Open(t)
	files, statements := rendered(t)
	local := regexp.MustCompile(`^CREATE TABLE IF NOT EXISTS simline\.([a-z_]+)_local ON CLUSTER 'simline'\n`)
	spread := regexp.MustCompile(`(?s)^CREATE TABLE IF NOT EXISTS simline\.([a-z_]+) ON CLUSTER 'simline' AS simline\.([a-z_]+)_local\nENGINE = Distributed\('simline', 'simline', '([a-z_]+)_local', (cityHash64\(.*\))\)\n`)
	order := regexp.MustCompile(`(?m)^ORDER BY \(?([^()\n]+)\)?$`)
	tables := 0
	for _, name := range files {
		for _, s := range statements[name] {
			if strings.HasPrefix(s, "INSERT INTO ") {
				continue // as on a single server, where it ran
			}
			if !strings.Contains(s, " ON CLUSTER 'simline'") {
				t.Errorf("%s: not on the cluster: %.80s", name, s)
			}
			if err := db.Conn().Exec(t.Context(), "EXPLAIN AST "+s); err != nil {
				t.Errorf("%s: %v\n%s", name, err, s)
			}
		}
		m := local.FindStringSubmatch(statements[name][0])
		if m == nil {
			continue
		}
		tables++
		if len(statements[name]) != 2 {
			t.Fatalf("%s: %d statements", name, len(statements[name]))
		}
		d := spread.FindStringSubmatch(statements[name][1])
		if d == nil || d[1] != m[1] || d[2] != m[1] || d[3] != m[1] {
			t.Fatalf("%s: %s", name, statements[name][1])
		}
		if !strings.Contains(statements[name][0], "MergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}'") {
			t.Errorf("%s: not replicated: %s", name, statements[name][0])
		}
		// A row's shard is a function of its key.
		key := strings.Split(order.FindStringSubmatch(statements[name][0])[1], ", ")
		for _, word := range regexp.MustCompile(`[a-zA-Z_0-9]+\(?`).FindAllString(d[4], -1) {
			if !strings.HasSuffix(word, "(") && strings.Trim(word, "0123456789") != "" && !slices.Contains(key, word) {
				t.Errorf("%s: sharded by %s, sorted by %v", name, d[4], key)
			}
		}
		if err := db.Conn().Exec(t.Context(), "SELECT "+d[4]+" FROM simline."+m[1]+" LIMIT 0"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if tables < 14 {
		t.Errorf("%d tables only: the test looks past them", tables)
	}
	if err := db.Conn().Exec(t.Context(), "EXPLAIN AST CREATE TABLE x ON CLUSTER 'y' AS z ENGINE Distributed('a', 'b', 'c', "); err == nil {
		t.Error("the engine takes anything for SQL")
	}
}

// There is no cluster here. But with a node's Replicated tables as plain ones, and
// Distributed as a union over them, the rendered schema can be made, written and
// read by every view.
func TestClusterSchemaHoldsTogether(t *testing.T) {
	dsn := warehousetest.DSN(t)
	db, err := warehouse.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	plain := func(s string) string {
		s = strings.ReplaceAll(s, " ON CLUSTER 'simline'", "")
		s = strings.Replace(s, "replicated_deduplication_window", "non_replicated_deduplication_window", 1)
		s = regexp.MustCompile(`Replicated(\w*)MergeTree\('[^']*', '[^']*'(?:, )?`).ReplaceAllString(s, "${1}MergeTree(")
		return regexp.MustCompile(`Distributed\('simline', 'simline', '([a-z_]+)', .*\)\n`).ReplaceAllString(s, "Merge('simline', '^$1$$')\n")
	}
	files, statements := rendered(t)
	for _, name := range files {
		for _, s := range statements[name] {
			if strings.HasPrefix(s, "INSERT INTO simline.networks") {
				s = strings.Replace(s, "simline.networks", "simline.networks_local", 1)
			}
			if strings.HasPrefix(s, "ALTER TABLE simline.schema_versions") {
				continue
			}
			if err := db.Conn().Exec(t.Context(), plain(s)); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, s)
			}
		}
	}
	rows := rowsOf(t, cdrgen.File{Rows: 1000, Cards: 50})
	b := warehouse.Batch{Account: "default", File: "a.csv", Version: warehouse.Version(cdrgen.Window.Generated, 0), Token: "1"}
	if err := db.InsertCDRInto(t.Context(), "simline.cdr_local", b, rows); err != nil {
		t.Fatal(err)
	}
	for _, view := range []string{"usage_hourly", "usage_daily", "usage_monthly", "usage_by_country_daily", "usage_by_operator_daily", "card_last_seen", "session_quality"} {
		if n := one[uint64](t, db, "SELECT sum(records) FROM mart."+view); n != 1000 {
			t.Errorf("mart.%s: %d records, want 1000", view, n)
		}
	}
	views, err := db.Conn().Query(t.Context(), "SELECT name FROM system.tables WHERE database = 'mart'")
	if err != nil {
		t.Fatal(err)
	}
	for views.Next() {
		var name string
		if err := views.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if err := db.Conn().Exec(t.Context(), "SELECT * FROM mart."+name+" LIMIT 1"); err != nil {
			t.Errorf("mart.%s: %v", name, err)
		}
	}
}

func TestRenderClusterRefuses(t *testing.T) {
	for name, in := range map[string][2]string{
		"a name that is not one": {"-- +goose Up\nINSERT INTO x", "a'; DROP DATABASE simline"},
		"no name":                {"-- +goose Up\nINSERT INTO x", ""},
		"no statement":           {"SELECT 1", "c"},
		"an unknown statement":   {"-- +goose Up\nOPTIMIZE TABLE simline.cdr", "c"},
		"a table without order":  {"-- +goose Up\nCREATE TABLE IF NOT EXISTS simline.x\n(a Int64)\nENGINE = MergeTree\nCOMMENT 'x';\n", "c"},
	} {
		if got, err := warehouse.RenderCluster(in[0], in[1]); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
	script, err := warehouse.Rendered("{cluster}")
	if err != nil || !strings.Contains(script, "ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', generated_at, is_deleted)") ||
		!strings.Contains(script, "ENGINE = Distributed('{cluster}', 'simline', 'cdr_local', cityHash64(iccid))") {
		t.Errorf("%v: %.2000s", err, script)
	}
}
