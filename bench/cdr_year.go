package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// A year of 100,000 cards, each seen once a day: 36.5 million records. The last
// two days are open, as they are in business; the others are sealed.
const (
	yearCards = 100_000
	yearDays  = 365
	openDays  = 2
)

// cdrYear measures the queries that dashboards make, on a year of data: what they
// read, and how long it takes. It takes some minutes and 2 GB of disk. What it has
// said stands in docs/dashboards.md.
func cdrYear(ctx context.Context) ([]Result, error) {
	r, err := newCDRRig(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	today := time.Now().UTC().Truncate(24 * time.Hour)
	first := today.AddDate(0, 0, 1-yearDays)
	if err := r.fillYear(ctx, first); err != nil {
		return nil, err
	}
	day := func(ago int) string { return "'" + today.AddDate(0, 0, -ago).Format(time.DateOnly) + "'" }
	var out []Result
	for _, q := range []struct {
		name, query string
		answer      int // rows
	}{
		{"cdr_year_countries_30_days", "SELECT country, sum(bytes) FROM mart.usage_by_country_daily WHERE event_date BETWEEN " + day(29) + " AND " + day(0) + " GROUP BY country ORDER BY 2 DESC", 12},
		{"cdr_year_one_card", "SELECT event_date, sum(bytes) FROM mart.usage_daily WHERE iccid = '89883086501000012345' GROUP BY event_date ORDER BY event_date", yearDays},
		{"cdr_year_top_100_sealed_day", "SELECT place, iccid, bytes FROM mart.top_cards_daily WHERE event_date = " + day(100) + " AND place <= 100 ORDER BY place", 100},
		{"cdr_year_top_100_today", "SELECT place, iccid, bytes FROM mart.top_cards_daily WHERE event_date = " + day(0) + " AND place <= 100 ORDER BY place", 100},
	} {
		var times []float64
		for range 5 {
			begin := time.Now()
			n, err := r.ask(ctx, q.query)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", q.name, err)
			}
			if n != q.answer {
				return nil, fmt.Errorf("%s: %d rows, want %d", q.name, n, q.answer)
			}
			times = append(times, float64(time.Since(begin).Microseconds())/1000)
		}
		read, err := r.reads(ctx, q.query)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", q.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench: %s %.0f ms, %d rows read\n", q.name, median(times), read)
		out = append(out, Result{Name: q.name, Value: median(times), Unit: "ms", Against: fmt.Sprintf("%d rows read; the year has %d records and as many daily sums", read, yearCards*yearDays),
			Ratio: float64(yearCards*yearDays) / float64(max(read, 1))})
	}
	return out, nil
}

// fillYear writes the records straight into the table, ten days at a time, and
// seals all but the last days as cdrpull does.
func (r *cdrRig) fillYear(ctx context.Context, first time.Time) error {
	const step = 10
	for from := 0; from < yearDays; from += step {
		days := min(step, yearDays-from)
		if err := r.db.Conn().Exec(ctx, fmt.Sprintf(`INSERT INTO simline.cdr (id, start_time, stop_time, iccid, imsi, data_usage, imei, mccmnc, hour, account, file, generated_at, row_hash)
			SELECT number + 1 AS id, toDateTime(%d + intDiv(number, %d) * 86400 + cityHash64(number) %% 82800, 'UTC') AS start_time, start_time + cityHash64(number, 1) %% 3600 AS stop_time,
				concat('89883086501', leftPad(toString(number %% %[2]d), 9, '0')) AS iccid, concat('454310', leftPad(toString(number %% %[2]d), 9, '0')) AS imsi,
				cityHash64(number, 2) %% 4000000 AS data_usage, '350000000000001' AS imei,
				['23410', '23415', '26201', '26202', '20801', '20810', '310260', '310410', '311480', '44010', '44020', '45005', '46000', '46001', '46011', '52501', '50501', '334020', '72405', '302720'][(number %% %[2]d + intDiv(number, %[2]d * 40)) %% 20 + 1] AS mccmnc,
				toStartOfHour(start_time) AS hour, 'default' AS account, 'year' AS file, now64(3) AS generated_at, cityHash64(number, 3) AS row_hash
			FROM numbers(%d, %d) SETTINGS optimize_on_insert = 0`, first.Unix(), yearCards, from*yearCards, days*yearCards)); err != nil {
			return fmt.Errorf("fill the year: %w", err)
		}
	}
	for i := range yearDays {
		day := first.AddDate(0, 0, i)
		if i >= yearDays-openDays {
			if err := r.db.OpenDays(ctx, "default", []time.Time{day}); err != nil {
				return err
			}
			continue
		}
		if err := r.db.SealDay(ctx, "default", day); err != nil {
			return err
		}
		if i%30 == 0 {
			fmt.Fprintf(os.Stderr, "bench: a year of data, sealed up to %s\n", day.Format(time.DateOnly))
		}
	}
	return nil
}

// reads is how many rows the engine will read of each table for a query, after all
// that its indexes and partitions let it leave out.
func (r *cdrRig) reads(ctx context.Context, query string) (total uint64, err error) {
	rows, err := r.db.Conn().Query(ctx, "EXPLAIN ESTIMATE "+query)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var database, table string
		var parts, n, marks uint64
		if err := rows.Scan(&database, &table, &parts, &n, &marks); err != nil {
			return 0, err
		}
		total += n
	}
	return total, rows.Err()
}

// ask sends one query and counts the rows of its answer.
func (r *cdrRig) ask(ctx context.Context, query string) (n int, err error) {
	rows, err := r.db.Conn().Query(ctx, query)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}
