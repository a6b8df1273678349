package deploy

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/simline/simline/internal/warehouse/warehousetest"
	"github.com/simline/simline/schemas"
)

// statements splits a file of SQL; comments are whole lines.
func statements(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^\s*--.*$`).ReplaceAllString(string(b), "")
	text = regexp.MustCompile(`\$\{[A-Z_0-9]+\}`).ReplaceAllString(text, strings.Repeat("0", 64))
	var out []string
	for s := range strings.SplitSeq(text, ";") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

var object = regexp.MustCompile(`\b(simline|mart)\.([a-z_]+)\b`)

// The engine of the tests has no users, but it parses what makes them.
func TestRolesAreSQL(t *testing.T) {
	db := warehousetest.Open(t)
	for _, file := range []string{"clickhouse/roles.sql", "clickhouse/users.sql"} {
		for _, s := range statements(t, file) {
			if err := db.Conn().Exec(t.Context(), "EXPLAIN AST "+s); err != nil {
				t.Errorf("%s: %s: %v", file, s, err)
			}
			for _, name := range object.FindAllStringSubmatch(s, -1) {
				var n uint64
				if err := db.Conn().QueryRow(t.Context(), "SELECT count() FROM system.tables WHERE database = '"+name[1]+"' AND name = '"+name[2]+"'").Scan(&n); err != nil || n != 1 {
					t.Errorf("%s: there is no %s (%v)", file, name[0], err)
				}
			}
		}
	}
	if err := db.Conn().Exec(t.Context(), "EXPLAIN AST GRANT EVERYTHING ON simline.cdr TO x"); err == nil {
		t.Error("the engine takes a grant that there is not")
	}
}

// Settings of profiles are the engine's: a misspelt one would fail at the site.
func TestProfilesSetWhatThereIs(t *testing.T) {
	db := warehousetest.Open(t)
	setting := regexp.MustCompile(`(?m)^\s+([a-z_]+) = `)
	found := 0
	for _, s := range append(statements(t, "clickhouse/roles.sql"), statements(t, "clickhouse/cluster.sql")...) {
		if !strings.HasPrefix(s, "CREATE SETTINGS PROFILE") {
			continue
		}
		for _, m := range setting.FindAllStringSubmatch(s, -1) {
			found++
			var n uint64
			if err := db.Conn().QueryRow(t.Context(), "SELECT count() FROM system.settings WHERE name = '"+m[1]+"'").Scan(&n); err != nil || n != 1 {
				t.Errorf("there is no setting %s (%v)", m[1], err)
			}
		}
	}
	if found < 8 {
		t.Errorf("found %d settings only: the test looks past them", found)
	}
}

// Each table that workers write is granted to a worker; and BI has nothing beneath
// mart.
func TestGrantsCoverTheTables(t *testing.T) {
	granted, bi := map[string]bool{}, regexp.MustCompile(`TO simline_bi\w*$`)
	for _, s := range statements(t, "clickhouse/roles.sql") {
		if !strings.HasPrefix(s, "GRANT") {
			continue
		}
		if strings.Contains(s, "INSERT") {
			for _, m := range object.FindAllStringSubmatch(s, -1) {
				granted[m[0]] = true
			}
		}
		if bi.MatchString(s) && strings.Contains(s, "simline.") {
			t.Errorf("BI is granted more than mart: %s", s)
		}
	}
	files, err := schemas.ClickHouseFiles()
	if err != nil {
		t.Fatal(err)
	}
	made := regexp.MustCompile(`CREATE TABLE IF NOT EXISTS (simline\.[a-z_]+)`)
	var tables []string
	err = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, name)
		for _, m := range made.FindAllSubmatch(b, -1) {
			tables = append(tables, string(m[1]))
		}
		return err
	})
	if err != nil || len(tables) < 10 {
		t.Fatalf("%d tables, %v", len(tables), err)
	}
	for _, table := range slices.Compact(tables) {
		if !granted[table] {
			t.Errorf("nobody may write %s", table)
		}
	}
}

// On a cluster who may use a table may use what lies beneath it.
func TestClusterGrantsFollowTheTables(t *testing.T) {
	db := warehousetest.Open(t)
	grant := regexp.MustCompile(`^GRANT (.+) ON simline\.([a-z_]+?)(_local)? TO (\w+)$`)
	want, got := []string{}, []string{}
	for _, s := range statements(t, "clickhouse/roles.sql") {
		if m := grant.FindStringSubmatch(s); m != nil {
			want = append(want, strings.Join(m[1:3], " ")+" "+m[4])
		}
	}
	for _, s := range statements(t, "clickhouse/cluster.sql") {
		if err := db.Conn().Exec(t.Context(), "EXPLAIN AST "+s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
		if m := grant.FindStringSubmatch(s); m != nil && m[3] == "_local" {
			got = append(got, strings.Join(m[1:3], " ")+" "+m[4])
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) || len(want) < 15 {
		t.Errorf("granted on tables: %v\non what lies beneath: %v", want, got)
	}
}
