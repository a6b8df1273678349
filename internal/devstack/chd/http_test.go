package chd_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
)

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
