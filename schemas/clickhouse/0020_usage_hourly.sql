-- Straight from the records: right the moment an insert is, whatever came
-- twice, in whatever order. FINAL costs little here: partitions are merged on
-- their own, and a day that has been merged into one part needs no merging.
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.usage_hourly
(
    event_hour DateTime('UTC')        COMMENT 'The hour (UTC) in which the records began',
    event_date Date                   COMMENT 'The day (UTC) of that hour',
    account    LowCardinality(String) COMMENT 'Account name',
    iccid      String                 COMMENT 'The card''s number',
    mccmnc     LowCardinality(String) COMMENT 'Network, as text: 3 digits of country, 2 or 3 of network',
    bytes      UInt64                 COMMENT 'Bytes used',
    records    UInt64                 COMMENT 'Number of records'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Data use by hour, account, card and network'
AS SELECT
    hour AS event_hour,
    toDate(hour) AS event_date,
    account,
    iccid,
    mccmnc,
    sum(data_usage) AS bytes,
    count() AS records
FROM simline.cdr FINAL
GROUP BY hour, account, iccid, mccmnc;
