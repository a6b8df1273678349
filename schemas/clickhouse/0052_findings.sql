-- Every word that reconciliation said about a difference, one row per message of
-- the stream FINDINGS. A finding speaks again when it changes; its last word
-- counts: mart.findings_open. Key, order, partition and settings as in 0050.
-- Cluster: sharded by cityHash64(epoch, intDiv(sequence, 10000000)).
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS simline.findings
(
    epoch             DateTime64(3, 'UTC')   COMMENT 'When the stream was made; with sequence it identifies the message for ever',
    sequence          UInt64                 COMMENT 'The message''s number in the stream FINDINGS',
    finding_id        String                 COMMENT 'Stable over runs: the same difference always has the same',
    kind              LowCardinality(String) COMMENT 'What differs: order_missing_there, usage_surplus, … (design: finding kinds)',
    severity          LowCardinality(String) COMMENT 'info, warning or critical',
    status            LowCardinality(String) COMMENT 'open, closed or accepted',
    supplier          LowCardinality(String) COMMENT 'The supplier; empty if it does not apply',
    account           LowCardinality(String) COMMENT 'The account''s name; empty if it does not apply',
    order_id          String                 COMMENT 'Our order; empty if it does not apply',
    supplier_order_id String                 COMMENT 'The order''s id at the supplier; empty if it does not apply',
    iccid             String                 COMMENT 'The card; empty if it does not apply',
    eid               String                 COMMENT 'The cloud eSIM; empty if it does not apply',
    task_id           String                 COMMENT 'The supplier''s task; empty if it does not apply',
    window            String                 COMMENT 'The period compared, RFC 3339 start/end; empty if it does not apply',
    ours              String                 COMMENT 'What we have, as JSON; empty if nothing',
    theirs            String                 COMMENT 'What they have, as JSON; empty if nothing',
    amount            Decimal(18, 6)         COMMENT 'Money at stake; 0 with an empty currency if none',
    currency          LowCardinality(String) COMMENT 'Currency of amount, ISO 4217; empty if there is none',
    first_seen        DateTime64(3, 'UTC')   COMMENT 'When the difference was first seen',
    last_seen         DateTime64(3, 'UTC')   COMMENT 'When it was seen last',
    evidence          String                 COMMENT 'What shows it',
    suggested_action  String                 COMMENT 'What a person could do',
    published_at      DateTime64(6, 'UTC')   COMMENT 'When the stream stored the message',
    archived_at       DateTime64(6, 'UTC')   COMMENT 'When this row was written; the latest copy counts',
    raw               String                 COMMENT 'The finding as JSON' CODEC(ZSTD(1)),
    INDEX by_finding finding_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree(archived_at)
PARTITION BY intDiv(sequence, 10000000)
ORDER BY (epoch, sequence)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every word about a difference between us and a supplier. Read FINAL, or better: mart.findings_open';
