package warehouse

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// EventInserter inserts into one table.
type EventInserter[R any] struct {
	db    *DB
	table EventTable[R]
	spare chan *EventBlock[R] // blocks that were inserted: memory for those to come
}

// NewEventInserter makes an inserter for t.
func NewEventInserter[R any](db *DB, t EventTable[R]) *EventInserter[R] {
	return &EventInserter[R]{db: db, table: t, spare: make(chan *EventBlock[R], 2)}
}

// EventBlock is what one insert writes: rows of one epoch, in ascending sequence and
// within one partition. Over HTTP it holds them as columns, and nothing of what they
// were made from; over native TCP the driver makes the columns, and the rows stay.
type EventBlock[R any] struct {
	table EventTable[R]
	http  bool
	n     int
	rows  []R         // over HTTP those which are not in the columns yet
	cols  [][2][]byte // of each column an array's ends, and the values
	tried bool        // an insert of it failed, and may be sending it still
}

// foldRows is how many rows lie beside the columns: few enough to be in the
// processor's cache still when they are cut up.
const foldRows = 64

// Block begins a block for about so many rows, with size bytes in the largest
// column: what grows by appending is copied several times over.
func (e *EventInserter[R]) Block(rows, size int) *EventBlock[R] {
	var b *EventBlock[R]
	select {
	case b = <-e.spare:
	default:
		b = &EventBlock[R]{table: e.table, http: e.db.http, cols: make([][2][]byte, len(e.table.columns))}
	}
	if b.http {
		b.rows = slices.Grow(b.rows, foldRows)
	} else {
		b.rows = slices.Grow(b.rows, rows)
	}
	for i, c := range e.table.columns {
		if b.http && c.large {
			b.cols[i][1] = slices.Grow(b.cols[i][1], size)
		}
	}
	return b
}

// Add puts rows behind the others.
func (b *EventBlock[R]) Add(rows ...R) {
	b.n += len(rows)
	for _, row := range rows {
		if b.rows = append(b.rows, row); b.http && len(b.rows) == foldRows {
			b.fold()
		}
	}
}

// Len is how many rows there are.
func (b *EventBlock[R]) Len() int { return b.n }

// fold moves rows into the columns.
func (b *EventBlock[R]) fold() {
	for i, c := range b.table.columns {
		col := &b.cols[i]
		if c.ends != nil {
			col[0] = c.ends(col[0], b.rows)
		}
		col[1] = c.native(col[1], b.rows)
	}
	clear(b.rows)
	b.rows = b.rows[:0]
}

// reset empties b and keeps its memory, unless that is much more than was needed.
func (b *EventBlock[R]) reset() {
	clear(b.rows)
	if b.n = 0; len(b.rows) < cap(b.rows)/4 && !b.http {
		b.rows = nil
	}
	b.rows = b.rows[:0]
	for i := range b.cols {
		for j, part := range b.cols[i] {
			if b.cols[i][j] = part[:0]; len(part) < cap(part)/4 {
				b.cols[i][j] = nil
			}
		}
	}
}

// reader reads b as a Native block: number of columns, number of rows, then per
// column its name, its type and its values. Where the table has
// LowCardinality(String) it takes plain strings.
func (b *EventBlock[R]) reader() io.Reader {
	head := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(len(b.cols))), uint64(b.n))
	parts := []io.Reader{bytes.NewReader(head)}
	for i, c := range b.table.columns {
		parts = append(parts, bytes.NewReader(column(nil, c.name, c.typ)), bytes.NewReader(b.cols[i][0]), bytes.NewReader(b.cols[i][1]))
	}
	return io.MultiReader(parts...)
}

// Insert writes a block. token must name it: the same token, the same rows. It
// returns when they are durable, and the block is not to be used again; after an
// error they may be there or not, and the same call again is safe.
func (e *EventInserter[R]) Insert(ctx context.Context, token string, b *EventBlock[R]) (err error) {
	if b.n == 0 {
		return nil
	}
	ctx = inserting(ctx, token)
	if b.http {
		b.fold()
		err = e.db.conn.InsertFormat(ctx, "Native", e.table.insert(), b.reader())
	} else {
		err = e.columns(ctx, b.rows)
	}
	if err != nil {
		b.tried = true
		return fmt.Errorf("insert %d rows into %s: %w", b.n, e.table.Name, err)
	}
	if b.tried {
		return nil
	}
	b.reset()
	select {
	case e.spare <- b:
	default:
	}
	return nil
}

func (t EventTable[R]) insert() string {
	q := "INSERT INTO " + t.Name + " ("
	for i, c := range t.columns {
		if i > 0 {
			q += ", "
		}
		q += c.name
	}
	return q + ")"
}

func (e *EventInserter[R]) columns(ctx context.Context, rows []R) (err error) {
	batch, err := e.db.conn.PrepareBatch(ctx, e.table.insert())
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = batch.Abort() // nothing of it is sent; a repeat starts anew
		}
	}()
	for i, c := range e.table.columns {
		if err := batch.Column(i).Append(c.values(rows)); err != nil {
			return fmt.Errorf("column %s: %w", c.name, err)
		}
	}
	return batch.Send()
}
