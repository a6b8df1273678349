-- One row per call detail record, as the latest generation of files has it.
--
-- Key and order. (hour, iccid, id) makes a card's day and an hour's total cheap;
-- rows come sorted from the worker, which is most of what an insert costs. The
-- account ends the key, so that two accounts' records never replace each other,
-- whatever their ids. The partition is a function of the key's first column, because replacement never
-- crosses partitions.
--
-- Each id counts once. Same key: the higher generated_at wins. Same id with
-- another key (a correction moved its start or its card): the worker writes a
-- row with is_deleted = 1 over the old key in the same insert as the new row.
-- So always read FINAL; the settings below make FINAL cheap where nothing overlaps.
--
-- id_range finds all versions of a file's ids wherever they lie: ids grow with
-- time, so 8,192 neighbouring rows span few of them.
--
-- No TTL: when billing data may go is a person's decision (ALTER TABLE … DROP
-- PARTITION). Codecs are LZ4, the default: insert speed is bound by the engine's
-- compression, and times and hours are near-constant within a granule already.
-- fsync_*: a file is reported loaded only when its rows survive a power cut.
-- The deduplication window makes the repeat of an insert whose answer was lost
-- a no-op; replacement stands beneath it.
--
-- On a cluster a card's records lie together, corrections of their hour included.
-- Cluster: sharded by cityHash64(iccid).
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS simline.cdr
(
    id           Int64                  COMMENT 'The supplier''s unique key of the record',
    start_time   DateTime('UTC')        COMMENT 'When the period began',
    stop_time    DateTime('UTC')        COMMENT 'When the period ended',
    iccid        String                 COMMENT 'The card''s number, 18 to 22 digits',
    imsi         String                 COMMENT 'The subscriber''s number; empty if the supplier left it out',
    data_usage   UInt64                 COMMENT 'Bytes used in the period',
    imei         String                 COMMENT 'The device''s number; empty if the supplier left it out',
    mccmnc       LowCardinality(String) COMMENT 'Network: 3 digits of country, 2 or 3 of network. Text, since network 01 is not 001',
    hour         DateTime('UTC')        DEFAULT toStartOfHour(start_time) COMMENT 'The hour in which the period began',
    account      LowCardinality(String) COMMENT 'The account''s name in our configuration',
    file         LowCardinality(String) COMMENT 'The file that brought this version of the record',
    generated_at DateTime64(3, 'UTC')   DEFAULT now64(3) COMMENT 'When the supplier wrote that file; the milliseconds count its re-sends with other content. The highest wins',
    row_hash     UInt64                 COMMENT 'Hash of the eight fields above as the supplier sent them: equal hash, equal record',
    is_deleted   UInt8                  DEFAULT 0 COMMENT '1: this key no longer holds the record, a correction moved it',
    INDEX id_range id TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(generated_at, is_deleted)
PARTITION BY toDate(hour)
PRIMARY KEY (hour, iccid, id)
ORDER BY (hour, iccid, id, account)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Call detail records of data use. Read FINAL, or better: mart.usage_hourly';
