package warehousetest_test

import (
	"testing"

	"github.com/simline/simline/internal/warehouse/warehousetest"
)

func TestOpenIsMigratedAndAlone(t *testing.T) {
	for range 2 { // the second must not see the first
		db := warehousetest.Open(t)
		var n uint64
		if err := db.Conn().QueryRow(t.Context(), "SELECT count() FROM simline.cdr").Scan(&n); err != nil || n != 0 {
			t.Fatalf("%d rows in a fresh table, error %v", n, err)
		}
		if err := db.Conn().Exec(t.Context(), "CREATE TABLE simline.mine (n UInt8) ENGINE = MergeTree ORDER BY n"); err != nil {
			t.Fatal(err)
		}
	}
}
