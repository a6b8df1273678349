-- Every file reported loaded and every gap reported, one row per message of the
-- stream CDR_EVENTS. Key, order, partition and settings as in 0050.
-- Cluster: sharded by cityHash64(epoch, intDiv(sequence, 10000000)).
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS simline.cdr_events
(
    epoch        DateTime64(3, 'UTC')   COMMENT 'When the stream was made; with sequence it identifies the message for ever',
    sequence     UInt64                 COMMENT 'The message''s number in the stream CDR_EVENTS',
    event_id     String                 COMMENT 'CloudEvents id',
    kind         LowCardinality(String) COMMENT 'loaded or gap',
    account      LowCardinality(String) COMMENT 'The account''s name in our configuration',
    file         String                 COMMENT 'The file that was loaded; empty for a gap',
    size         UInt64                 COMMENT 'Bytes of the file; 0 for a gap',
    sha256       String                 COMMENT 'Of the file''s bytes, hex; empty for a gap',
    window_start DateTime('UTC')        COMMENT 'Start of the window',
    window_end   DateTime('UTC')        COMMENT 'End of the window',
    generated_at DateTime('UTC')        COMMENT 'When the supplier wrote the file; 1970 for a gap',
    rows         UInt64                 COMMENT 'Data rows read',
    inserted     UInt64                 COMMENT 'Rows that were new or newer',
    known        UInt64                 COMMENT 'Rows that were there already',
    rejects      UInt64                 COMMENT 'Rows set aside',
    conflicts    UInt64                 COMMENT 'Rows whose id was there with other content',
    bytes        UInt64                 COMMENT 'Sum of data use over the good rows',
    at           DateTime64(6, 'UTC')   COMMENT 'When the file was loaded, or since when the gap is late',
    published_at DateTime64(6, 'UTC')   COMMENT 'When the stream stored the message',
    archived_at  DateTime64(6, 'UTC')   COMMENT 'When this row was written; the latest copy counts',
    raw          String                 COMMENT 'The event''s data as JSON' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(archived_at)
PARTITION BY intDiv(sequence, 10000000)
ORDER BY (epoch, sequence)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'CDR files loaded and gaps found, as they were announced. Read FINAL';
