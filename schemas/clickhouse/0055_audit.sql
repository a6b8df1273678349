-- What people did with simctl or on the page, one row per message of the stream
-- AUDIT. It says what was asked for; what came of it stands in the other tables.
-- Key, order, partition and settings as in 0050.
-- Cluster: sharded by cityHash64(epoch, intDiv(sequence, 10000000)).
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS simline.audit
(
    epoch        DateTime64(3, 'UTC')   COMMENT 'When the stream was made; with sequence it identifies the message for ever',
    sequence     UInt64                 COMMENT 'The message''s number in the stream AUDIT',
    action       LowCardinality(String) COMMENT 'What was done: order_resolve, dead_replay, switch_set, …',
    target       String                 COMMENT 'What it was done to: an order id, a dead letter''s sequence, a switch, a file',
    actor        String                 COMMENT 'Who',
    reason       String                 COMMENT 'Why, in the person''s words',
    via          LowCardinality(String) COMMENT 'simctl or console',
    at           DateTime64(3, 'UTC')   COMMENT 'When',
    published_at DateTime64(6, 'UTC')   COMMENT 'When the stream stored the message',
    archived_at  DateTime64(6, 'UTC')   COMMENT 'When this row was written; the latest copy counts',
    raw          String                 COMMENT 'The record as JSON, with what else was said' CODEC(ZSTD(1)),
    INDEX by_target target TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree(archived_at)
PARTITION BY intDiv(sequence, 10000000)
ORDER BY (epoch, sequence)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What people did, who and why. Read FINAL';
