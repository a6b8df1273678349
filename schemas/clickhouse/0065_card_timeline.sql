-- All that happened to one card: WHERE card = '…' ORDER BY event_time. Events
-- and notifications once each, usage by the hour and network. What an order cost
-- stands once, with the first event that told a price and a card of an order placed
-- for certain, split among its cards so that the sum is exact; a refund is negative:
-- SUM(amount) by currency is what was paid. An order that is not placed, or no longer
-- (given up, in doubt), has neither cost nor refund: all its steps stand, with 0.
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.card_timeline
(
    event_time DateTime64(3, 'UTC')   COMMENT 'When (UTC); of usage, the hour in which it began',
    event_date Date                   COMMENT 'The day of event_time',
    card       String                 COMMENT 'ICCID, or EID of a cloud eSIM',
    account    LowCardinality(String) COMMENT 'Account name',
    source     LowCardinality(String) COMMENT 'order, notification or usage',
    what       String                 COMMENT 'The state that the order reached, the notification''s event, or the network used',
    order_id   String                 COMMENT 'Upstream''s order id, where there is one',
    reference  String                 COMMENT 'The supplier''s order id, the notification''s id, or empty',
    amount     Decimal(18, 6)         COMMENT 'What the card''s part of the order cost, once per order that is placed for certain; negative: what a refund of such an order, or of one that is not ours, gave back; else 0',
    currency   LowCardinality(String) COMMENT 'Currency of amount; empty where there is none, and for a refund of an order that is not ours',
    bytes      UInt64                 COMMENT 'Bytes used; 0 for other sources'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Orders, notifications and usage of one card in one view'
AS
SELECT toDateTime64(any(o.at), 3, 'UTC') AS event_time, toDate(event_time) AS event_date, o.card AS card, any(o.account) AS account,
       'order' AS source, any(o.state) AS what, any(o.order_id) AS order_id, any(o.supplier_order_id) AS reference,
       any(o.part) AS amount, any(o.unit) AS currency, toUInt64(0) AS bytes
FROM
(
    SELECT e.epoch AS epoch, e.sequence AS sequence, e.at AS at, e.account AS account, toString(e.state) AS state, e.order_id AS order_id,
           e.supplier_order_id AS supplier_order_id, if(empty(e.iccids), [e.eid], e.iccids) AS on_cards,
           arrayJoin(arrayEnumerate(on_cards)) AS i, on_cards[i] AS card,
           (e.epoch, e.sequence) = t.first AS tells, toDecimal64(t.amount / length(on_cards), 6) AS share,
           if(tells, if(i = 1, t.amount - share * toDecimal64(length(on_cards) - 1, 0), share), toDecimal64(0, 6)) AS part,
           if(tells, t.currency, '') AS unit
    FROM simline.order_events AS e
    LEFT JOIN
    (
        SELECT order_id,
               minIf((epoch, sequence), total_currency != '' AND certainty = 'placed' AND (notEmpty(iccids) OR eid != '')) AS first,
               argMaxIf(total_amount, (epoch, sequence), total_currency != '') AS amount,
               toString(argMaxIf(total_currency, (epoch, sequence), total_currency != '')) AS currency
        FROM simline.order_events
        GROUP BY order_id
        HAVING argMax(certainty, (epoch, sequence)) = 'placed'
    ) AS t ON t.order_id = e.order_id
) AS o
WHERE o.card != ''
GROUP BY o.epoch, o.sequence, o.card
UNION ALL
SELECT toDateTime64(min(n.received_at), 3, 'UTC') AS event_time, toDate(event_time) AS event_date, n.card AS card, any(n.account) AS account,
       'notification' AS source, any(n.event) AS what, any(n.order_id) AS order_id, any(n.notification_id) AS reference,
       toDecimal64(if(any(c.certainty) IN ('', 'placed'), -any(n.refund), 0), 6) AS amount, any(toString(c.total_currency)) AS currency, toUInt64(0) AS bytes
FROM
(
    SELECT message_id, received_at, account, toString(event) AS event, notification_id,
           arrayJoin(arrayEnumerate(cards)) AS i, cards[i] AS card, order_ids[i] AS order_id,
           if(i = 1, refund_amount, toDecimal64(0, 6)) AS refund
    FROM simline.webhooks
) AS n
LEFT JOIN mart.orders AS c ON c.order_id = n.order_id AND n.refund != 0
WHERE n.card != ''
GROUP BY n.message_id, n.card, n.order_id
UNION ALL
SELECT toDateTime64(u.event_hour, 3, 'UTC') AS event_time, u.event_date AS event_date, u.iccid AS card, u.account AS account,
       'usage' AS source, toString(u.mccmnc) AS what, '' AS order_id, '' AS reference,
       toDecimal64(0, 6) AS amount, '' AS currency, u.bytes AS bytes
FROM mart.usage_hourly AS u;
