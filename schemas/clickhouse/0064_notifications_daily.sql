-- Each notification counts once, by its id for ever, on the day on which we
-- received it first.
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.notifications_daily
(
    event_date    Date                   COMMENT 'The day (UTC) on which they were received',
    supplier      LowCardinality(String) COMMENT 'Who sent them',
    account       LowCardinality(String) COMMENT 'Account name',
    event         LowCardinality(String) COMMENT 'What they are about, in the supplier''s word',
    notifications UInt64                 COMMENT 'How many',
    orders        UInt64                 COMMENT 'Orders that they speak of, each mention counted',
    cards         UInt64                 COMMENT 'Cards that they speak of, each mention counted',
    refund_amount Decimal(38, 6)         COMMENT 'Sum of refunds, in the account''s currency',
    delay_seconds Float64                COMMENT 'Sum of the times from their timestamp to us; divided by notifications, the mean'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Notifications of the suppliers by day and event'
AS SELECT
    toDate(n.received) AS event_date, n.supplier AS supplier, n.account AS account, n.event AS event,
    count() AS notifications, sum(n.orders) AS orders, sum(n.cards) AS cards, sum(n.refund) AS refund_amount,
    sumIf(greatest(0, toUnixTimestamp64Milli(toDateTime64(n.received, 3, 'UTC')) - toUnixTimestamp64Milli(n.sent)) / 1e3, n.sent > 0) AS delay_seconds
FROM
(
    SELECT w.message_id AS message_id, any(w.supplier) AS supplier, any(w.account) AS account, any(w.event) AS event,
           min(w.received_at) AS received, any(w.sent_at) AS sent,
           any(length(w.order_ids)) AS orders, any(length(w.cards)) AS cards, any(w.refund_amount) AS refund
    FROM simline.webhooks AS w
    GROUP BY w.message_id
) AS n
GROUP BY event_date, n.supplier, n.account, n.event;
