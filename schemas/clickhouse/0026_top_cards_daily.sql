-- The 1,000 heaviest cards of each day. A sum over them is the sum of those
-- cards only, as the name says.
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.top_cards_daily
(
    event_date Date                   COMMENT 'The day (UTC) in which the records began',
    place      UInt64                 COMMENT '1 is the card with the most bytes of the day',
    account    LowCardinality(String) COMMENT 'Account name',
    iccid      String                 COMMENT 'The card''s number',
    bytes      UInt64                 COMMENT 'Bytes used',
    records    UInt64                 COMMENT 'Number of records'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'The 1,000 cards with the most bytes of each day'
AS SELECT event_date, place, account, iccid, bytes, records
FROM
(
    SELECT event_date, account, iccid, bytes, records,
           row_number() OVER (PARTITION BY event_date ORDER BY bytes DESC, iccid, account) AS place
    FROM
    (
        SELECT day AS event_date, account, iccid, sum(d.bytes) AS bytes, sum(d.records) AS records
        FROM simline.daily AS d
        GROUP BY day, account, iccid
    )
)
WHERE place <= 1000;
