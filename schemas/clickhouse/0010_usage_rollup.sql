-- Sums per account, day, card and network, made from simline.cdr FINAL when a
-- day is sealed. Only rows whose version is that of their day in usage_days
-- count, so sealing again needs no deletes and a half-written seal counts for
-- nothing. Ordered by card first: one card's year is twelve short reads, while a
-- day's top cards scan one month of a narrow table. The partition, a month, is a
-- function of the key. Superseded versions go when parts merge. No TTL: like the
-- records, sums go when a person says so. LZ4, the default, as for the records.
-- What dashboards read of it, and how fast: docs/dashboards.md.
-- Cluster: sharded by cityHash64(iccid).
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS simline.usage_rollup
(
    iccid         String                 COMMENT 'The card''s number',
    day           Date                   COMMENT 'The day (UTC) in which the records began',
    account       LowCardinality(String) COMMENT 'The account''s name in our configuration',
    mccmnc        LowCardinality(String) COMMENT 'Network',
    version       DateTime64(6, 'UTC')   COMMENT 'Which sealing of the day',
    bytes         UInt64                 COMMENT 'Sum of data_usage',
    records       UInt64                 COMMENT 'Number of records',
    zero_records  UInt64                 COMMENT 'Records without a single byte',
    short_records UInt64                 COMMENT 'Records of under a minute',
    long_records  UInt64                 COMMENT 'Records of an hour or more',
    seconds       UInt64                 COMMENT 'Sum of durations',
    max_seconds   UInt32                 COMMENT 'Longest duration',
    last_seen     DateTime('UTC')        COMMENT 'Latest end of a record'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(day)
ORDER BY (iccid, day, account, mccmnc)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Sealed daily sums per card and network. Read mart.usage_daily instead';
