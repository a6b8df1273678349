-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.usage_by_operator_daily
(
    event_date   Date                   COMMENT 'The day (UTC) in which the records began',
    account      LowCardinality(String) COMMENT 'Account name',
    mccmnc       LowCardinality(String) COMMENT 'Network, as text',
    operator     String                 COMMENT 'Operator''s name, or unknown',
    country_code String                 COMMENT 'ISO 3166-1, two capitals; empty if the MCC is not known',
    bytes        UInt64                 COMMENT 'Bytes used',
    records      UInt64                 COMMENT 'Number of records'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Data use by day, account and operator'
AS SELECT
    day AS event_date, account, mccmnc,
    dictGetOrDefault('simline.network', 'operator', toString(mccmnc), 'unknown') AS operator,
    dictGet('simline.network', 'country_code', if(dictHas('simline.network', toString(mccmnc)), toString(mccmnc), left(mccmnc, 3))) AS country_code,
    sum(d.bytes) AS bytes, sum(d.records) AS records
FROM simline.daily AS d
GROUP BY event_date, account, mccmnc;
