-- Lines of CDR files that were not good rows. Reading the same content again
-- replaces its rejects. Kept for two years: long enough to settle any dispute
-- about a month, and a bad day's worth does not stay for ever.
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS simline.cdr_rejects
(
    account     LowCardinality(String) COMMENT 'The account''s name in our configuration',
    file        String                 COMMENT 'The file''s name',
    line        UInt64                 COMMENT 'Line number, from 1, the header included',
    raw         String                 COMMENT 'The line as it stood, at most 4 KiB; bytes that are not UTF-8 replaced',
    reason      LowCardinality(String) COMMENT 'What was wrong first: columns, id, start_time, iccid, … (internal/cdr/reject.go has them all)',
    sha256      String                 COMMENT 'Which content of the file, as in simline.cdr_files',
    rejected_at DateTime64(3, 'UTC')   COMMENT 'When it was set aside'
)
ENGINE = ReplacingMergeTree(rejected_at)
PARTITION BY toYYYYMM(rejected_at)
ORDER BY (account, file, line, sha256)
TTL toDateTime(rejected_at) + INTERVAL 2 YEAR
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Bad rows of CDR files, each with file, line, text and reason';
