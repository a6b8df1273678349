-- One row per order. Built from every event by what is latest and what was
-- first, so that an event that arrived twice changes nothing, FINAL or not.
-- A moment that never came is 1970.
-- What it cost is told only while it is placed for certain: an order that the
-- supplier or a person gave up cost nothing, and one in doubt may have. So a sum
-- over orders is what was paid; that a price was ever said is in the events.
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.orders
(
    event_time            DateTime64(6, 'UTC')   COMMENT 'When the request was first seen (UTC)',
    event_date            Date                   COMMENT 'The day of event_time',
    order_id              String                 COMMENT 'Upstream''s order id',
    supplier              LowCardinality(String) COMMENT 'eiotclub or esimfly',
    product               LowCardinality(String) COMMENT 'package, esim, cloud_esim_package or pool_package',
    account               LowCardinality(String) COMMENT 'Account name',
    state                 LowCardinality(String) COMMENT 'Where it stands: intent, waiting, unknown, placed, held, fulfilled, rejected, expired, cancelled, refunded',
    certainty             LowCardinality(String) COMMENT 'Was it placed: placed, not_placed, unknown',
    evidence              LowCardinality(String) COMMENT 'What decided that: reply, duplicate_refusal, lookup, notification, person',
    settled               UInt8                  COMMENT '1: no worker moves it on any more',
    supplier_order_id     String                 COMMENT 'The order''s id at the supplier; empty if not known',
    supplier_order_number String                 COMMENT 'orderNumber of an EIOTCLUB package',
    cards                 Array(String)          COMMENT 'The cards or the cloud eSIM that it is for or brought',
    package_code          String                 COMMENT 'What was ordered',
    quantity              UInt16                 COMMENT 'How many',
    total_amount          Decimal(18, 6)         COMMENT 'What it cost, as far as the supplier said, if it is placed for certain (refunded ones included); 0 with an empty currency otherwise',
    total_currency        LowCardinality(String) COMMENT 'Currency of total_amount; never add up two of them',
    max_total_amount      Decimal(18, 6)         COMMENT 'The most that it may cost; 0 with an empty currency if upstream set none',
    max_total_currency    LowCardinality(String) COMMENT 'Currency of max_total_amount',
    error_kind            LowCardinality(String) COMMENT 'Why it stands where it stands; empty if all is well',
    error_code            LowCardinality(String) COMMENT 'The supplier''s code',
    waiting_for           LowCardinality(String) COMMENT 'What a waiting order waits for',
    attempts              UInt32                 COMMENT 'Calls that place the order',
    events                UInt64                 COMMENT 'Steps that it took',
    first_sent_at         DateTime64(6, 'UTC')   COMMENT 'Start of the first call',
    waiting_at            DateTime64(6, 'UTC')   COMMENT 'First time that it waited',
    intent_at             DateTime64(6, 'UTC')   COMMENT 'First intent',
    unknown_at            DateTime64(6, 'UTC')   COMMENT 'First time that its outcome was unknown',
    held_at               DateTime64(6, 'UTC')   COMMENT 'First time that a person had to look',
    placed_at             DateTime64(6, 'UTC')   COMMENT 'First time that it was known to be placed (also if fulfilled at once, or given up later)',
    fulfilled_at          DateTime64(6, 'UTC')   COMMENT 'When it was fulfilled',
    rejected_at           DateTime64(6, 'UTC')   COMMENT 'When it was rejected',
    expired_at            DateTime64(6, 'UTC')   COMMENT 'When it expired',
    cancelled_at          DateTime64(6, 'UTC')   COMMENT 'When it was cancelled',
    refunded_at           DateTime64(6, 'UTC')   COMMENT 'When it was refunded',
    outcome_at            DateTime64(6, 'UTC')   COMMENT 'First moment at which it was placed, rejected, expired or cancelled for certain',
    updated_at            DateTime64(6, 'UTC')   COMMENT 'Its latest step'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'One row per order: its latest state and when it reached each'
AS SELECT
    min(e.accepted_at) AS event_time,
    toDate(event_time) AS event_date,
    e.order_id AS order_id,
    argMax(e.supplier, (e.epoch, e.sequence)) AS supplier,
    argMax(e.product, (e.epoch, e.sequence)) AS product,
    argMax(e.account, (e.epoch, e.sequence)) AS account,
    argMax(e.state, (e.epoch, e.sequence)) AS state,
    argMax(e.certainty, (e.epoch, e.sequence)) AS certainty,
    argMax(e.evidence, (e.epoch, e.sequence)) AS evidence,
    toUInt8(argMax(e.state IN ('fulfilled', 'rejected', 'expired', 'cancelled', 'refunded'), (e.epoch, e.sequence))) AS settled,
    argMaxIf(e.supplier_order_id, (e.epoch, e.sequence), e.supplier_order_id != '') AS supplier_order_id,
    argMaxIf(e.supplier_order_number, (e.epoch, e.sequence), e.supplier_order_number != '') AS supplier_order_number,
    arrayFilter(c -> c != '', argMaxIf(if(empty(e.iccids), [e.eid], e.iccids), (e.epoch, e.sequence), notEmpty(e.iccids) OR e.eid != '')) AS cards,
    argMax(e.package_code, (e.epoch, e.sequence)) AS package_code,
    argMax(e.quantity, (e.epoch, e.sequence)) AS quantity,
    if(argMax(e.certainty, (e.epoch, e.sequence)) = 'placed', argMaxIf(e.total_amount, (e.epoch, e.sequence), e.total_currency != ''), toDecimal64(0, 6)) AS total_amount,
    if(argMax(e.certainty, (e.epoch, e.sequence)) = 'placed', argMaxIf(e.total_currency, (e.epoch, e.sequence), e.total_currency != ''), '') AS total_currency,
    argMax(e.max_total_amount, (e.epoch, e.sequence)) AS max_total_amount,
    argMax(e.max_total_currency, (e.epoch, e.sequence)) AS max_total_currency,
    argMax(e.error_kind, (e.epoch, e.sequence)) AS error_kind,
    argMax(e.error_code, (e.epoch, e.sequence)) AS error_code,
    argMax(e.waiting_for, (e.epoch, e.sequence)) AS waiting_for,
    max(e.attempt) AS attempts,
    uniqExact((e.epoch, e.sequence)) AS events,
    minIf(e.first_sent_at, e.first_sent_at > 0) AS first_sent_at,
    minIf(e.at, e.state = 'waiting') AS waiting_at,
    minIf(e.at, e.state = 'intent') AS intent_at,
    minIf(e.at, e.state = 'unknown') AS unknown_at,
    minIf(e.at, e.state = 'held') AS held_at,
    minIf(e.at, e.certainty = 'placed') AS placed_at,
    minIf(e.at, e.state = 'fulfilled') AS fulfilled_at,
    minIf(e.at, e.state = 'rejected') AS rejected_at,
    minIf(e.at, e.state = 'expired') AS expired_at,
    minIf(e.at, e.state = 'cancelled') AS cancelled_at,
    minIf(e.at, e.state = 'refunded') AS refunded_at,
    minIf(e.at, e.certainty = 'placed' OR e.state IN ('rejected', 'expired', 'cancelled')) AS outcome_at,
    argMax(e.at, (e.epoch, e.sequence)) AS updated_at
FROM simline.order_events AS e
GROUP BY e.order_id;
