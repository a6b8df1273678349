-- From the request to a certain outcome (placed, rejected, expired, cancelled).
-- orders and the sums of seconds add up; percentiles and the maximum do not.
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.order_latency_hourly
(
    event_hour        DateTime('UTC')        COMMENT 'The hour (UTC) in which the requests were first seen',
    event_date        Date                   COMMENT 'The day of that hour',
    supplier          LowCardinality(String) COMMENT 'eiotclub or esimfly',
    product           LowCardinality(String) COMMENT 'What kind of order',
    account           LowCardinality(String) COMMENT 'Account name',
    orders            UInt64                 COMMENT 'Orders with a certain outcome',
    seconds           Float64                COMMENT 'Sum of the times to the outcome; divided by orders, the mean',
    p50_seconds       Float64                COMMENT 'Half of them took no longer; not to be added up',
    p95_seconds       Float64                COMMENT '95 % of them took no longer; not to be added up',
    p99_seconds       Float64                COMMENT '99 % of them took no longer; not to be added up',
    max_seconds       Float64                COMMENT 'The longest; take the maximum',
    fulfilled         UInt64                 COMMENT 'Orders that were fulfilled',
    fulfilled_seconds Float64                COMMENT 'Sum of the times from the request to fulfilment'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'How long orders take to a certain outcome'
AS SELECT
    toDateTime(toStartOfHour(o.event_time), 'UTC') AS event_hour, toDate(event_hour) AS event_date,
    o.supplier AS supplier, o.product AS product, o.account AS account,
    count() AS orders,
    sum(o.took) AS seconds,
    quantileExact(0.5)(o.took) AS p50_seconds,
    quantileExact(0.95)(o.took) AS p95_seconds,
    quantileExact(0.99)(o.took) AS p99_seconds,
    max(o.took) AS max_seconds,
    countIf(o.fulfilled_at > 0) AS fulfilled,
    sumIf(greatest(0, toUnixTimestamp64Micro(o.fulfilled_at) - toUnixTimestamp64Micro(o.event_time)) / 1e6, o.fulfilled_at > 0) AS fulfilled_seconds
FROM
(
    SELECT *, greatest(0, toUnixTimestamp64Micro(outcome_at) - toUnixTimestamp64Micro(event_time)) / 1e6 AS took
    FROM mart.orders
    WHERE outcome_at > 0
) AS o
GROUP BY event_hour, o.supplier, o.product, o.account;
