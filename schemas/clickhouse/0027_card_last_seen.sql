-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.card_last_seen
(
    account     LowCardinality(String) COMMENT 'Account name',
    iccid       String                 COMMENT 'The card''s number',
    event_time  DateTime('UTC')        COMMENT 'Latest end of a record of this card (UTC)',
    event_date  Date                   COMMENT 'The day of event_time',
    last_mccmnc String                 COMMENT 'The network it was in then',
    bytes       UInt64                 COMMENT 'Bytes used in all time kept',
    records     UInt64                 COMMENT 'Number of records in all time kept'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'When and where each card was last seen'
AS SELECT
    account, iccid,
    max(last_seen) AS event_time,
    toDate(event_time) AS event_date,
    toString(argMax(mccmnc, last_seen)) AS last_mccmnc,
    sum(d.bytes) AS bytes, sum(d.records) AS records
FROM simline.daily AS d
GROUP BY account, iccid;
