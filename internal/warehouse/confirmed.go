package warehouse

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"time"
)

// InsertConfirmed notes that b's file repeats the records ids unchanged. part
// numbers the calls for one content. ids is sorted in place.
func (db *DB) InsertConfirmed(ctx context.Context, b Batch, part int, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	ids = sortIDs(ids)
	fail := func(err error) error { return fmt.Errorf("note %d repeated records of %s: %w", len(ids), b.File, err) }
	batch, err := db.conn.PrepareBatch(inserting(ctx, b.Token), "INSERT INTO simline.cdr_confirmed (account, file, generated_at, part, min_id, max_id, ids)")
	if err != nil {
		return fail(err)
	}
	if err := batch.Append(b.Account, b.File, time.UnixMilli(b.Version), uint32(part), ids[0], ids[len(ids)-1], string(packIDs(ids))); err != nil {
		_ = batch.Abort()
		return fail(err)
	}
	if err := batch.Send(); err != nil {
		return fail(err)
	}
	return nil
}

// ConfirmedSince returns, for those of ids that a file of version since or later
// repeated unchanged, the highest such version.
func (db *DB) ConfirmedSince(ctx context.Context, account string, since int64, ids []int64) (map[int64]int64, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	out := map[int64]int64{}
	wanted := make(map[int64]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	rows, err := db.conn.Query(ctx, "SELECT toUnixTimestamp64Milli(generated_at), ids FROM simline.cdr_confirmed "+
		"WHERE account = ? AND generated_at >= fromUnixTimestamp64Milli(?) AND max_id >= ? AND min_id <= ?", account, since, slices.Min(ids), slices.Max(ids))
	if err != nil {
		return nil, fmt.Errorf("read repeated records: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var version int64
		var packed string
		if err := rows.Scan(&version, &packed); err != nil {
			return nil, fmt.Errorf("read repeated records: %w", err)
		}
		if err := unpackIDs([]byte(packed), func(id int64) {
			if wanted[id] && version > out[id] {
				out[id] = version
			}
		}); err != nil {
			return nil, fmt.Errorf("read repeated records: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read repeated records: %w", err)
	}
	return out, nil
}

// sortIDs sorts and removes duplicates. Ids of one file are dense, so a bitmap
// does it in one pass over memory.
func sortIDs(ids []int64) []int64 {
	lo, hi := slices.Min(ids), slices.Max(ids)
	span := uint64(hi) - uint64(lo)
	if span/64 > uint64(len(ids)) {
		slices.Sort(ids)
		return slices.Compact(ids)
	}
	bitmap := make([]uint64, span/64+1)
	for _, id := range ids {
		off := uint64(id) - uint64(lo)
		bitmap[off/64] |= 1 << (off % 64)
	}
	ids = ids[:0]
	for i, word := range bitmap {
		for ; word != 0; word &= word - 1 {
			ids = append(ids, lo+int64(i)*64+int64(bits.TrailingZeros64(word)))
		}
	}
	return ids
}

// packIDs writes the first id and then each difference to the one before.
func packIDs(ids []int64) []byte {
	b := binary.AppendVarint(nil, ids[0])
	for i := 1; i < len(ids); i++ {
		b = binary.AppendUvarint(b, uint64(ids[i])-uint64(ids[i-1]))
	}
	return b
}

var errPacked = errors.New("packed ids are broken")

func unpackIDs(b []byte, each func(int64)) error {
	id, n := binary.Varint(b)
	if n <= 0 {
		return errPacked
	}
	each(id)
	for b = b[n:]; len(b) > 0; b = b[n:] {
		var diff uint64
		if diff, n = binary.Uvarint(b); n <= 0 {
			return errPacked
		}
		id += int64(diff)
		each(id)
	}
	return nil
}
