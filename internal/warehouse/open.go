package warehouse

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// DB is a pool of connections to one ClickHouse.
type DB struct {
	conn driver.Conn
	// http: rows are sent as blocks that we encode ourselves, and read back as
	// raw columns; over native TCP the driver does both.
	http bool
}

// Open reads the DSN and makes the pool; no connection is opened yet, so that a
// worker starts while ClickHouse is away. Use Ping to know. The DSN names a
// user, password, host and port, and any of the driver's options:
//
//	clickhouse://user:password@host:9000/?dial_timeout=5s
//	http://user:password@host:8123/
//
// The database in the DSN does not matter: every name we use is qualified.
func Open(dsn string) (*DB, error) {
	opts, err := options(dsn)
	if err != nil {
		return nil, err
	}
	conn, err := clickhouse.Open(opts)
	if err != nil {
		return nil, fmt.Errorf("open ClickHouse: %w", err)
	}
	return &DB{conn: conn, http: opts.Protocol == clickhouse.HTTP}, nil
}

// ErrDSN: the DSN cannot be read. The error never repeats it, for it may hold a
// password.
var ErrDSN = errors.New("CLICKHOUSE_DSN is not clickhouse://host:port or http://host:port")

func options(dsn string) (*clickhouse.Options, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Host == "" {
		return nil, ErrDSN
	}
	switch u.Scheme {
	case "clickhouse", "tcp", "native", "http", "https":
	default:
		return nil, ErrDSN
	}
	opts, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("%w (%s@%s)", ErrDSN, u.User.Username(), u.Host)
	}
	opts.ClientInfo.Products = append(opts.ClientInfo.Products, struct{ Name, Version string }{"simline", "1"})
	if !u.Query().Has("dial_timeout") {
		opts.DialTimeout = 5 * time.Second
	}
	return opts, nil
}

// Conn is the driver's connection, for statements that are nobody else's.
func (db *DB) Conn() driver.Conn { return db.conn }

// Ping asks whether ClickHouse answers.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.conn.Ping(ctx); err != nil {
		return fmt.Errorf("ping ClickHouse: %w", err)
	}
	return nil
}

// Close closes the pool.
func (db *DB) Close() error { return db.conn.Close() }

// inserting returns ctx with the settings of an insert that is atomic per
// partition, waits until it is stored, and is a no-op when repeated with the
// same token. Our blocks come sorted and free of duplicates, so the engine need
// not look for any while inserting.
func inserting(ctx context.Context, token string) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"insert_deduplicate":         1,
		"insert_deduplication_token": token,
		"optimize_on_insert":         0,
		"async_insert":               0,
	}))
}
