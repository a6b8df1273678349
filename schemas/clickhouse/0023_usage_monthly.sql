-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.usage_monthly
(
    event_month Date                   COMMENT 'First day of the month (UTC) in which the records began',
    account     LowCardinality(String) COMMENT 'Account name',
    iccid       String                 COMMENT 'The card''s number',
    mccmnc      LowCardinality(String) COMMENT 'Network, as text',
    bytes       UInt64                 COMMENT 'Bytes used',
    records     UInt64                 COMMENT 'Number of records'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Data use by month, account, card and network'
AS SELECT
    toStartOfMonth(day) AS event_month, account, iccid, mccmnc,
    sum(d.bytes) AS bytes, sum(d.records) AS records
FROM simline.daily AS d
GROUP BY event_month, account, iccid, mccmnc;
