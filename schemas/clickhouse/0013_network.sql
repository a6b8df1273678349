-- The same as a dictionary, so that views look names up in memory.
-- (A dictionary's columns cannot carry comments: see simline.networks.)
-- +goose NO TRANSACTION
-- +goose Up
CREATE DICTIONARY IF NOT EXISTS simline.network
(
    mccmnc       String,
    country_code String DEFAULT '',
    country      String DEFAULT '',
    operator     String DEFAULT ''
)
PRIMARY KEY mccmnc
SOURCE(CLICKHOUSE(QUERY 'SELECT mccmnc, country_code, country, operator FROM simline.networks FINAL'))
LAYOUT(COMPLEX_KEY_HASHED())
LIFETIME(MIN 300 MAX 600)
COMMENT 'Countries and operators by MCC+MNC, from simline.networks';
