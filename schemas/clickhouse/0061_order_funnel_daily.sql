-- How far the orders of a day came. Each order counts on the day on which its
-- request was first seen. Every column adds up over days, suppliers, products
-- and accounts; amounts only within one currency.
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.order_funnel_daily
(
    event_date      Date                   COMMENT 'The day (UTC) on which the requests were first seen',
    supplier        LowCardinality(String) COMMENT 'eiotclub or esimfly',
    product         LowCardinality(String) COMMENT 'What kind of order',
    account         LowCardinality(String) COMMENT 'Account name',
    currency        LowCardinality(String) COMMENT 'Currency of amount; empty where no price is known, or nothing was bought for certain',
    orders          UInt64                 COMMENT 'Requests',
    sent            UInt64                 COMMENT 'Of them: at least one call to the supplier',
    placed          UInt64                 COMMENT 'Of them: placed for certain, refunded ones included; not those that were given up or are in doubt',
    fulfilled       UInt64                 COMMENT 'Of them: now fulfilled',
    rejected        UInt64                 COMMENT 'Of them: now rejected',
    expired         UInt64                 COMMENT 'Of them: now expired',
    cancelled       UInt64                 COMMENT 'Of them: now cancelled',
    refunded        UInt64                 COMMENT 'Of them: now refunded',
    open            UInt64                 COMMENT 'Of them: not settled yet',
    held            UInt64                 COMMENT 'Of them: now waiting for a person',
    were_unknown    UInt64                 COMMENT 'Of them: the outcome was unknown at some time',
    amount          Decimal(38, 6)         COMMENT 'What the placed ones cost',
    refunded_orders_amount Decimal(38, 6)  COMMENT 'What the refunded ones had cost'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'How far the orders of each day came'
AS SELECT
    o.event_date AS event_date, o.supplier AS supplier, o.product AS product, o.account AS account, o.total_currency AS currency,
    count() AS orders,
    countIf(o.attempts > 0) AS sent,
    countIf(o.certainty = 'placed') AS placed,
    countIf(o.state = 'fulfilled') AS fulfilled,
    countIf(o.state = 'rejected') AS rejected,
    countIf(o.state = 'expired') AS expired,
    countIf(o.state = 'cancelled') AS cancelled,
    countIf(o.state = 'refunded') AS refunded,
    countIf(o.settled = 0) AS open,
    countIf(o.state = 'held') AS held,
    countIf(o.unknown_at > 0) AS were_unknown,
    sum(o.total_amount) AS amount,
    sumIf(o.total_amount, o.state = 'refunded') AS refunded_orders_amount
FROM mart.orders AS o
GROUP BY o.event_date, o.supplier, o.product, o.account, o.total_currency;
