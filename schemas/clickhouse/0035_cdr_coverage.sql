-- One row per account and half hour, from the account's first window until now.
-- The supplier sends each half hour about twice: as the second half of the file
-- that ends with it, and as the first half of the next. only_overlapped says
-- that the first of the two never came. (0032, with CDR_LATE_AFTER as it is set;
-- 90 minutes until a worker has said it.)
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.cdr_coverage
(
    account      LowCardinality(String) COMMENT 'Account name',
    event_time   DateTime('UTC')        COMMENT 'Start of the half hour (UTC)',
    event_date   Date                   COMMENT 'The day of event_time',
    window_end   DateTime('UTC')        COMMENT 'End of the half hour',
    status       LowCardinality(String) COMMENT 'on_time, late, only_overlapped, missing, or due (not late yet)',
    files        UInt64                 COMMENT 'Loaded files that cover it',
    with_rejects UInt8                  COMMENT '1: one of them had bad rows',
    covered_at   DateTime64(3, 'UTC')   COMMENT 'When it was covered first; 1970 if it is not'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Half hours of each account: covered by files, late, or missing'
AS WITH (SELECT if(count() = 0, 5400, any(seconds)) FROM simline.cdr_terms FINAL WHERE name = 'late_after') AS late_after
SELECT
    account, slot AS event_time, toDate(slot) AS event_date, slot + INTERVAL 30 MINUTE AS window_end,
    multiIf(
        files > 0 AND not own, 'only_overlapped',
        files > 0 AND covered_at <= window_end + toIntervalSecond(late_after), 'on_time',
        files > 0, 'late',
        window_end + toIntervalSecond(late_after) <= now(), 'missing',
        'due') AS status,
    files, with_rejects, covered_at
FROM
(
    SELECT account, slot,
           countIf(real) AS files,
           max(ends) AS own,
           max(bad) AS with_rejects,
           minIf(first_loaded, real) AS covered_at
    FROM
    (
        SELECT account,
               arrayJoin(arrayMap(t -> toDateTime(t, 'UTC'), range(toUInt32(toStartOfInterval(window_start + INTERVAL 1799 SECOND, INTERVAL 30 MINUTE)), toUInt32(toStartOfInterval(window_end, INTERVAL 30 MINUTE)), 1800))) AS slot,
               1 AS real,
               slot + INTERVAL 30 MINUTE = toStartOfInterval(window_end, INTERVAL 30 MINUTE) AS ends,
               state = 'with_rejects' AS bad,
               first_loaded
        FROM simline.cdr_files FINAL
        WHERE state IN ('loaded', 'with_rejects')
        UNION ALL
        SELECT account,
               arrayJoin(arrayMap(t -> toDateTime(t, 'UTC'), range(toUInt32(toStartOfInterval(min(window_start), INTERVAL 30 MINUTE)), toUInt32(now()), 1800))) AS slot,
               0 AS real, 0 AS ends, 0 AS bad, toDateTime64(0, 3, 'UTC') AS first_loaded
        FROM simline.cdr_files FINAL
        WHERE state IN ('loaded', 'with_rejects')
        GROUP BY account
    )
    GROUP BY account, slot
);
