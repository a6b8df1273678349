-- All that happened to one card: WHERE card = '…' ORDER BY event_time. Events
-- and notifications once each, usage by the hour and network.
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
    amount     Decimal(18, 6)         COMMENT 'What the order cost or the refund gave back, where it was said',
    currency   LowCardinality(String) COMMENT 'Currency of amount; empty for a refund''s notification (the account''s) and for usage',
    bytes      UInt64                 COMMENT 'Bytes used; 0 for other sources'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Orders, notifications and usage of one card in one view'
AS
SELECT toDateTime64(any(o.at), 3, 'UTC') AS event_time, toDate(event_time) AS event_date, o.card AS card, any(o.account) AS account,
       'order' AS source, any(o.state) AS what, any(o.order_id) AS order_id, any(o.supplier_order_id) AS reference,
       any(o.total_amount) AS amount, any(o.total_currency) AS currency, toUInt64(0) AS bytes
FROM
(
    SELECT epoch, sequence, at, account, toString(state) AS state, order_id, supplier_order_id, total_amount, total_currency,
           arrayJoin(if(empty(iccids), [eid], iccids)) AS card
    FROM simline.order_events
) AS o
WHERE o.card != ''
GROUP BY o.epoch, o.sequence, o.card
UNION ALL
SELECT toDateTime64(min(n.received_at), 3, 'UTC') AS event_time, toDate(event_time) AS event_date, n.card AS card, any(n.account) AS account,
       'notification' AS source, any(n.event) AS what, any(n.order_id) AS order_id, any(n.notification_id) AS reference,
       any(n.refund_amount) AS amount, toLowCardinality('') AS currency, toUInt64(0) AS bytes
FROM
(
    SELECT message_id, received_at, account, toString(event) AS event, notification_id, refund_amount,
           arrayJoin(arrayZip(cards, arrayResize(order_ids, length(cards), ''))) AS one, one.1 AS card, one.2 AS order_id
    FROM simline.webhooks
) AS n
WHERE n.card != ''
GROUP BY n.message_id, n.card, n.order_id
UNION ALL
SELECT toDateTime64(u.event_hour, 3, 'UTC') AS event_time, u.event_date AS event_date, u.iccid AS card, u.account AS account,
       'usage' AS source, toString(u.mccmnc) AS what, '' AS order_id, '' AS reference,
       toDecimal64(0, 6) AS amount, toLowCardinality('') AS currency, u.bytes AS bytes
FROM mart.usage_hourly AS u;
