-- Every verified notification, one row per message of the stream WEBHOOKS. One
-- that speaks of many orders stays one row; its arrays are parallel. Key, order,
-- partition and settings as in 0050.
-- Cluster: sharded by cityHash64(epoch, intDiv(sequence, 10000000)).
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS simline.webhooks
(
    epoch              DateTime64(3, 'UTC')   COMMENT 'When the stream was made; with sequence it identifies the message for ever',
    sequence           UInt64                 COMMENT 'The message''s number in the stream WEBHOOKS',
    message_id         String                 COMMENT 'supplier:account:notification id; the same notification always has the same',
    supplier           LowCardinality(String) COMMENT 'Who sent it',
    account            LowCardinality(String) COMMENT 'The account''s name in our configuration',
    event              LowCardinality(String) COMMENT 'What it is about, in the supplier''s word; unknown if that cannot be a name',
    notification_id    String                 COMMENT 'The supplier''s id of the notification',
    sent_at            DateTime64(3, 'UTC')   COMMENT 'Its timestamp; 1970 if it has none',
    received_at        DateTime64(6, 'UTC')   COMMENT 'When we received it',
    iccid              String                 COMMENT 'The card that it names first; empty if none',
    eid                String                 COMMENT 'The cloud eSIM that it names first; empty if none',
    cards              Array(String)          COMMENT 'Every card or cloud eSIM that it speaks of',
    order_ids          Array(String)          COMMENT 'Our order ids (outTradeNo), one per order in it; empty for orders not made by API',
    supplier_order_ids Array(String)          COMMENT 'The supplier''s order ids, parallel to order_ids',
    package_codes      Array(String)          COMMENT 'What was ordered, parallel to order_ids',
    alert_type         UInt8                  COMMENT 'Low data: 1 under 100 MB, 2 under 10 %, 3 under 7 days; 0 for other events',
    alert_value        String                 COMMENT 'What set the alert off',
    order_amount       Decimal(18, 6)         COMMENT 'A refund''s order amount in the account''s currency; 0 for other events',
    refund_amount      Decimal(18, 6)         COMMENT 'A refund''s amount in the account''s currency; 0 for other events',
    published_at       DateTime64(6, 'UTC')   COMMENT 'When the stream stored the message',
    archived_at        DateTime64(6, 'UTC')   COMMENT 'When this row was written; the latest copy counts',
    raw                String                 COMMENT 'The notification as it was signed, byte for byte, unless something in it that installs an eSIM had to go' CODEC(ZSTD(1)),
    INDEX by_card cards TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_order order_ids TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_time received_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(archived_at)
PARTITION BY intDiv(sequence, 10000000)
ORDER BY (epoch, sequence)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Verified notifications of the suppliers. Read FINAL, or better: mart.notifications_daily';
