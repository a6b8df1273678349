-- Each error of each attempt counts once, on the day on which it was first seen,
-- however many events repeat it.
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.supplier_errors_daily
(
    event_date Date                   COMMENT 'The day (UTC) on which the errors were first seen',
    supplier   LowCardinality(String) COMMENT 'eiotclub or esimfly',
    account    LowCardinality(String) COMMENT 'Account name',
    product    LowCardinality(String) COMMENT 'What kind of order',
    error_kind LowCardinality(String) COMMENT 'exists, busy, no_funds, out_of_stock, setup, refused, price, unknown',
    error_code LowCardinality(String) COMMENT 'The supplier''s code, or ours in brackets',
    errors     UInt64                 COMMENT 'How many',
    orders     UInt64                 COMMENT 'Orders that had them; one with several codes or days counts under each'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Errors of the suppliers by day and code'
AS SELECT
    x.event_date AS event_date, x.supplier AS supplier, x.account AS account, x.product AS product,
    x.error_kind AS error_kind, x.error_code AS error_code,
    count() AS errors, uniqExact(x.order_id) AS orders
FROM
(
    SELECT e.order_id AS order_id, e.attempt AS attempt, e.error_kind AS error_kind, e.error_code AS error_code,
           any(e.supplier) AS supplier, any(e.account) AS account, any(e.product) AS product, toDate(min(e.at)) AS event_date
    FROM simline.order_events AS e
    WHERE e.error_kind != ''
    GROUP BY e.order_id, e.attempt, e.error_kind, e.error_code
) AS x
GROUP BY x.event_date, x.supplier, x.account, x.product, x.error_kind, x.error_code;
