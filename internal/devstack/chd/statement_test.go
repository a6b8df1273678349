package chd

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, sql  string
		verb       string
		format     string
		from, data string // of an INSERT with data
	}{
		{name: "select", sql: "SELECT 1", verb: "SELECT"},
		{name: "format", sql: "select * from t format JSONEachRow ;", verb: "SELECT", format: "JSONEachRow"},
		{name: "format and settings", sql: "SELECT 1 FORMAT CSV SETTINGS max_threads = 1", verb: "SELECT", format: "CSV"},
		{name: "settings and format", sql: "SELECT 1 SETTINGS max_threads = 1 FORMAT CSV", verb: "SELECT", format: "CSV"},
		{name: "format inside", sql: "SELECT * FROM (SELECT 1 FORMAT CSV)", verb: "SELECT"},
		{name: "function called format", sql: "SELECT format('{}', 1) FROM t", verb: "SELECT"},
		{name: "column called format", sql: "SELECT format AS x FROM t", verb: "SELECT"},
		{name: "word in a string", sql: "SELECT ' FORMAT CSV'", verb: "SELECT"},
		{name: "word in a comment", sql: "-- FORMAT CSV\nSELECT 1 /* FORMAT TSV */", verb: "SELECT"},
		{name: "escaped quotes", sql: `SELECT 'it''s \' FORMAT CSV' FORMAT TSV`, verb: "SELECT", format: "TSV"},
		{name: "insert format", sql: "INSERT INTO a.b (x, y) FORMAT Native", verb: "INSERT", format: "Native", from: "INSERT INTO a.b (x, y)  FROM INFILE 'f'  FORMAT Native"},
		{name: "insert settings", sql: "INSERT INTO t SETTINGS a = 1, b = 'SELECT' FORMAT CSV\n1,2", verb: "INSERT", format: "CSV",
			from: "INSERT INTO t  FROM INFILE 'f' SETTINGS a = 1, b = 'SELECT'  FORMAT CSV", data: "1,2"},
		{name: "insert values", sql: "insert into table t(x)values(1),('a;b')", verb: "INSERT", format: "Values", from: "insert into table t(x) FROM INFILE 'f'  FORMAT Values", data: "(1),('a;b')"},
		{name: "insert select", sql: "INSERT INTO t SELECT 1 FORMAT CSV", verb: "INSERT"},
		{name: "insert with", sql: "INSERT INTO t WITH 1 AS x SELECT x", verb: "INSERT"},
		{name: "insert infile", sql: "INSERT INTO t FROM INFILE 'x' FORMAT CSV", verb: "INSERT"},
		{name: "table called format", sql: "INSERT INTO format VALUES (1)", verb: "INSERT", format: "Values", from: "INSERT INTO format  FROM INFILE 'f'  FORMAT Values", data: " (1)"},
		{name: "quoted table", sql: "INSERT INTO `values`.\"format\" FORMAT TSV\n", verb: "INSERT", format: "TSV", from: "INSERT INTO `values`.\"format\"  FROM INFILE 'f'  FORMAT TSV"},
		{name: "data like SQL", sql: "INSERT INTO t FORMAT CSV \nSELECT,FORMAT\n", verb: "INSERT", format: "CSV", from: "INSERT INTO t  FROM INFILE 'f'  FORMAT CSV", data: "SELECT,FORMAT\n"},
		{name: "open quote", sql: "SELECT 'x", verb: "SELECT"},
		{name: "empty", sql: " "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st := parse(tc.sql)
			if st.verb != tc.verb || st.format != tc.format || st.insert != (tc.from != "") {
				t.Fatalf("got %+v", st)
			}
			if !st.insert {
				return
			}
			if got := st.from("f"); got != tc.from {
				t.Errorf("rewritten as %q, want %q", got, tc.from)
			}
			if got := tc.sql[st.dataAt:]; got != tc.data {
				t.Errorf("data %q, want %q", got, tc.data)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"SELECT 1 FORMAT CSV", "INSERT INTO t (a) VALUES (1)", "INSERT INTO `t` FORMAT X\n\x00", "'", "/*", "insert into", "((("} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		st := parse(sql)
		if !st.insert {
			return
		}
		if st.dataAt < 0 || st.dataAt > len(sql) {
			t.Fatalf("data at %d of %d", st.dataAt, len(sql))
		}
		if !strings.HasPrefix(sql, st.head) {
			t.Fatalf("head %q is not how %q begins", st.head, sql)
		}
	})
}
