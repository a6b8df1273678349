-- Which records a later file repeated unchanged. Their rows are not written
-- again (that is what makes the overlap cheap), but that a later generation
-- stands behind them must not be forgotten: a file in between, arriving late
-- with other content for the same id, loses against it. Ids are packed (sorted,
-- differences as varints): about a byte each. ZSTD: they are
-- read only when a record comes in two versions. A partition is a month of
-- generations, part of the key. A year after a load no older file is expected any
-- more; without this table it would win against what confirmed its rival. The year
-- counts from the load, not from the generation: a backfill may read files of any age.
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS simline.cdr_confirmed
(
    account      LowCardinality(String)  COMMENT 'The account''s name in our configuration',
    file         String                  COMMENT 'The file that repeated the records',
    generated_at DateTime64(3, 'UTC')    COMMENT 'Its generation, as in simline.cdr',
    part         UInt32                  COMMENT 'Part number within the file',
    min_id       Int64                   COMMENT 'Lowest id in ids',
    max_id       Int64                   COMMENT 'Highest id in ids',
    ids          String                  COMMENT 'The ids, packed: varints of the first and of each difference to the next' CODEC(ZSTD(1)),
    noted_at     DateTime('UTC') DEFAULT now() COMMENT 'When the file was loaded'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(generated_at)
ORDER BY (account, generated_at, file, part)
TTL noted_at + INTERVAL 1 YEAR
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Records that a later file repeated unchanged';
