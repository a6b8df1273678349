package warehouse

import (
	"context"
	"fmt"
	"time"
)

// OpenDays makes the daily marts read the records of these days themselves. It
// must be durable before a row of such a day changes.
func (db *DB) OpenDays(ctx context.Context, account string, days []time.Time) error {
	if len(days) == 0 {
		return nil
	}
	unix := make([]uint32, len(days))
	for i, d := range days {
		unix[i] = uint32(d.Unix() / 86400)
	}
	// The engine's clock, not ours: it is what seals are compared with. But never
	// before the seal that stands there, whose node's clock may have been ahead.
	err := db.conn.Exec(ctx, "INSERT INTO simline.usage_days (account, day, open, version) "+
		"SELECT account, day, 1, greatest(now64(6, 'UTC'), max(version) + toIntervalMicrosecond(1)) FROM ("+
		"SELECT account, day, version FROM simline.usage_days WHERE account = ? AND toUInt16(day) IN (?) "+
		"UNION ALL SELECT ?, toDate(toUInt16(arrayJoin(?))), toDateTime64(0, 6, 'UTC')) GROUP BY account, day",
		account, unix, account, unix)
	if err != nil {
		return fmt.Errorf("open %d days of %s: %w", len(days), account, err)
	}
	return nil
}

// QuietDays lists the account's open days that no load has touched for quiet.
func (db *DB) QuietDays(ctx context.Context, account string, quiet time.Duration) ([]time.Time, error) {
	rows, err := db.conn.Query(ctx, "SELECT day FROM simline.usage_days FINAL "+
		"WHERE account = ? AND open = 1 AND version <= now64(6, 'UTC') - toIntervalMillisecond(?) ORDER BY day", account, quiet.Milliseconds())
	if err != nil {
		return nil, fmt.Errorf("list open days: %w", err)
	}
	defer rows.Close()
	var out []time.Time
	for rows.Next() {
		var d time.Time
		if err := rows.Scan(&d); err != nil {
			return nil, fmt.Errorf("list open days: %w", err)
		}
		out = append(out, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list open days: %w", err)
	}
	return out, nil
}

// SealDay sums the day's records and makes the daily marts read the sums. If a
// load opened the day meanwhile it stays open.
func (db *DB) SealDay(ctx context.Context, account string, day time.Time) error {
	fail := func(err error) error {
		return fmt.Errorf("seal %s of %s: %w", day.Format(time.DateOnly), account, err)
	}
	var version int64
	if err := db.conn.QueryRow(ctx, "SELECT toUnixTimestamp64Micro(now64(6, 'UTC'))").Scan(&version); err != nil {
		return fail(err)
	}
	// The version was taken before the records are read: whatever changes them
	// after this point opened the day with a later one.
	date := day.Format(time.DateOnly)
	if err := db.conn.Exec(ctx, `INSERT INTO simline.usage_rollup
		(iccid, day, account, mccmnc, version, bytes, records, zero_records, short_records, long_records, seconds, max_seconds, last_seen)
		SELECT iccid, toDate(hour) AS day, account, mccmnc, fromUnixTimestamp64Micro(toInt64(?), 'UTC'),
			sum(data_usage), count(), countIf(data_usage = 0), countIf(stop_time - start_time < 60), countIf(stop_time - start_time >= 3600),
			sum(toUInt64(stop_time - start_time)), toUInt32(max(stop_time - start_time)), max(stop_time)
		FROM simline.cdr FINAL
		WHERE account = ? AND toDate(hour) = toDate(?)
		GROUP BY iccid, day, account, mccmnc`, version, account, date); err != nil {
		return fail(err)
	}
	// If we die here: the sums lie there unused, since no day names their version.
	if err := db.conn.Exec(ctx, "INSERT INTO simline.usage_days (account, day, open, version) "+
		"SELECT ?, toDate(?), 0, fromUnixTimestamp64Micro(toInt64(?), 'UTC')", account, date, version); err != nil {
		return fail(err)
	}
	return nil
}
