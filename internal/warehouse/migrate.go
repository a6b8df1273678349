package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/pressly/goose/v3"
)

// versionTable is where goose keeps which migrations are in.
const versionTable = "simline.schema_versions"

// Migrate brings the schema of a single server up to date: databases, tables and
// views. Each file is one statement that may be repeated, so two migrations at
// once, or one that died half way, do no harm. applied is called after each file,
// and may be nil.
func Migrate(ctx context.Context, dsn string, applied func(file string)) error {
	return MigrateCluster(ctx, dsn, "", applied)
}

// MigrateCluster is Migrate for all nodes of a cluster, by its name in their
// remote_servers, through any one of them. See RenderCluster.
func MigrateCluster(ctx context.Context, dsn, cluster string, applied func(file string)) (err error) {
	opts, err := options(dsn)
	if err != nil {
		return err
	}
	db := clickhouse.OpenDB(opts)
	defer func() { err = errors.Join(err, db.Close()) }()
	// goose's own table lives in our database, which therefore must be first.
	first := []string{"CREATE DATABASE IF NOT EXISTS simline ENGINE = Atomic"}
	if cluster != "" {
		first = versionTableOn(cluster)
	}
	for _, stmt := range first {
		if _, err := db.ExecContext(ctx, stmt); err != nil {
			return fmt.Errorf("create database simline: %w", err)
		}
	}
	files, err := migrations(cluster)
	if err != nil {
		return fmt.Errorf("read the embedded migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectClickHouse, db, files,
		goose.WithTableName(versionTable),
		goose.WithDisableGlobalRegistry(true),
		// CDR and event migrations are numbered in ranges of their own.
		goose.WithAllowOutofOrder(true),
	)
	if err != nil {
		return fmt.Errorf("read the embedded migrations: %w", err)
	}
	for {
		res, err := p.UpByOne(ctx)
		if errors.Is(err, goose.ErrNoNextVersion) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		if applied != nil {
			applied(res.Source.Path)
		}
	}
}

// Migrated is nil when ClickHouse answers and has our tables.
func (db *DB) Migrated(ctx context.Context) error {
	var n uint64
	if err := db.conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = 'simline' AND name IN ('cdr', 'cdr_files')").Scan(&n); err != nil {
		return fmt.Errorf("ClickHouse is away: %w", err)
	}
	if n < 2 {
		return errors.New("ClickHouse lacks our tables: run simctl migrate")
	}
	return nil
}

// Missing lists the migrations of this version that are not in yet.
func (db *DB) Missing(ctx context.Context) ([]string, error) {
	files, err := migrations("")
	if err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	var there uint64
	if err := db.conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = 'simline' AND name = 'schema_versions'").Scan(&there); err != nil {
		return nil, fmt.Errorf("look for our tables: %w", err)
	}
	if there == 0 {
		return names, nil
	}
	var versions []int64
	if err := db.conn.QueryRow(ctx, "SELECT groupArray(version_id) FROM "+versionTable).Scan(&versions); err != nil {
		return nil, fmt.Errorf("read which migrations are in: %w", err)
	}
	return slices.DeleteFunc(names, func(name string) bool {
		n, err := strconv.ParseInt(strings.SplitN(name, "_", 2)[0], 10, 64)
		return err == nil && slices.Contains(versions, n)
	}), nil
}
