-- What cdrpull goes by and views must as well, so that both call the same half
-- hour late. The worker writes it at its start.
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS simline.cdr_terms
(
    name    LowCardinality(String) COMMENT 'late_after: how long after its end a half hour may stay uncovered (CDR_LATE_AFTER)',
    seconds UInt32                 COMMENT 'Its value',
    said_at DateTime64(6, 'UTC')   COMMENT 'When a worker said so, by the engine''s clock; the latest counts'
)
ENGINE = ReplacingMergeTree(said_at)
ORDER BY name
COMMENT 'Settings of cdrpull that marts go by';
