-- What the daily marts stand on: sealed days from their sums, all others from
-- the records. Not for BI: some columns must not be summed over cards.
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW simline.daily
(
    day           Date                   COMMENT 'The day (UTC) in which the records began',
    account       LowCardinality(String) COMMENT 'Account name',
    iccid         String                 COMMENT 'The card''s number',
    mccmnc        LowCardinality(String) COMMENT 'Network',
    bytes         UInt64                 COMMENT 'Bytes used',
    records       UInt64                 COMMENT 'Number of records',
    zero_records  UInt64                 COMMENT 'Records without a single byte',
    short_records UInt64                 COMMENT 'Records of under a minute',
    long_records  UInt64                 COMMENT 'Records of an hour or more',
    seconds       UInt64                 COMMENT 'Sum of durations',
    max_seconds   UInt32                 COMMENT 'Longest duration; not to be summed',
    last_seen     DateTime('UTC')        COMMENT 'Latest end of a record'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Daily sums per card and network: sealed days from usage_rollup, the others from the records'
AS SELECT
    day, account, iccid, mccmnc, bytes, records, zero_records, short_records, long_records, seconds, max_seconds, last_seen
FROM simline.usage_rollup
WHERE (account, day, version) IN (SELECT account, day, version FROM simline.usage_days FINAL WHERE open = 0)
UNION ALL
SELECT
    toDate(hour) AS day, account, iccid, mccmnc,
    sum(data_usage) AS bytes,
    count() AS records,
    countIf(data_usage = 0) AS zero_records,
    countIf(stop_time - start_time < 60) AS short_records,
    countIf(stop_time - start_time >= 3600) AS long_records,
    sum(toUInt64(stop_time - start_time)) AS seconds,
    toUInt32(max(stop_time - start_time)) AS max_seconds,
    max(stop_time) AS last_seen
FROM simline.cdr FINAL
-- The first condition lets whole partitions be skipped, the second is exact.
WHERE toDate(hour) NOT IN (SELECT day FROM simline.usage_days FINAL GROUP BY day HAVING max(open) = 0)
  AND (account, toDate(hour)) NOT IN (SELECT account, day FROM simline.usage_days FINAL WHERE open = 0)
GROUP BY toDate(hour), account, iccid, mccmnc;
