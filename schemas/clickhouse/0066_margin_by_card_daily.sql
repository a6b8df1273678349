-- What a card cost beside what it used. The cost of an order that is placed for
-- certain stands on the day on which that was known first; one that brought several
-- cards is split evenly, the rest of the division with the first, so that sums are
-- exact. A refund stands in refunded, above zero, on the day on which it was notified.
-- An order that is not placed, or no longer (given up, in doubt), has no row: neither
-- cost nor refund, which would be a gain that nobody had. Usage has no currency: its
-- rows have an empty one, so that adding up bytes counts them once.
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.margin_by_card_daily
(
    event_date Date                   COMMENT 'The day (UTC)',
    account    LowCardinality(String) COMMENT 'Account name',
    card       String                 COMMENT 'ICCID, or EID of a cloud eSIM; empty for orders that name no card (pools)',
    currency   LowCardinality(String) COMMENT 'Currency of cost and refunded; empty in rows of usage, where no price is known, and for refunds of orders that are not ours',
    orders     UInt64                 COMMENT 'Orders placed for certain, refunded ones included; one for several cards counts with its first',
    cost       Decimal(38, 6)         COMMENT 'What they cost',
    refunded   Decimal(38, 6)         COMMENT 'What was given back for them, and for orders that are not ours; within one currency, cost minus refunded is what was paid',
    bytes      UInt64                 COMMENT 'Bytes used',
    records    UInt64                 COMMENT 'Usage records'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Order cost beside bytes used, by card and day'
AS SELECT
    m.event_date AS event_date, m.account AS account, m.card AS card, m.currency AS currency,
    sum(m.orders) AS orders, sum(m.cost) AS cost, sum(m.refunded) AS refunded, sum(m.bytes) AS bytes, sum(m.records) AS records
FROM
(
    SELECT toDate(placed_at) AS event_date, toString(account) AS account, toString(total_currency) AS currency,
           if(empty(cards), [''], cards) AS on_cards, length(on_cards) AS n,
           toDecimal64(total_amount / n, 6) AS share,
           arrayJoin(arrayEnumerate(on_cards)) AS i, on_cards[i] AS card,
           toUInt64(i = 1) AS orders,
           toDecimal128(if(i = 1, total_amount - share * toDecimal64(n - 1, 0), share), 6) AS cost,
           toDecimal128(0, 6) AS refunded, toUInt64(0) AS bytes, toUInt64(0) AS records
    FROM mart.orders
    WHERE certainty = 'placed'
    UNION ALL
    SELECT toDate(r.received) AS event_date, toString(r.account) AS account, toString(o.total_currency) AS currency,
           [] AS on_cards, 0 AS n, toDecimal64(0, 6) AS share, 1 AS i, r.card AS card,
           toUInt64(0) AS orders, toDecimal128(0, 6) AS cost, toDecimal128(r.refund, 6) AS refunded, toUInt64(0) AS bytes, toUInt64(0) AS records
    FROM
    (
        SELECT message_id, min(received_at) AS received, any(account) AS account, any(order_ids[1]) AS order_id,
               any(if(iccid != '', iccid, eid)) AS card, any(refund_amount) AS refund
        FROM simline.webhooks
        WHERE refund_amount > 0
        GROUP BY message_id
    ) AS r
    LEFT JOIN mart.orders AS o ON o.order_id = r.order_id
    WHERE o.certainty IN ('', 'placed')
    UNION ALL
    SELECT event_date, toString(account) AS account, '' AS currency,
           [] AS on_cards, 0 AS n, toDecimal64(0, 6) AS share, 1 AS i, iccid AS card,
           toUInt64(0) AS orders, toDecimal128(0, 6) AS cost, toDecimal128(0, 6) AS refunded, bytes, records
    FROM mart.usage_daily
) AS m
GROUP BY m.event_date, m.account, m.card, m.currency;
