-- For each account and day: do the daily marts read the records themselves
-- (open) or their sealed sums in simline.usage_rollup? A load opens the days
-- that it touches before it writes a row; a day is sealed when it has been quiet
-- for a while. The last word per day counts. A row per account and day: one
-- partition, no TTL.
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS simline.usage_days
(
    account LowCardinality(String) COMMENT 'The account''s name in our configuration',
    day     Date                   COMMENT 'The day (UTC) in which records began',
    open    UInt8                  COMMENT '1: read the records; 0: read the sums sealed as version',
    version DateTime64(6, 'UTC')   COMMENT 'When this was said, by the engine''s clock; the latest counts'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (account, day)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Which days the daily marts read from sealed sums';
