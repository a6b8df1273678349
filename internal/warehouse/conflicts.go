package warehouse

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/simline/simline/internal/cdr"
)

// Versioned is a record with where it came from.
type Versioned struct {
	Row     cdr.Row
	File    string
	Version int64
}

// maxNamedIDs bounds how many ids one statement spells out.
const maxNamedIDs = 10_000

// LiveRecords returns, for each id that is there, what lives under its key or
// keys, the highest version first. There is one, unless a crash came between.
func (db *DB) LiveRecords(ctx context.Context, account string, ids []int64) (map[int64][]Versioned, error) {
	out := make(map[int64][]Versioned, len(ids))
	for chunk := range slices.Chunk(ids, maxNamedIDs) {
		if err := db.liveRecords(ctx, account, chunk, out); err != nil {
			return nil, fmt.Errorf("read %d records: %w", len(chunk), err)
		}
	}
	for _, alive := range out {
		slices.SortFunc(alive, func(a, b Versioned) int {
			return cmp.Or(cmp.Compare(b.Version, a.Version), cmp.Compare(b.Row.Hash, a.Row.Hash))
		})
	}
	return out, nil
}

func (db *DB) liveRecords(ctx context.Context, account string, ids []int64, out map[int64][]Versioned) error {
	var list strings.Builder
	for i, id := range ids {
		if i > 0 {
			list.WriteByte(',')
		}
		list.WriteString(strconv.FormatInt(id, 10))
	}
	rows, err := db.conn.Query(ctx, "SELECT id, start_time, stop_time, iccid, imsi, data_usage, imei, mccmnc, file, toUnixTimestamp64Milli(generated_at), row_hash "+
		"FROM simline.cdr FINAL WHERE account = ? AND id IN ("+list.String()+")", account)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r cdr.Record
		var v Versioned
		var usage, hash uint64
		if err := rows.Scan(&r.ID, &r.Start, &r.Stop, &r.ICCID, &r.IMSI, &usage, &r.IMEI, &r.MCCMNC, &v.File, &v.Version, &hash); err != nil {
			return err
		}
		r.Usage = int64(usage)
		v.Row = r.Row(hash)
		out[r.ID] = append(out[r.ID], v)
	}
	return rows.Err()
}

// Conflict is a record that came in two versions.
type Conflict struct{ Kept, Lost Versioned }

// InsertConflicts notes them; a repeat under the same token adds nothing.
func (db *DB) InsertConflicts(ctx context.Context, account, token string, conflicts []Conflict, at time.Time) error {
	if len(conflicts) == 0 {
		return nil
	}
	fail := func(err error) error { return fmt.Errorf("note %d conflicts: %w", len(conflicts), err) }
	batch, err := db.conn.PrepareBatch(inserting(ctx, token), "INSERT INTO simline.cdr_conflicts (account, id, kept_hash, lost_hash, kept_file, lost_file, "+
		"kept_generated_at, lost_generated_at, kept_start_time, lost_start_time, kept_stop_time, lost_stop_time, kept_iccid, lost_iccid, "+
		"kept_mccmnc, lost_mccmnc, kept_bytes, lost_bytes, noted_at)")
	if err != nil {
		return fail(err)
	}
	for _, c := range conflicts {
		k, l := c.Kept.Row.Record(), c.Lost.Row.Record()
		if err := batch.Append(account, k.ID, c.Kept.Row.Hash, c.Lost.Row.Hash, c.Kept.File, c.Lost.File,
			time.UnixMilli(c.Kept.Version), time.UnixMilli(c.Lost.Version), k.Start, l.Start, k.Stop, l.Stop, k.ICCID, l.ICCID,
			k.MCCMNC, l.MCCMNC, uint64(k.Usage), uint64(l.Usage), at); err != nil {
			_ = batch.Abort()
			return fail(err)
		}
	}
	if err := batch.Send(); err != nil {
		return fail(err)
	}
	return nil
}

// ConflictsNoted counts the records of b's file that came in another version as
// well, as far as noted.
func (db *DB) ConflictsNoted(ctx context.Context, b Batch) (int64, error) {
	var n uint64
	if err := db.conn.QueryRow(ctx, "SELECT uniqExact(id) FROM simline.cdr_conflicts WHERE account = ? AND "+
		"(kept_file = ? AND kept_generated_at = fromUnixTimestamp64Milli(?) OR lost_file = ? AND lost_generated_at = fromUnixTimestamp64Milli(?))",
		b.Account, b.File, b.Version, b.File, b.Version).Scan(&n); err != nil {
		return 0, fmt.Errorf("count conflicts of %s: %w", b.File, err)
	}
	return int64(n), nil
}
