-- Messages that archiver could not read: where they stood, and why. The whole
-- message lies in the stream DEAD. archiver goes on behind the highest sequence
-- of a stream's table and of this one, so a skipped message is skipped once.
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS simline.archive_skipped
(
    stream     LowCardinality(String) COMMENT 'The stream''s name',
    epoch      DateTime64(3, 'UTC')   COMMENT 'When the stream was made',
    sequence   UInt64                 COMMENT 'The message''s number in the stream',
    subject    String                 COMMENT 'The subject it came on',
    reason     LowCardinality(String) COMMENT 'malformed, schema, mismatch: as in the dead letter''s header Simline-Reason',
    error      String                 COMMENT 'What was wrong, for a person',
    skipped_at DateTime64(3, 'UTC')   COMMENT 'When it was set aside'
)
ENGINE = ReplacingMergeTree(skipped_at)
ORDER BY (stream, epoch, sequence)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Messages that could not be archived; they lie in the stream DEAD';
