-- A network that is not in the list counts for its MCC's country; an MCC that
-- is not in the list has country_code '' and country 'unknown'.
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.usage_by_country_daily
(
    event_date   Date                   COMMENT 'The day (UTC) in which the records began',
    account      LowCardinality(String) COMMENT 'Account name',
    country_code String                 COMMENT 'ISO 3166-1, two capitals; empty if the MCC is not known',
    country      String                 COMMENT 'English name, or unknown',
    bytes        UInt64                 COMMENT 'Bytes used',
    records      UInt64                 COMMENT 'Number of records'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Data use by day, account and country'
AS SELECT
    day AS event_date, account,
    dictGet('simline.network', 'country_code', if(dictHas('simline.network', toString(mccmnc)), toString(mccmnc), left(mccmnc, 3))) AS country_code,
    if(country_code = '', 'unknown', dictGet('simline.network', 'country', if(dictHas('simline.network', toString(mccmnc)), toString(mccmnc), left(mccmnc, 3)))) AS country,
    sum(n.bytes) AS bytes, sum(n.records) AS records
FROM
(
    SELECT day, account, mccmnc, sum(d.bytes) AS bytes, sum(d.records) AS records
    FROM simline.daily AS d
    GROUP BY day, account, mccmnc
) AS n
GROUP BY event_date, account, country_code, country;
