-- Every column but max_seconds adds up over days, accounts and networks; divide
-- the sums for shares and averages.
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.session_quality
(
    event_date    Date                   COMMENT 'The day (UTC) in which the records began',
    account       LowCardinality(String) COMMENT 'Account name',
    mccmnc        LowCardinality(String) COMMENT 'Network, as text',
    records       UInt64                 COMMENT 'Number of records',
    zero_records  UInt64                 COMMENT 'Records without a single byte',
    short_records UInt64                 COMMENT 'Records of under a minute',
    long_records  UInt64                 COMMENT 'Records of an hour or more',
    seconds       UInt64                 COMMENT 'Sum of durations; divided by records, the mean',
    max_seconds   UInt32                 COMMENT 'Longest duration; take the maximum, not the sum',
    bytes         UInt64                 COMMENT 'Bytes used'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Durations and empty sessions by day, account and network'
AS SELECT
    day AS event_date, account, mccmnc,
    sum(d.records) AS records,
    sum(d.zero_records) AS zero_records,
    sum(d.short_records) AS short_records,
    sum(d.long_records) AS long_records,
    sum(d.seconds) AS seconds,
    max(d.max_seconds) AS max_seconds,
    sum(d.bytes) AS bytes
FROM simline.daily AS d
GROUP BY event_date, account, mccmnc;
