package warehouse

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/simline/simline/internal/cdr"
)

// Batch says where a batch of rows comes from; every row carries it.
type Batch struct {
	Account string // the account's name
	File    string // the file's name
	// Version decides between rows of the same record: see Version.
	Version int64
	// Token names the batch's content: the same token must mean the same rows.
	Token string
}

// Version is a file content's place among all versions of a record, in
// milliseconds since 1970: the file's generation, plus one for each content
// seen under the same name before. It stands in the column generated_at.
func Version(generated time.Time, content uint16) int64 {
	return generated.UnixMilli() + int64(min(content, 999))
}

// InsertCDR writes rows, which must be sorted by cdr.Compare and hold no key
// twice. It returns when they are durable; after an error they may be there or
// not, per day, and the same call again is safe.
func (db *DB) InsertCDR(ctx context.Context, b Batch, rows []cdr.Row) error {
	if len(rows) == 0 {
		return nil
	}
	ctx = inserting(ctx, b.Token)
	insert := db.insertCDRNative
	if !db.http {
		insert = db.insertCDRColumns
	}
	if err := insert(ctx, b, rows); err != nil {
		return fmt.Errorf("insert %d rows of %s: %w", len(rows), b.File, err)
	}
	return nil
}

// insertCDRNative streams blocks that we encode ourselves: a third of the
// processor time that appending to the driver's columns takes.
func (db *DB) insertCDRNative(ctx context.Context, b Batch, rows []cdr.Row) error {
	body := &nativeReader{rows: rows, batch: b}
	return db.conn.InsertFormat(ctx, "Native", "INSERT INTO simline.cdr ("+cdrColumns+")", body)
}

// insertCDRColumns is the same over native TCP: one block, appended by column.
func (db *DB) insertCDRColumns(ctx context.Context, b Batch, rows []cdr.Row) (err error) {
	batch, err := db.conn.PrepareBatch(ctx, "INSERT INTO simline.cdr ("+cdrColumns+")")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			// Sending nothing of it: a part of a batch under its token would make
			// the engine drop the whole later.
			_ = batch.Abort()
		}
	}()
	n := len(rows)
	ids, usage, hash := make([]int64, n), make([]uint64, n), make([]uint64, n)
	start, stop, hour, version := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	iccid, imsi, imei, mccmnc := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	account, file, deleted := make([]string, n), make([]string, n), make([]uint8, n)
	for i := range rows {
		r := &rows[i]
		ids[i], usage[i], hash[i] = r.ID, uint64(r.Usage), r.Hash
		start[i], stop[i], hour[i], version[i] = int64(r.Start), int64(r.Stop), int64(r.Hour()), b.Version
		iccid[i], imsi[i], imei[i], mccmnc[i] = string(r.ICCID()), string(r.IMSI()), string(r.IMEI()), string(r.MCCMNC())
		account[i], file[i] = b.Account, b.File
		if r.Deleted {
			deleted[i] = 1
		}
	}
	for i, c := range []any{ids, start, stop, iccid, imsi, usage, imei, mccmnc, hour, account, file, version, hash, deleted} {
		if err := batch.Column(i).Append(c); err != nil {
			return fmt.Errorf("column %d: %w", i, err)
		}
	}
	return batch.Send()
}

// Stored is one version of a record as the warehouse has it.
type Stored struct {
	ID      int64
	Hash    uint64
	Version int64
	Deleted bool // this key no longer holds the record
}

// StoredRange names the records asked for: those of account whose ids lie in
// [MinID, MaxID] and, if Of > 1, whose id modulo Of is Class.
type StoredRange struct {
	Account      string
	MinID, MaxID int64
	Class, Of    int
}

func (r StoredRange) where() string {
	// Account names are of [A-Za-z0-9_-]; quoting them needs no escaping.
	w := fmt.Sprintf("account = '%s' AND id BETWEEN %d AND %d", r.Account, r.MinID, r.MaxID)
	if r.Of > 1 {
		w += fmt.Sprintf(" AND positiveModulo(id, %d) = %d", r.Of, r.Class)
	}
	return w
}

