package warehouse

import (
	"context"
	"fmt"
	"time"

	"github.com/simline/simline/internal/cdr"
)

// DropRejects marks the bad rows of one content as gone, since it is read again:
// those that are bad still are set aside again, later than the moment it returns.
func (db *DB) DropRejects(ctx context.Context, f File) (at time.Time, err error) {
	const of = " FROM simline.cdr_rejects FINAL WHERE account = ? AND file = ? AND sha256 = ?"
	if err = db.conn.Exec(ctx, "INSERT INTO simline.cdr_rejects (account, file, line, raw, reason, sha256, rejected_at, gone) "+
		"SELECT account, file, line, '', reason, sha256, rejected_at + toIntervalMillisecond(1), 1"+of+" AND gone = 0", f.Account, f.File, f.SHA256); err == nil {
		err = db.conn.QueryRow(ctx, "SELECT max(rejected_at)"+of, f.Account, f.File, f.SHA256).Scan(&at)
	}
	if err != nil {
		return at, fmt.Errorf("forget the bad rows of %s: %w", f.File, err)
	}
	return at, nil
}

// InsertRejects sets bad rows aside. part numbers the calls for one content. A
// repeat replaces them by file and line.
func (db *DB) InsertRejects(ctx context.Context, f File, part int, rejects []cdr.Reject, at time.Time) error {
	if len(rejects) == 0 {
		return nil
	}
	token := fmt.Sprintf("rejects-%s-%s-%s-%d-%d", f.Account, f.File, f.SHA256, at.UnixMilli(), part)
	batch, err := db.conn.PrepareBatch(inserting(ctx, token), "INSERT INTO simline.cdr_rejects (account, file, line, raw, reason, sha256, rejected_at)")
	if err != nil {
		return fmt.Errorf("set %d bad rows of %s aside: %w", len(rejects), f.File, err)
	}
	for _, r := range rejects {
		if err := batch.Append(f.Account, f.File, uint64(r.Line), r.Raw, string(r.Reason), f.SHA256, at); err != nil {
			_ = batch.Abort()
			return fmt.Errorf("set %d bad rows of %s aside: %w", len(rejects), f.File, err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("set %d bad rows of %s aside: %w", len(rejects), f.File, err)
	}
	return nil
}

// Rejects lists bad rows of one content, by line, at most limit of them.
func (db *DB) Rejects(ctx context.Context, f File, limit int) ([]cdr.Reject, error) {
	rows, err := db.conn.Query(ctx, "SELECT line, raw, reason FROM simline.cdr_rejects FINAL WHERE account = ? AND file = ? AND sha256 = ? AND gone = 0 ORDER BY line LIMIT ?",
		f.Account, f.File, f.SHA256, limit)
	if err != nil {
		return nil, fmt.Errorf("list bad rows of %s: %w", f.File, err)
	}
	defer rows.Close()
	var out []cdr.Reject
	for rows.Next() {
		var line uint64
		var r cdr.Reject
		var reason string
		if err := rows.Scan(&line, &r.Raw, &reason); err != nil {
			return nil, fmt.Errorf("list bad rows of %s: %w", f.File, err)
		}
		r.Line, r.Reason = int64(line), cdr.Reason(reason)
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list bad rows of %s: %w", f.File, err)
	}
	return out, nil
}
