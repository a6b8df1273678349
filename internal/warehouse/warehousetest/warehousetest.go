// Package warehousetest gives each test a real ClickHouse of its own.
//
// Input: a test. Output: a server's DSN, or the warehouse opened on it with its
// schema in place; both go away with the test. Each server is a process of its
// own with a directory of its own, since our databases have fixed names; it
// starts in a fifth of a second. It fakes nothing.
package warehousetest

import (
	"errors"
	"os"
	"testing"

	"github.com/simline/simline/internal/devstack/chd"
	"github.com/simline/simline/internal/warehouse"
)

// Open is Start, migrated and opened.
func Open(t testing.TB) *warehouse.DB {
	t.Helper()
	db, _ := OpenDSN(t)
	return db
}

// OpenDSN is Open that also returns the DSN, for what opens it again.
func OpenDSN(t testing.TB) (*warehouse.DB, string) {
	t.Helper()
	s := Migrated(t)
	db, err := warehouse.Open(s.DSN())
	if err != nil {
		t.Fatalf("warehousetest: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("warehousetest: close: %v", err)
		}
	})
	return db, s.DSN()
}

// Migrated is Start with our schema in place.
func Migrated(t testing.TB) *chd.Server {
	t.Helper()
	dir := t.TempDir()
	check(t, migratedCopy(t.Context(), dir))
	return start(t, dir)
}

// DSN is the address of an empty server.
func DSN(t testing.TB) string {
	t.Helper()
	return Start(t).DSN()
}

// Start starts an empty server, which the test may Kill and Restart. If none can
// be had the test is skipped at the desk, and fails where CI is set.
//
// CLICKHOUSE_DSN is not used: our databases have fixed names, so on a server
// that is shared one test would see another's rows, and a developer's own would
// be dropped. Tests that may run there read the variable themselves.
func Start(t testing.TB) *chd.Server {
	t.Helper()
	return start(t, t.TempDir())
}

func start(t testing.TB, dir string) *chd.Server {
	t.Helper()
	s, err := chd.Start(t.Context(), chd.Config{DataDir: dir, Progress: os.Stderr, IgnoreDSN: true})
	check(t, err)
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("warehousetest: stop: %v", err)
		}
	})
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	switch {
	case errors.Is(err, chd.ErrNone) && os.Getenv("CI") == "":
		t.Skipf("warehousetest: %v\n(tests do not take way 1: each needs an empty server of its own)", err)
	case err != nil:
		t.Fatalf("warehousetest: %v", err)
	}
}
