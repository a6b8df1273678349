package warehouse

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// EventPartition is how many sequences share a partition of an event table. A
// batch must not cross a multiple of it: within one partition an insert is there
// whole or not at all.
const EventPartition = 10_000_000

// EventTable is a table with one row per message of a stream, identified by
// (epoch, sequence).
type EventTable[R any] struct {
	Name    string // with its database
	columns []eventColumn[R]
}

// eventColumn writes one column, in both of the driver's protocols.
type eventColumn[R any] struct {
	name, typ string
	large     bool                            // most of what a row takes
	ends      func(b []byte, rows []R) []byte // of an array: where each row's values end; nil otherwise
	native    func(b []byte, rows []R) []byte // the values, as in a Native block
	values    func(rows []R) any              // as a slice for the driver
}

// LastArchived is the highest sequence that the warehouse has settled of stream,
// which was made at epoch: archived in table, or skipped; 0 if none. Batches go
// in whole and in order, so every message up to it is settled as well.
func LastArchived(ctx context.Context, db *DB, table, stream string, epoch time.Time) (uint64, error) {
	var last uint64
	at := fmt.Sprintf("fromUnixTimestamp64Milli(toInt64(%d), 'UTC')", epoch.UnixMilli())
	query := "SELECT max(last) FROM (SELECT max(sequence) AS last FROM " + table + " WHERE epoch = " + at +
		" UNION ALL SELECT max(sequence) AS last FROM simline.archive_skipped WHERE stream = '" + stream + "' AND epoch = " + at + ")"
	if err := db.conn.QueryRow(ctx, query).Scan(&last); err != nil {
		return 0, fmt.Errorf("last sequence in %s: %w", table, err)
	}
	return last, nil
}

// Skipped is a message that could not be archived.
type Skipped struct {
	Stream, Subject, Reason, Error string
	Epoch                          time.Time
	Sequence                       uint64
	At                             time.Time
}

// InsertSkipped notes that a message is settled without a row.
func InsertSkipped(ctx context.Context, db *DB, s Skipped) error {
	batch, err := db.conn.PrepareBatch(inserting(ctx, fmt.Sprintf("skipped:%s:%d:%d", s.Stream, s.Epoch.UnixMilli(), s.Sequence)),
		"INSERT INTO simline.archive_skipped (stream, epoch, sequence, subject, reason, error, skipped_at)")
	if err != nil {
		return fmt.Errorf("note a skipped message: %w", err)
	}
	if err := batch.Append(s.Stream, s.Epoch, s.Sequence, s.Subject, s.Reason, s.Error, s.At); err != nil {
		_ = batch.Abort()
		return fmt.Errorf("note a skipped message: %w", err)
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("note a skipped message: %w", err)
	}
	return nil
}

// Makers of columns. get must not keep what it is given.

func columnOf[R, V any](name, typ string, get func(*R) V, put func([]byte, V) []byte) eventColumn[R] {
	return eventColumn[R]{name: name, typ: typ,
		native: func(b []byte, rows []R) []byte {
			for i := range rows {
				b = put(b, get(&rows[i]))
			}
			return b
		},
		values: func(rows []R) any {
			out := make([]V, len(rows))
			for i := range rows {
				out[i] = get(&rows[i])
			}
			return out
		}}
}

func stringColumn[R any](name string, get func(*R) string) eventColumn[R] {
	return columnOf(name, "String", get, textString)
}

func uintColumn[R any](name string, get func(*R) uint64) eventColumn[R] {
	return columnOf(name, "UInt64", get, binary.LittleEndian.AppendUint64)
}

func uint32Column[R any](name string, get func(*R) uint32) eventColumn[R] {
	return columnOf(name, "UInt32", get, binary.LittleEndian.AppendUint32)
}

func uint16Column[R any](name string, get func(*R) uint16) eventColumn[R] {
	return columnOf(name, "UInt16", get, binary.LittleEndian.AppendUint16)
}

func uint8Column[R any](name string, get func(*R) uint8) eventColumn[R] {
	return columnOf(name, "UInt8", get, func(b []byte, v uint8) []byte { return append(b, v) })
}

// Times outside of what the column can hold become its nearest end: a supplier's
// odd date must not stop a stream.
var (
	firstTime = time.Unix(0, 0).UTC()
	lastTime  = time.Date(2105, 12, 31, 23, 59, 59, 0, time.UTC)
)

func clampTime(t time.Time) time.Time {
	switch {
	case t.Before(firstTime):
		return firstTime
	case t.After(lastTime):
		return lastTime
	}
	return t.UTC()
}

func clamped[R any](get func(*R) time.Time) func(*R) time.Time {
	return func(r *R) time.Time { return clampTime(get(r)) }
}

func microColumn[R any](name string, get func(*R) time.Time) eventColumn[R] {
	return columnOf(name, "DateTime64(6, 'UTC')", clamped(get), func(b []byte, t time.Time) []byte {
		return binary.LittleEndian.AppendUint64(b, uint64(t.UnixMicro()))
	})
}

func milliColumn[R any](name string, get func(*R) time.Time) eventColumn[R] {
	return columnOf(name, "DateTime64(3, 'UTC')", clamped(get), func(b []byte, t time.Time) []byte {
		return binary.LittleEndian.AppendUint64(b, uint64(t.UnixMilli()))
	})
}

func secondColumn[R any](name string, get func(*R) time.Time) eventColumn[R] {
	return columnOf(name, "DateTime('UTC')", clamped(get), func(b []byte, t time.Time) []byte {
		return binary.LittleEndian.AppendUint32(b, uint32(t.Unix()))
	})
}

// moneyColumn holds millionths: up to 12 digits before and 6 after the point, which
// is what order.Money allows.
func moneyColumn[R any](name string, get func(*R) int64) eventColumn[R] {
	c := columnOf(name, "Decimal(18, 6)", get, func(b []byte, micros int64) []byte {
		return binary.LittleEndian.AppendUint64(b, uint64(micros))
	})
	c.values = func(rows []R) any {
		out := make([]decimal.Decimal, len(rows))
		for i := range rows {
			out[i] = decimal.New(get(&rows[i]), -6)
		}
		return out
	}
	return c
}

// ParseMicros reads a decimal with up to 12 digits before and 6 after the point,
// as millionths.
func ParseMicros(s string) (micros int64, ok bool) {
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	before, after, point := strings.Cut(s, ".")
	if len(before) < 1 || len(before) > 12 || point && (len(after) < 1 || len(after) > 6) {
		return 0, false
	}
	for _, digits := range []string{before, (after + "000000")[:6]} {
		for _, c := range []byte(digits) {
			if c < '0' || c > '9' {
				return 0, false
			}
			micros = micros*10 + int64(c-'0')
		}
	}
	if neg {
		micros = -micros
	}
	return micros, true
}

func stringsColumn[R any](name string, get func(*R) []string) eventColumn[R] {
	c := columnOf(name, "Array(String)", get, nil)
	c.ends = func(b []byte, rows []R) []byte {
		end := uint64(0)
		if len(b) > 0 {
			end = binary.LittleEndian.Uint64(b[len(b)-8:])
		}
		for i := range rows {
			end += uint64(len(get(&rows[i])))
			b = binary.LittleEndian.AppendUint64(b, end)
		}
		return b
	}
	c.native = func(b []byte, rows []R) []byte {
		for i := range rows {
			for _, s := range get(&rows[i]) {
				b = textString(b, s)
			}
		}
		return b
	}
	return c
}
