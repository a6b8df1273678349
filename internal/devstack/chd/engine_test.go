package chd_test

import (
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/devstack/chd"
)

// start gives a test an engine of its own.
func start(t *testing.T, dir string) *chd.Server {
	t.Helper()
	s, err := chd.Start(t.Context(), chd.Config{DataDir: dir, IgnoreDSN: true})
	if err != nil {
		if errors.Is(err, chd.ErrNone) && os.Getenv("CI") == "" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func native(t *testing.T, s *chd.Server, change ...func(*clickhouse.Options)) clickhouse.Conn {
	t.Helper()
	opts, err := clickhouse.ParseDSN(s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(opts)
	}
	c, err := clickhouse.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func exec(t *testing.T, c clickhouse.Conn, stmts ...string) {
	t.Helper()
	for _, s := range stmts {
		if err := c.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// columnCase is one column type and two values of it.
type columnCase struct {
	typ    string
	values [2]any
}

var columnCases = []columnCase{
	{"UInt8", [2]any{uint8(0), uint8(255)}},
	{"UInt16", [2]any{uint16(0), uint16(65535)}},
	{"UInt32", [2]any{uint32(0), uint32(1<<32 - 1)}},
	{"UInt64", [2]any{uint64(0), uint64(1<<64 - 1)}},
	{"UInt128", [2]any{*big.NewInt(0), *new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 128), big.NewInt(1))}},
	{"Int8", [2]any{int8(-128), int8(127)}},
	{"Int64", [2]any{int64(-1 << 63), int64(1<<63 - 1)}},
	{"Float64", [2]any{-1.5, 1e300}},
	{"String", [2]any{"", "ASCII, ünïcode, \x00\n\t\\'\""}},
	{"FixedString(4)", [2]any{"abcd", "\x00\xff\x00\n"}},
	{"LowCardinality(String)", [2]any{"", "again"}},
	{"DateTime('UTC')", [2]any{time.Unix(0, 0).UTC(), time.Date(2026, 1, 15, 12, 30, 59, 0, time.UTC)}},
	{"DateTime64(3, 'UTC')", [2]any{time.UnixMilli(1).UTC(), time.Date(2026, 1, 15, 12, 30, 59, 123e6, time.UTC)}},
	{"Date", [2]any{time.Unix(0, 0).UTC(), time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)}},
	{"Decimal(18, 4)", [2]any{decimal.RequireFromString("-0.0001"), decimal.RequireFromString("99999999999999.9999")}},
	{"UUID", [2]any{uuid.UUID{}, uuid.MustParse("61f0c404-5cb3-11e7-907b-a6006ad3dba0")}},
	{"Array(String)", [2]any{[]string{}, []string{"a", "", "c\x00"}}},
	{"Array(Array(UInt32))", [2]any{[][]uint32{}, [][]uint32{{1, 2}, {}, {3}}}},
	{"Map(String, UInt64)", [2]any{map[string]uint64{}, map[string]uint64{"a": 1, "b": 2}}},
	{"Map(LowCardinality(String), String)", [2]any{map[string]string{}, map[string]string{"k": "v"}}},
	{"Nullable(String)", [2]any{(*string)(nil), ptr("x")}},
	{"Nullable(UInt32)", [2]any{ptr(uint32(7)), (*uint32)(nil)}},
	{"LowCardinality(Nullable(String))", [2]any{(*string)(nil), ptr("lc")}},
	{"Enum8('a' = 1, 'b' = 2)", [2]any{"a", "b"}},
	{"IPv4", [2]any{net.IPv4(0, 0, 0, 0).To4(), net.IPv4(192, 0, 2, 255).To4()}},
	{"Bool", [2]any{false, true}},
	{"Tuple(String, UInt8)", [2]any{[]any{"", uint8(0)}, []any{"t", uint8(9)}}},
}

func ptr[T any](v T) *T { return &v }

func TestEveryTypeComesBack(t *testing.T) {
	c := native(t, start(t, t.TempDir()))
	for i, tc := range columnCases {
		t.Run(tc.typ, func(t *testing.T) {
			table := fmt.Sprintf("t%d", i)
			exec(t, c, "CREATE TABLE "+table+" (n UInt8, v "+tc.typ+") ENGINE = MergeTree ORDER BY n")
			batch, err := c.PrepareBatch(t.Context(), "INSERT INTO "+table+" (n, v)")
			if err != nil {
				t.Fatal(err)
			}
			for n, v := range tc.values {
				if b, ok := v.(big.Int); ok {
					v = &b
				}
				if err := batch.Append(uint8(n), v); err != nil {
					t.Fatal(err)
				}
			}
			if err := batch.Send(); err != nil {
				t.Fatal(err)
			}
			rows, err := c.Query(t.Context(), "SELECT n, v FROM "+table+" ORDER BY n")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			n := 0
			for ; rows.Next(); n++ {
				var k uint8
				got := newOf(tc.values[n])
				if err := rows.Scan(&k, got); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.values[n], deref(got), cmp.Comparer(func(a, b big.Int) bool { return a.Cmp(&b) == 0 })); diff != "" {
					t.Errorf("row %d (-want +got):\n%s", n, diff)
				}
			}
			if rows.Err() != nil || n != 2 {
				t.Errorf("read %d rows, want 2; error %v", n, rows.Err())
			}
		})
	}
}

func TestEveryByteSurvivesAnInsert(t *testing.T) {
	c := native(t, start(t, t.TempDir()))
	exec(t, c, "CREATE TABLE b (n UInt32, s String) ENGINE = MergeTree ORDER BY n")
	all := make([]byte, 0, 256*3)
	for b := range 256 {
		all = append(all, byte(b), '\n', byte(255-b))
	}
	insert := map[string]func(n uint32, s string) error{
		"batch": func(n uint32, s string) error {
			b, err := c.PrepareBatch(t.Context(), "INSERT INTO b")
			if err != nil {
				return err
			}
			return errors.Join(b.Append(n, s), b.Send())
		},
		"RowBinary stream": func(n uint32, s string) error {
			row := []byte{byte(n), byte(n >> 8), 0, 0, byte(len(s)&0x7f | 0x80), byte(len(s) >> 7)}
			return c.InsertFormat(t.Context(), "RowBinary", "INSERT INTO b (n, s)", strings.NewReader(string(row)+s))
		},
		"literal": func(n uint32, s string) error {
			return c.Exec(t.Context(), fmt.Sprintf("INSERT INTO b (n, s) VALUES (%d, '%s');", n, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s)))
		},
		"bound argument": func(n uint32, s string) error {
			return c.Exec(t.Context(), "INSERT INTO b (n, s) VALUES (?, ?)", n, s)
		},
	}
	n := uint32(1)
	for name, do := range insert {
		t.Run(name, func(t *testing.T) {
			n++
			if err := do(n, string(all)); err != nil {
				t.Fatal(err)
			}
			var got string
			if err := c.QueryRow(t.Context(), "SELECT s FROM b WHERE n = ?", n).Scan(&got); err != nil {
				t.Fatal(err)
			}
			if got != string(all) {
				t.Errorf("came back changed: %q", got)
			}
		})
	}
}

