-- Networks by MCC+MNC, for names of countries and operators. A row whose mccmnc
-- is a bare MCC (3 digits) names the country for networks not listed. Seeded by
-- 0012 from Debian's mobile-broadband-provider-info (public domain); a newer
-- list: simctl cdr networks FILE.
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS simline.networks
(
    mccmnc       String                COMMENT '3 digits of country and 2 or 3 of network, as text; or 3 digits alone',
    country_code LowCardinality(String) COMMENT 'ISO 3166-1, two capitals',
    country      LowCardinality(String) COMMENT 'English name',
    operator     String                COMMENT 'Operator''s name; empty for a bare MCC',
    updated_at   DateTime('UTC') DEFAULT now() COMMENT 'When the row was written; the latest counts'
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY mccmnc
COMMENT 'Countries and operators by MCC+MNC';
