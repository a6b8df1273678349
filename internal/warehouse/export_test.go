package warehouse

import (
	"context"
	"io"

	"github.com/simline/simline/internal/cdr"
)

// OverColumns is db as it would be over native TCP, where the driver makes and
// reads the columns; over HTTP the same code runs.
func (db *DB) OverColumns() *DB { return &DB{conn: db.conn} }

func (db *DB) HTTP() bool { return db.http }

func PackIDs(ids []int64) []byte                        { return packIDs(sortIDs(ids)) }
func UnpackIDs(b []byte, each func(int64)) error        { return unpackIDs(b, each) }
func DecodeStored(r io.Reader, each func(Stored)) error { return decodeStored(r, each) }

const StoredWidth = storedWidth

// InsertColumns is InsertCDR over native TCP without the settings that a server
// of today gets, for one that does not know them.
func (db *DB) InsertColumns(ctx context.Context, b Batch, rows []cdr.Row) error {
	return db.insertCDRColumns(ctx, b, rows)
}

// InsertCDRInto is InsertCDR into another table of the same columns.
func (db *DB) InsertCDRInto(ctx context.Context, table string, b Batch, rows []cdr.Row) error {
	return db.conn.InsertFormat(inserting(ctx, b.Token), "Native", "INSERT INTO "+table+" ("+cdrColumns+")", &nativeReader{rows: rows, batch: b})
}
