package warehouse

import (
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"github.com/simline/simline/schemas"
)

// On a cluster every table of ours becomes two: simline.X_local, Replicated, which
// holds a shard's rows, and simline.X, Distributed over them, under the name that
// workers and views go by. Databases, views and the dictionary are made on every
// node. Nothing else changes: the same statements, sent to any node, mean the same.
//
// A row's shard is a function of its sorting key, or replacement would not reach
// it. It is the hash of the whole key unless the migration says otherwise in a
// comment, "-- Cluster: sharded by EXPRESSION.", for what is read together.

// clusterName is what may be spliced into a statement.
var clusterName = regexp.MustCompile(`^[A-Za-z0-9_.{}-]{1,64}$`)

var (
	upMark     = regexp.MustCompile(`(?m)^-- \+goose Up\n`)
	shardedBy  = regexp.MustCompile(`(?m)^-- Cluster: sharded by (.+)\.$`)
	engineLine = regexp.MustCompile(`(?m)^ENGINE = (\w*)MergeTree(?:\(([^\n]*)\))?$`)
	orderLine  = regexp.MustCompile(`(?m)^ORDER BY \(?([^()\n]+)\)?$`)
	aboutLine  = regexp.MustCompile(`(?m)^COMMENT ('(?:[^'\n]|'')*');?$`)
	onNode     = regexp.MustCompile(`^(CREATE DATABASE IF NOT EXISTS|CREATE OR REPLACE VIEW|CREATE DICTIONARY IF NOT EXISTS) ([a-z_.]+)`)
	newTable   = regexp.MustCompile(`^CREATE TABLE IF NOT EXISTS simline\.([a-z_]+)\n`)
	changed    = regexp.MustCompile(`^ALTER TABLE simline\.([a-z_]+)\s+(ADD COLUMN|MODIFY COLUMN|COMMENT COLUMN|MODIFY SETTING|MODIFY TTL|ADD INDEX)`)
)

// RenderCluster is a migration as it runs on a cluster: the same file with the
// statements that say the same there.
func RenderCluster(migration, cluster string) (string, error) {
	if !clusterName.MatchString(cluster) {
		return "", fmt.Errorf("cluster %.80q is not a name", cluster)
	}
	at := upMark.FindStringIndex(migration)
	if at == nil {
		return "", fmt.Errorf("no line -- +goose Up")
	}
	head, stmt := migration[:at[1]], migration[at[1]:]
	on := " ON CLUSTER '" + cluster + "'"
	switch {
	case onNode.MatchString(stmt):
		return head + onNode.ReplaceAllString(stmt, "$1 $2"+strings.ReplaceAll(on, "$", "$$")), nil
	case strings.HasPrefix(stmt, "INSERT INTO "):
		return migration, nil // through the Distributed table
	case strings.HasPrefix(stmt, "ALTER TABLE "+versionTable):
		return head + strings.Replace(stmt, versionTable, versionTable+on, 1), nil
	case newTable.MatchString(stmt):
		local, spread, err := renderTable(head, stmt, cluster)
		return head + local + "\n" + spread, err
	}
	m := changed.FindStringSubmatch(stmt)
	if m == nil {
		return "", fmt.Errorf("a statement that has no form on a cluster: %.60q", stmt)
	}
	whole := "simline." + m[1]
	local := strings.Replace(stmt, whole, whole+"_local"+on, 1)
	if !strings.HasSuffix(m[2], "COLUMN") {
		return head + local, nil
	}
	return head + local + "\n" + strings.Replace(stmt, whole, whole+on, 1), nil
}

func renderTable(head, stmt, cluster string) (local, spread string, err error) {
	name := newTable.FindStringSubmatch(stmt)[1]
	engine, order, about := engineLine.FindStringSubmatch(stmt), orderLine.FindStringSubmatch(stmt), aboutLine.FindStringSubmatch(stmt)
	if engine == nil || order == nil || about == nil {
		return "", "", fmt.Errorf("table %s: ENGINE, ORDER BY and COMMENT each want a line of their own", name)
	}
	shard := "cityHash64(" + order[1] + ")"
	if m := shardedBy.FindStringSubmatch(head); m != nil {
		shard = m[1]
	}
	args := "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
	if engine[2] != "" {
		args += ", " + engine[2]
	}
	on := " ON CLUSTER '" + cluster + "'"
	local = strings.Replace(stmt, "simline."+name, "simline."+name+"_local"+on, 1)
	local = strings.Replace(local, engine[0], "ENGINE = Replicated"+engine[1]+"MergeTree("+args+")", 1)
	local = strings.Replace(local, "non_replicated_deduplication_window", "replicated_deduplication_window", 1)
	spread = fmt.Sprintf("CREATE TABLE IF NOT EXISTS simline.%s%s AS simline.%s_local\nENGINE = Distributed('%s', 'simline', '%s_local', %s)\nCOMMENT %s;\n",
		name, on, name, cluster, name, shard, about[1])
	return local, spread, nil
}

// versionTableOn makes goose's own table, one and the same on all nodes, before
// goose would make it on one of them.
func versionTableOn(cluster string) []string {
	on := " ON CLUSTER '" + cluster + "'"
	return []string{
		"CREATE DATABASE IF NOT EXISTS simline" + on + " ENGINE = Atomic",
		"CREATE TABLE IF NOT EXISTS " + versionTable + on + " (version_id Int64, is_applied UInt8, date Date DEFAULT now(), tstamp DateTime DEFAULT now())\n" +
			"ENGINE = ReplicatedMergeTree('/clickhouse/tables/{database}/{table}', '{shard}-{replica}')\nORDER BY version_id",
	}
}

// clusterFS is the embedded migrations, rendered as they are read.
type clusterFS struct {
	fs.FS
	cluster string
}

func (c clusterFS) Open(name string) (fs.File, error) {
	f, err := c.FS.Open(name)
	if err != nil || !strings.HasSuffix(name, ".sql") {
		return f, err
	}
	b, err := io.ReadAll(f)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	text, err := RenderCluster(string(b), c.cluster)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return renderedFile{f, strings.NewReader(text)}, nil
}

type renderedFile struct {
	fs.File
	text *strings.Reader
}

func (f renderedFile) Read(b []byte) (int, error) { return f.text.Read(b) }

// Rendered is all that Migrate would run on a cluster, as a script for a person
// to read; an empty cluster means a single server.
func Rendered(cluster string) (string, error) {
	files, err := migrations(cluster)
	if err != nil {
		return "", err
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if cluster != "" {
		b.WriteString(strings.Join(versionTableOn(cluster), ";\n\n") + ";\n")
	}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\n-- %s\n%s", name, text)
	}
	return b.String(), nil
}

func migrations(cluster string) (fs.FS, error) {
	files, err := schemas.ClickHouseFiles()
	if err != nil || cluster == "" {
		return files, err
	}
	return clusterFS{files, cluster}, nil
}
