-- Ids that a worker asks about when they are spread so widely that reading
-- their whole range would cost more than naming them. A load drops its partition
-- when it has its answer; the TTL is for those that died.
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS simline.cdr_probe
(
    load    String                  COMMENT 'The load that asks',
    id      Int64                   COMMENT 'An id that it asks about',
    made_at DateTime('UTC') DEFAULT now() COMMENT 'When'
)
ENGINE = MergeTree
PARTITION BY load
ORDER BY id
TTL made_at + INTERVAL 1 DAY
COMMENT 'Scratch of cdrpull: ids that a load asks about';
