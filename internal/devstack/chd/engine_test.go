package chd_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"syscall"
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

func TestBigAnswersAreStreamed(t *testing.T) {
	s := start(t, t.TempDir())
	c := native(t, s)
	const rows = 16_000_000 // 256 MB
	before := residentKiB(t, s.PID())
	r, err := c.QueryFormat(t.Context(), "RowBinary", fmt.Sprintf("SELECT number, sipHash64(number) FROM numbers(%d)", rows))
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, r)
	if err = errors.Join(err, r.Close()); err != nil || n != 16*rows {
		t.Errorf("%d bytes, want %d; error %v", n, 16*rows, err)
	}
	if grown := residentKiB(t, s.PID()) - before; grown > 128<<10 {
		t.Errorf("the engine grew by %d KiB while answering", grown)
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

func residentKiB(t *testing.T, pid int) (kib int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0 // not Linux: nothing to compare
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}

func TestErrorsCarryTheServersCode(t *testing.T) {
	s := start(t, t.TempDir())
	c := native(t, s)
	exec(t, c, "CREATE TABLE e (n UInt8) ENGINE = MergeTree ORDER BY n")
	for _, tc := range []struct {
		name, sql string
		code      int32
	}{
		{"unknown table", "SELECT * FROM nowhere", 60},
		{"unknown column", "SELECT nope FROM e", 47},
		{"syntax", "SELEKT 1", 62},
		{"unknown setting", "SELECT 1 SETTINGS no_such_setting = 1", 115},
		{"no user management", "CREATE USER u", 497},
		{"before the first row", "SELECT throwIf(number = 0) FROM numbers(10)", 395},
		{"in the middle of the answer", "SELECT throwIf(number = 3000000) FROM numbers(10000000)", 395},
	} {
		for _, comp := range []clickhouse.CompressionMethod{clickhouse.CompressionNone, clickhouse.CompressionLZ4} {
			t.Run(fmt.Sprintf("%s/%s", tc.name, comp), func(t *testing.T) {
				c := native(t, s, func(o *clickhouse.Options) { o.Compression = &clickhouse.Compression{Method: comp} })
				rows, err := c.Query(t.Context(), tc.sql)
				if err == nil {
					for rows.Next() {
					}
					err = errors.Join(rows.Err(), rows.Close())
				}
				wantCode(t, err, tc.code)
			})
		}
	}
	t.Run("insert", func(t *testing.T) {
		wantCode(t, c.InsertFormat(t.Context(), "CSV", "INSERT INTO e (n)", strings.NewReader("1\nx\n")), 117)
		wantCode(t, c.Exec(t.Context(), "INSERT INTO nowhere VALUES (1)"), 60)
	})
	t.Run("unknown database", func(t *testing.T) {
		wantCode(t, native(t, s, func(o *clickhouse.Options) { o.Auth.Database = "nowhere" }).Ping(t.Context()), 81)
	})
	t.Run("unknown setting of the connection", func(t *testing.T) {
		wantCode(t, native(t, s, func(o *clickhouse.Options) { o.Settings = clickhouse.Settings{"bogus": 1} }).Ping(t.Context()), 115)
	})
}

func wantCode(t *testing.T, err error, code int32) {
	t.Helper()
	var ex *clickhouse.Exception
	if !errors.As(err, &ex) || ex.Code != code {
		t.Errorf("got %v, want an exception with code %d", err, code)
	}
}

func TestSettingsOfOneRequestStayThere(t *testing.T) {
	c := native(t, start(t, t.TempDir()))
	exec(t, c, "CREATE TABLE d (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100")
	count := func() (n uint64) {
		t.Helper()
		if err := c.QueryRow(t.Context(), "SELECT count() FROM d").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	insert := func(token string, n uint64) {
		t.Helper()
		ctx := t.Context()
		if token != "" {
			ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": token}))
		}
		b, err := c.PrepareBatch(ctx, "INSERT INTO d")
		if err = errors.Join(err, b.Append(n), b.Send()); err != nil {
			t.Fatal(err)
		}
	}
	insert("file-1/0", 1)
	insert("file-1/0", 2) // the token decides, not the rows
	if n := count(); n != 1 {
		t.Errorf("%d rows after a repeated token, want 1", n)
	}
	insert("file-1/1", 3)
	insert("", 4)
	insert("", 5)
	if n := count(); n != 4 {
		t.Errorf("%d rows, want 4: a token leaked into the next request", n)
	}
	slow := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_execution_time": 1}))
	err := c.QueryRow(slow, "SELECT sum(sipHash64(number)) FROM numbers(100000000000)").Err()
	wantCode(t, err, 159)
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

func TestClientsInParallel(t *testing.T) {
	s := start(t, t.TempDir())
	c := native(t, s, func(o *clickhouse.Options) { o.MaxOpenConns, o.MaxIdleConns = 32, 32 })
	exec(t, c, "CREATE TABLE p (w UInt32, n UInt32) ENGINE = MergeTree ORDER BY (w, n)")
	const workers, rounds, rows = 32, 4, 1000
	var wg sync.WaitGroup
	for w := range uint32(workers) {
		wg.Go(func() {
			for r := range uint32(rounds) {
				b, err := c.PrepareBatch(t.Context(), "INSERT INTO p")
				if err != nil {
					t.Error(err)
					return
				}
				for n := range uint32(rows) {
					if err := b.Append(w, r*rows+n); err != nil {
						t.Error(err)
						return
					}
				}
				if err := b.Send(); err != nil {
					t.Error(err)
					return
				}
				var n uint64
				if err := c.QueryRow(t.Context(), "SELECT count() FROM p WHERE w = ?", w).Scan(&n); err != nil || n != uint64(r+1)*rows {
					t.Errorf("worker %d sees %d rows after round %d: %v", w, n, r, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestPingAnswersWhileTheEngineIsBusy(t *testing.T) {
	s := start(t, t.TempDir())
	c := native(t, s, func(o *clickhouse.Options) { o.MaxOpenConns, o.MaxIdleConns = 20, 20 })
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 20 { // more than there are slots
		wg.Go(func() {
			busy := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_execution_time": 2, "max_threads": 1}))
			_ = c.QueryRow(busy, "SELECT sum(sipHash64(number)) FROM numbers(100000000000)").Err() // ends by its limit
		})
	}
	client := &http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	for range 20 {
		resp, err := client.Get(strings.TrimSuffix(s.DSN(), "/default") + "/ping")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	cancel()
	wg.Wait()
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	c := native(t, s)
	exec(t, c, "CREATE DATABASE simline", "CREATE TABLE simline.k (n UInt64) ENGINE = MergeTree ORDER BY n",
		"CREATE VIEW simline.v AS SELECT sum(n) AS s FROM simline.k")
	exec(t, c, "INSERT INTO simline.k SELECT number FROM numbers(1000)")
	dsn := s.DSN()
	s.Kill()
	if err := c.Ping(t.Context()); err == nil {
		t.Fatal("answered after kill -9")
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if s.DSN() != dsn {
		t.Errorf("address %s after restart, want %s", s.DSN(), dsn)
	}
	var sum uint64
	if err := native(t, s).QueryRow(t.Context(), "SELECT s FROM simline.v").Scan(&sum); err != nil || sum != 499500 {
		t.Errorf("sum %d after kill -9, want 499500; error %v", sum, err)
	}
}

// TestHoldAnEngine is no test: it is the parent that TestEngineDiesWithItsParent kills.
func TestHoldAnEngine(t *testing.T) {
	dir := os.Getenv("CHD_TEST_HOLD")
	if dir == "" {
		return
	}
	s := start(t, dir)
	fmt.Println("engine", s.PID())
	<-s.Exited()
}

func TestEngineDiesWithItsParent(t *testing.T) {
	start(t, t.TempDir()) // skips where there is no engine
	cmd := osexec.Command(os.Args[0], "-test.run=^TestHoldAnEngine$", "-test.v")
	cmd.Env = append(os.Environ(), "CHD_TEST_HOLD="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "engine %d", &pid)
	}
	if pid == 0 {
		t.Fatal("the parent did not start an engine")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 500 {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			return
		}
		<-tick.C
	}
	t.Errorf("engine %d outlived its parent", pid)
}

func TestSecondEngineOnOneDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	start(t, dir)
	second, err := chd.Start(t.Context(), chd.Config{DataDir: dir, IgnoreDSN: true})
	if err == nil {
		second.Kill()
		t.Fatal("a second engine opened the same directory")
	}
	if !strings.Contains(err.Error(), "in use by another server") {
		t.Errorf("refused with %v", err)
	}
}

func TestPlainHTTP(t *testing.T) {
	s := start(t, t.TempDir())
	base := strings.TrimSuffix(s.DSN(), "default")
	file := t.TempDir() + "/in.csv"
	if err := os.WriteFile(file, []byte("1,a\n2,b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{}
	defer client.CloseIdleConnections()
	for _, tc := range []struct {
		name, query, body string
		status            int
		want              string
	}{
		{"statement in the URL", "SELECT 1", "", 200, "1\n"},
		{"statement in the body", "", "SELECT 2 FORMAT CSV", 200, "2\n"},
		{"table", "CREATE TABLE h (n UInt8, s String) ENGINE = MergeTree ORDER BY n", "", 200, ""},
		{"data in the body", "INSERT INTO h FORMAT CSV", "10,\"x;y\"\n", 200, ""},
		{"data behind the statement", "", "INSERT INTO h FORMAT TabSeparated\n11\tz\n", 200, ""},
		{"values over both", "INSERT INTO h VALUES", "(12, 'v'), (13, 'w')", 200, ""},
		{"settings before the format", "INSERT INTO h (n, s) SETTINGS async_insert = 0 FORMAT CSV", "14,q\n", 200, ""},
		{"the engine's own infile", "INSERT INTO h FROM INFILE '" + file + "' FORMAT CSV", "", 200, ""},
		{"insert from select", "INSERT INTO h SELECT 20, 's'", "", 200, ""},
		{"all of it", "SELECT * FROM h ORDER BY n", "", 200, "1\ta\n2\tb\n10\tx;y\n11\tz\n12\tv\n13\tw\n14\tq\n20\ts\n"},
		{"a format with head and foot", "SELECT number FROM numbers(3) FORMAT JSONCompactColumns", "", 200, "[\n\t[0, 1, 2]\n]\n"},
		{"names once", "SELECT number AS n FROM numbers(200000) ORDER BY n LIMIT 2 FORMAT CSVWithNames", "", 200, "\"n\"\n0\n1\n"},
		{"functions and aliases called format", "SELECT format('{}', 1) AS format, 2", "", 200, "1\t2\n"},
		{"nothing", "", " ", 400, ""},
		{"unknown table", "SELECT * FROM nowhere", "", 404, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, err := client.Post(base+"?query="+url.QueryEscape(tc.query), "text/plain", strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tc.status {
				t.Fatalf("%s: %s %v", resp.Status, b, err)
			}
			if tc.status == 200 && string(b) != tc.want {
				t.Errorf("got %q, want %q", b, tc.want)
			}
			if tc.status != 200 && resp.Header.Get("X-ClickHouse-Exception-Code") == "" {
				t.Error("an error without X-ClickHouse-Exception-Code")
			}
		})
	}
}

func TestBrokenBodyLeavesNothing(t *testing.T) {
	s := start(t, t.TempDir())
	c := native(t, s)
	exec(t, c, "CREATE TABLE x (n UInt64) ENGINE = MergeTree ORDER BY n")
	half := io.MultiReader(bytes.NewReader(make([]byte, 8<<20)), brokenReader{})
	if err := c.InsertFormat(t.Context(), "RowBinary", "INSERT INTO x (n)", half); err == nil {
		t.Fatal("an insert whose data broke off succeeded")
	}
	var n uint64
	if err := c.QueryRow(t.Context(), "SELECT count() FROM x").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows of a broken insert, error %v", n, err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("the line went dead") }

func TestWaitEndOfQueryHasAStatusForEveryError(t *testing.T) {
	s := start(t, t.TempDir())
	q := "SELECT throwIf(number = 3000000) FROM numbers(10000000)"
	resp, err := http.Post(strings.TrimSuffix(s.DSN(), "default")+"?wait_end_of_query=1&query="+url.QueryEscape(q), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 500 || resp.Header.Get("X-ClickHouse-Exception-Code") != "395" {
		t.Errorf("%s, code %q", resp.Status, resp.Header.Get("X-ClickHouse-Exception-Code"))
	}
}
