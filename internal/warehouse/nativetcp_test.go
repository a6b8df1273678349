package warehouse_test

import (
	"testing"
	"time"

	"github.com/simline/simline/internal/cdr"
	"github.com/simline/simline/internal/cdr/cdrgen"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/internal/warehouse/warehousetest"
)

// The columns of simline.cdr on a server that has neither DateTime64 nor our engine's settings.
const plainCDR = `CREATE TABLE simline.cdr
(
    id Int64, start_time DateTime('UTC'), stop_time DateTime('UTC'), iccid String, imsi String, data_usage UInt64, imei String, mccmnc String,
    hour DateTime('UTC'), account String, file String, generated_at Int64, row_hash UInt64, is_deleted UInt8
)
ENGINE = MergeTree PARTITION BY toDate(hour) ORDER BY (hour, iccid, id, account)`

// The insert path over the driver's other protocol, native TCP, against a real
// server. (The deduplication settings stay off: that server is older than they.)
func TestInsertOverNativeTCP(t *testing.T) {
	t.Parallel()
	db := warehousetest.Debian(t)
	if db.HTTP() {
		t.Fatal("not native TCP")
	}
	for _, s := range []string{"CREATE DATABASE simline", plainCDR} {
		if err := db.Conn().Exec(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	rows := rowsOf(t, cdrgen.File{Rows: 130_000, Cards: 3000})
	rows[7].Deleted = true
	b := warehouse.Batch{Account: "default", File: "a.csv", Version: warehouse.Version(cdrgen.Window.Generated, 3)}
	if err := db.InsertColumns(t.Context(), b, rows); err != nil {
		t.Fatal(err)
	}
	got := map[int64]cdr.Record{}
	var hashes, hours, deleted uint64
	answer, err := db.Conn().Query(t.Context(), "SELECT id, start_time, stop_time, iccid, imsi, data_usage, imei, mccmnc, row_hash, toUInt64(hour), is_deleted FROM simline.cdr "+
		"WHERE account = 'default' AND file = 'a.csv' AND generated_at = ?", b.Version)
	if err != nil {
		t.Fatal(err)
	}
	for answer.Next() {
		var r cdr.Record
		var usage, hash, hour uint64
		var gone uint8
		if err := answer.Scan(&r.ID, &r.Start, &r.Stop, &r.ICCID, &r.IMSI, &usage, &r.IMEI, &r.MCCMNC, &hash, &hour, &gone); err != nil {
			t.Fatal(err)
		}
		r.Usage, r.Start, r.Stop = int64(usage), r.Start.In(time.UTC), r.Stop.In(time.UTC)
		got[r.ID] = r
		hashes, hours, deleted = hashes+hash, hours+hour, deleted+uint64(gone)
	}
	if err := answer.Err(); err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		want := rows[i].Record()
		if got[want.ID] != want {
			t.Fatalf("row %d: %+v, want %+v", i, got[want.ID], want)
		}
		hashes, hours = hashes-rows[i].Hash, hours-uint64(rows[i].Hour())
	}
	if len(got) != len(rows) || hashes != 0 || hours != 0 || deleted != 1 {
		t.Fatalf("%d rows of %d; hashes are %d off, hours %d; %d deleted", len(got), len(rows), hashes, hours, deleted)
	}

	// A batch that fails on its way leaves nothing of it, and the pool as usable as before.
	for _, s := range []string{"TRUNCATE TABLE simline.cdr", "ALTER TABLE simline.cdr MODIFY COLUMN data_usage Float64"} {
		if err := db.Conn().Exec(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.InsertColumns(t.Context(), b, rows); err == nil {
		t.Fatal("bytes went into a column of another type")
	}
	if n := one[uint64](t, db, "SELECT count() FROM simline.cdr"); n != 0 {
		t.Fatalf("%d rows of a batch that failed", n)
	}
}