func TestManyNativeBlocks(t *testing.T) {
	c := native(t, start(t, t.TempDir()))
	const rows = 500_000
	got, err := c.Query(t.Context(), fmt.Sprintf("SELECT number, toString(number) AS s, toLowCardinality(toString(number %% 3)) AS lc FROM numbers(%d)", rows))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	count := uint64(0)
	for ; got.Next(); count++ {
		var v uint64
		var s, lc string
		if err := got.Scan(&v, &s, &lc); err != nil {
			t.Fatal(err)
		}
		if v != count || s != fmt.Sprint(count) || lc != fmt.Sprint(count%3) {
			t.Fatalf("row %d is %d, %q, %q", count, v, s, lc)
		}
	}
	if got.Err() != nil || count != rows {
		t.Errorf("%d rows, error %v", count, got.Err())
	}
}

func TestQueryParameters(t *testing.T) {
	c := native(t, start(t, t.TempDir()))
	ctx := clickhouse.Context(t.Context(), clickhouse.WithParameters(clickhouse.Parameters{"id": "7", "s": "a'b\\nc"}))
	var n uint64
	var s string
	if err := c.QueryRow(ctx, "SELECT {id:UInt64} + 1, {s:String}").Scan(&n, &s); err != nil {
		t.Fatal(err)
	}
	if n != 8 || s != "a'b\nc" {
		t.Errorf("got %d and %q", n, s)
	}
	if err := c.QueryRow(t.Context(), "SELECT @a + @b", clickhouse.Named("a", 1), clickhouse.Named("b", 2)).Scan(new(uint16)); err != nil {
		t.Error(err)
	}
}

func TestCompressionBothWays(t *testing.T) {
	s := start(t, t.TempDir())
	for _, m := range []clickhouse.CompressionMethod{clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionZSTD,
		clickhouse.CompressionGZIP, clickhouse.CompressionDeflate, clickhouse.CompressionBrotli} {
		t.Run(m.String(), func(t *testing.T) {
			c := native(t, s, func(o *clickhouse.Options) { o.Compression = &clickhouse.Compression{Method: m, Level: 1} })
			table := "c_" + m.String()
			exec(t, c, "CREATE TABLE "+table+" (n UInt64, s String) ENGINE = MergeTree ORDER BY n")
			b, err := c.PrepareBatch(t.Context(), "INSERT INTO "+table)
			if err != nil {
				t.Fatal(err)
			}
			for n := range uint64(20_000) {
				if err := b.Append(n, "some text that compresses"); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Send(); err != nil {
				t.Fatal(err)
			}
			var count, sum uint64
			rows, err := c.Query(t.Context(), "SELECT n, s FROM "+table)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var n uint64
				var s string
				if err := rows.Scan(&n, &s); err != nil {
					t.Fatal(err)
				}
				count, sum = count+1, sum+n
			}
			if rows.Err() != nil || count != 20_000 || sum != 19_999*10_000 {
				t.Errorf("%d rows, sum %d, error %v", count, sum, rows.Err())
			}
		})
	}
}

func TestDatabaseSQL(t *testing.T) {
	s := start(t, t.TempDir())
	opts, err := clickhouse.ParseDSN(s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	db := clickhouse.OpenDB(opts)
	defer db.Close()
	for _, stmt := range []string{"CREATE DATABASE simline", "CREATE TABLE simline.t (n Int64, d DateTime('UTC')) ENGINE = MergeTree ORDER BY n"} {
		if _, err := db.ExecContext(t.Context(), stmt); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	stmt, err := tx.PrepareContext(t.Context(), "INSERT INTO simline.t")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	for n := range int64(3) {
		if _, err := stmt.Exec(n, at.Add(time.Duration(n)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	var n int64
	var last time.Time
	if err := db.QueryRowContext(t.Context(), "SELECT count(), max(d) FROM simline.t WHERE n >= ?", 1).Scan(&n, &last); err != nil {
		t.Fatal(err)
	}
	if n != 2 || !last.Equal(at.Add(2*time.Hour)) {
		t.Errorf("count %d, max %s", n, last)
	}
	if err := db.QueryRowContext(t.Context(), "SELECT n FROM simline.t WHERE n = 99").Scan(&n); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("no row: got %v", err)
	}
}
