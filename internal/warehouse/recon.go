package warehouse

import (
	"context"
	"fmt"
	"time"
)

// FilesLoadedSince lists files of account that were loaded, for the first time or
// again, after since.
func (db *DB) FilesLoadedSince(ctx context.Context, account string, since time.Time) ([]File, error) {
	return db.files(ctx, "account = ? AND loaded_at > ? AND state IN (?, ?) ORDER BY loaded_at, file, content", account, since, FileLoaded, FileWithRejects)
}

// CardUsage hands every card of account with the bytes of its records that began
// within from..to to each, sorted by ICCID: cards with records since known, even
// if none then, and cards that were bought or ordered for at this supplier since
// known. To is excluded.
func (db *DB) CardUsage(ctx context.Context, supplier, account string, from, to, known time.Time, each func(iccid string, bytes int64) error) error {
	rows, err := db.conn.Query(ctx, `SELECT iccid, sum(used) FROM (
			SELECT iccid, toInt64(data_usage) AS used FROM simline.cdr FINAL
			WHERE account = ? AND hour >= toStartOfHour(?) AND hour < ? AND start_time >= ? AND start_time < ?
			UNION ALL
			SELECT DISTINCT iccid, toInt64(0) FROM simline.cdr WHERE account = ? AND hour >= ? AND hour < ?
			UNION ALL
			SELECT DISTINCT arrayJoin(iccids) AS iccid, toInt64(0) FROM simline.order_events
			WHERE account = ? AND supplier = ? AND certainty = 'placed' AND at >= ? AND at < ?
		) WHERE match(iccid, '^[0-9]{18,22}$') GROUP BY iccid ORDER BY iccid`,
		account, from.UTC(), to.UTC(), from.UTC(), to.UTC(), account, known.UTC(), to.UTC(), account, supplier, known.UTC(), to.UTC())
	if err != nil {
		return fmt.Errorf("read usage by card: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var iccid string
		var bytes int64
		if err := rows.Scan(&iccid, &bytes); err != nil {
			return fmt.Errorf("read usage by card: %w", err)
		}
		if err := each(iccid, bytes); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read usage by card: %w", err)
	}
	return nil
}

// UsageOf sums the bytes of some cards' records that began within from..to, to
// excluded. A card without any is missing from the answer.
func (db *DB) UsageOf(ctx context.Context, account string, iccids []string, from, to time.Time) (map[string]int64, error) {
	rows, err := db.conn.Query(ctx, `SELECT iccid, toInt64(sum(data_usage)) FROM simline.cdr FINAL
		WHERE account = ? AND hour >= toStartOfHour(?) AND hour < ? AND start_time >= ? AND start_time < ? AND iccid IN (?) GROUP BY iccid`,
		account, from.UTC(), to.UTC(), from.UTC(), to.UTC(), iccids)
	if err != nil {
		return nil, fmt.Errorf("read usage of %d cards: %w", len(iccids), err)
	}
	defer rows.Close()
	out := map[string]int64{}
	for rows.Next() {
		var iccid string
		var bytes int64
		if err := rows.Scan(&iccid, &bytes); err != nil {
			return nil, fmt.Errorf("read usage of %d cards: %w", len(iccids), err)
		}
		out[iccid] = bytes
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read usage of %d cards: %w", len(iccids), err)
	}
	return out, nil
}

// FirstLoad is when the first file of account was loaded; zero if none was.
func (db *DB) FirstLoad(ctx context.Context, account string) (time.Time, error) {
	var at time.Time
	if err := db.conn.QueryRow(ctx, "SELECT min(first_loaded) FROM simline.cdr_files FINAL WHERE account = ? AND first_loaded > toDateTime(0, 'UTC')", account).Scan(&at); err != nil {
		return time.Time{}, fmt.Errorf("first loaded file: %w", err)
	}
	if at.Unix() == 0 {
		return time.Time{}, nil
	}
	return at, nil
}
