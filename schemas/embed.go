package schemas

import (
	"embed"
	"io/fs"
)

// ClickHouse holds the migrations, clickhouse/NNNN_what.sql: one idempotent
// statement per file. 0001 to 0049 are databases, CDRs and marts; 0050 to 0099
// are events.
//
//go:embed clickhouse/*.sql
var ClickHouse embed.FS

// ClickHouseFiles is ClickHouse without its directory, as goose wants it.
func ClickHouseFiles() (fs.FS, error) { return fs.Sub(ClickHouse, "clickhouse") }
