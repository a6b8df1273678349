-- Every transition of every order, as the ledger stream has it: one row per
-- message. What installs an eSIM (activation code, QR and Apple links) is left
-- out, of raw as well.
--
-- Key and order: the stream's own order, so a batch arrives sorted and the last
-- sequence is found at once; archiver goes on from there. epoch tells a stream
-- from one that was made anew under the same name. A batch lies within one
-- partition, so it is there whole or not at all. Orders and cards are found by
-- bloom filters; time by a range per granule, since sequence grows with time.
--
-- No TTL: the audit of what was bought. fsync_*: a message counts as archived
-- only when its row survives a power cut. The deduplication window makes the
-- repeat of an insert whose answer was lost a no-op; replacement by (epoch,
-- sequence) stands beneath it. Read FINAL, or the marts.
--
-- On a cluster a batch lies on one shard, as it lies within one partition.
-- Cluster: sharded by cityHash64(epoch, intDiv(sequence, 10000000)).
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS simline.order_events
(
    epoch                 DateTime64(3, 'UTC')   COMMENT 'When the stream was made; with sequence it identifies the message for ever',
    sequence              UInt64                 COMMENT 'The message''s number in the stream ORDER_EVENTS',
    event_id              String                 COMMENT 'CloudEvents id',
    order_id              String                 COMMENT 'Upstream''s order id',
    supplier              LowCardinality(String) COMMENT 'eiotclub or esimfly',
    product               LowCardinality(String) COMMENT 'package, esim, cloud_esim_package or pool_package',
    account               LowCardinality(String) COMMENT 'The account''s name in our configuration',
    state                 LowCardinality(String) COMMENT 'State that the order reached: intent, waiting, unknown, placed, held, fulfilled, rejected, expired, cancelled, refunded',
    certainty             LowCardinality(String) COMMENT 'Was it placed: placed, not_placed, unknown',
    evidence              LowCardinality(String) COMMENT 'What decided it: reply, duplicate_refusal, lookup, notification, person; empty before any call',
    supplier_order_id     String                 COMMENT 'The order''s id at the supplier; empty if not known',
    supplier_order_number String                 COMMENT 'orderNumber of an EIOTCLUB package; empty otherwise',
    iccid                 String                 COMMENT 'The card that the order is for, or the first that it brought; empty if none is known',
    iccids                Array(String)          COMMENT 'Every card that the order is for or brought',
    eid                   String                 COMMENT 'The cloud eSIM that the order is for; empty for other products',
    package_code          String                 COMMENT 'What was ordered: package code, goods code or pool type',
    quantity              UInt16                 COMMENT 'How many; 1 where the product has no quantity',
    total_amount          Decimal(18, 6)         COMMENT 'What the supplier said that it costs, of an order that came to nothing as well; 0 with an empty currency if it did not say',
    total_currency        LowCardinality(String) COMMENT 'Currency of total_amount, ISO 4217; empty if the supplier did not say',
    max_total_amount      Decimal(18, 6)         COMMENT 'The most that it may cost; 0 with an empty currency if upstream set none',
    max_total_currency    LowCardinality(String) COMMENT 'Currency of max_total_amount; empty if there is none',
    balance_amount        Decimal(18, 6)         COMMENT 'The account''s balance after it, if the supplier said; else 0 with an empty currency',
    balance_currency      LowCardinality(String) COMMENT 'Currency of balance_amount; empty if the supplier did not say',
    error_kind            LowCardinality(String) COMMENT 'exists, busy, no_funds, out_of_stock, setup, refused, price, unknown; empty without an error',
    error_code            LowCardinality(String) COMMENT 'The supplier''s code, or ours in brackets',
    error_message         String                 COMMENT 'The supplier''s text',
    waiting_for           LowCardinality(String) COMMENT 'What a waiting order waits for; empty otherwise',
    attempt               UInt32                 COMMENT 'Calls that place the order so far',
    at                    DateTime64(6, 'UTC')   COMMENT 'When this event was decided',
    accepted_at           DateTime64(6, 'UTC')   COMMENT 'When the request was first seen',
    first_sent_at         DateTime64(6, 'UTC')   COMMENT 'Start of the first call that may have placed it; 1970 if there was none',
    published_at          DateTime64(6, 'UTC')   COMMENT 'When the stream stored the message',
    archived_at           DateTime64(6, 'UTC')   COMMENT 'When this row was written; the latest copy counts',
    raw                   String                 COMMENT 'The event''s data as JSON, without what installs an eSIM' CODEC(ZSTD(1)),
    INDEX by_order order_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_card iccids TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_time at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(archived_at)
PARTITION BY intDiv(sequence, 10000000)
ORDER BY (epoch, sequence)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every transition of every order. Read FINAL, or better: mart.orders';
