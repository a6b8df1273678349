-- The 1,000 heaviest cards of each day. A sum over them is the sum of those
-- cards only, as the name says. (0026 numbered them by a window function, through
-- which no condition on the day reached the tables: every day was read for one.)
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
AS SELECT event_date, toUInt64(place) AS place, card.3 AS account, card.2 AS iccid, toUInt64(-card.1) AS bytes, card.4 AS records
FROM
(
    SELECT event_date, groupArraySorted(1000)((-toInt64(bytes), iccid, account, records)) AS cards
    FROM
    (
        SELECT day AS event_date, toString(d.account) AS account, d.iccid AS iccid, sum(d.bytes) AS bytes, sum(d.records) AS records
        FROM simline.daily AS d
        GROUP BY day, account, iccid
    )
    GROUP BY event_date
)
ARRAY JOIN cards AS card, arrayEnumerate(cards) AS place;
