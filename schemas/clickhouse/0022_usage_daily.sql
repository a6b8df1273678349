-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.usage_daily
(
    event_date Date                   COMMENT 'The day (UTC) in which the records began',
    account    LowCardinality(String) COMMENT 'Account name',
    iccid      String                 COMMENT 'The card''s number',
    mccmnc     LowCardinality(String) COMMENT 'Network, as text',
    bytes      UInt64                 COMMENT 'Bytes used',
    records    UInt64                 COMMENT 'Number of records'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Data use by day, account, card and network'
AS SELECT day AS event_date, account, iccid, mccmnc, bytes, records
FROM simline.daily;