// Class of an id among n, as StoredRange counts them.
func Class(id int64, n int) int {
	if n <= 1 {
		return 0
	}
	return int(((id % int64(n)) + int64(n)) % int64(n))
}

// CountStored is how many versions lie in the range.
func (db *DB) CountStored(ctx context.Context, r StoredRange) (int64, error) {
	var n uint64
	if err := db.conn.QueryRow(ctx, "SELECT count() FROM simline.cdr WHERE "+r.where()).Scan(&n); err != nil {
		return 0, fmt.Errorf("count stored records: %w", err)
	}
	return int64(n), nil
}

// ReadStored calls each for every version in the range, in no order, tombstones
// and superseded versions included: the caller takes the highest version of an
// id, and of two equal ones the one that is not deleted. Reading without FINAL
// is what makes recognising an overlap four times cheaper than inserting it.
func (db *DB) ReadStored(ctx context.Context, r StoredRange, each func(Stored)) error {
	return db.readStored(ctx, r.where(), each)
}

func (db *DB) readStored(ctx context.Context, where string, each func(Stored)) error {
	query := "SELECT id, row_hash, toUnixTimestamp64Milli(generated_at) AS version, is_deleted FROM simline.cdr WHERE " + where
	var err error
	if db.http {
		err = db.readStoredRaw(ctx, query, each)
	} else {
		err = db.readStoredRows(ctx, query, each)
	}
	if err != nil {
		return fmt.Errorf("read stored records: %w", err)
	}
	return nil
}

// readStoredRaw reads RowBinary: 25 bytes a row, all of fixed size.
func (db *DB) readStoredRaw(ctx context.Context, query string, each func(Stored)) error {
	body, err := db.conn.QueryFormat(ctx, "RowBinary", query)
	if err != nil {
		return err
	}
	defer body.Close()
	return decodeStored(body, each)
}

func (db *DB) readStoredRows(ctx context.Context, query string, each func(Stored)) error {
	rows, err := db.conn.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var s Stored
		var deleted uint8
		if err := rows.Scan(&s.ID, &s.Hash, &s.Version, &deleted); err != nil {
			return err
		}
		s.Deleted = deleted != 0
		each(s)
	}
	return rows.Err()
}

// ReadNamed is ReadStored for ids that are spread too widely for a range. ids is
// called until it returns none; they are put beside the records first, so that
// the engine reads its ids once, however many are asked for. load names the
// question and must be unique.
func (db *DB) ReadNamed(ctx context.Context, load string, r StoredRange, ids func() ([]int64, error), each func(Stored)) (err error) {
	drop := "ALTER TABLE simline.cdr_probe DROP PARTITION '" + load + "'"
	defer func() {
		// Losing this leaves scratch that its TTL removes.
		_ = db.conn.Exec(context.WithoutCancel(ctx), drop)
	}()
	for part := 0; ; part++ {
		some, err := ids()
		if err != nil {
			return err
		}
		if len(some) == 0 {
			break
		}
		if err := db.insertProbe(ctx, load, part, some); err != nil {
			return fmt.Errorf("name %d ids: %w", len(some), err)
		}
	}
	return db.readStored(ctx, r.where()+" AND id IN (SELECT id FROM simline.cdr_probe WHERE load = '"+load+"')", each)
}

func (db *DB) insertProbe(ctx context.Context, load string, part int, ids []int64) error {
	batch, err := db.conn.PrepareBatch(inserting(ctx, fmt.Sprintf("%s-%d", load, part)), "INSERT INTO simline.cdr_probe (load, id)")
	if err != nil {
		return err
	}
	loads := make([]string, len(ids))
	for i := range loads {
		loads[i] = load
	}
	for i, c := range []any{loads, ids} {
		if err := batch.Column(i).Append(c); err != nil {
			_ = batch.Abort()
			return err
		}
	}
	return batch.Send()
}

var _ io.Reader = (*nativeReader)(nil)
