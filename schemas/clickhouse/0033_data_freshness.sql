-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.data_freshness
(
    account       LowCardinality(String) COMMENT 'Account name',
    event_time    DateTime('UTC')        COMMENT 'Complete up to: every half hour before this is covered by a loaded file',
    event_date    Date                   COMMENT 'The day of event_time',
    covered_until DateTime('UTC')        COMMENT 'End of the latest window loaded; later than event_time if there is a gap before it',
    gaps          UInt64                 COMMENT 'Half hours before covered_until that no loaded file covers',
    late          UInt64                 COMMENT 'Half hours that are late at this moment, gaps included',
    last_loaded   DateTime64(3, 'UTC')   COMMENT 'When the account''s last new half hour came in'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Up to when each account''s data is complete'
AS SELECT
    account,
    if(holes = 0, until, first_hole) AS event_time,
    toDate(event_time) AS event_date,
    until AS covered_until, gaps, late, last_loaded
FROM
(
    SELECT account,
           countIf(files = 0) AS holes,
           minIf(c.event_time, files = 0) AS first_hole,
           maxIf(c.window_end, files > 0) AS until,
           countIf(status = 'missing') AS late,
           max(covered_at) AS last_loaded,
           arrayCount(t -> t < until, groupArrayIf(c.event_time, files = 0)) AS gaps
    FROM mart.cdr_coverage AS c
    GROUP BY account
);
