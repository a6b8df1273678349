-- Both versions of a record that came with different content. Which one counts
-- is decided by generation; that there were two is for a person to see. Few, and
-- evidence in a dispute: one partition, no TTL, the default codec.
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS simline.cdr_conflicts
(
    account           LowCardinality(String) COMMENT 'The account''s name in our configuration',
    id                Int64                  COMMENT 'The record''s id',
    kept_hash         UInt64                 COMMENT 'row_hash of the version that counts',
    lost_hash         UInt64                 COMMENT 'row_hash of the version that does not',
    kept_file         String                 COMMENT 'The file that brought the version that counts',
    lost_file         String                 COMMENT 'The file that brought the other',
    kept_generated_at DateTime64(3, 'UTC')   COMMENT 'Generation of the version that counts',
    lost_generated_at DateTime64(3, 'UTC')   COMMENT 'Generation of the other',
    kept_start_time   DateTime('UTC')        COMMENT 'start_time that counts',
    lost_start_time   DateTime('UTC')        COMMENT 'start_time of the other',
    kept_stop_time    DateTime('UTC')        COMMENT 'stop_time that counts',
    lost_stop_time    DateTime('UTC')        COMMENT 'stop_time of the other',
    kept_iccid        String                 COMMENT 'Card that counts',
    lost_iccid        String                 COMMENT 'Card of the other',
    kept_mccmnc       LowCardinality(String) COMMENT 'Network that counts',
    lost_mccmnc       LowCardinality(String) COMMENT 'Network of the other',
    kept_bytes        UInt64                 COMMENT 'Bytes that count',
    lost_bytes        UInt64                 COMMENT 'Bytes of the other',
    noted_at          DateTime64(3, 'UTC')   COMMENT 'When the conflict was noted'
)
ENGINE = ReplacingMergeTree(noted_at)
ORDER BY (account, id, kept_hash, lost_hash)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Records that came in two versions: the one that counts and the one that does not';
