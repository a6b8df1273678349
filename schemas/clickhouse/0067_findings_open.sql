-- The last word about each difference that is still open, with its age.
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.findings_open
(
    event_time        DateTime64(3, 'UTC')   COMMENT 'When the difference was first seen (UTC)',
    event_date        Date                   COMMENT 'The day of event_time',
    last_seen         DateTime64(3, 'UTC')   COMMENT 'When it was seen last',
    age_seconds       UInt64                 COMMENT 'For how long it has been open, at the moment of the query',
    age               LowCardinality(String) COMMENT 'The same in classes: under 1 h, 1 h to 1 day, 1 to 7 days, over 7 days',
    finding_id        String                 COMMENT 'Stable over runs',
    kind              LowCardinality(String) COMMENT 'What differs',
    severity          LowCardinality(String) COMMENT 'info, warning or critical',
    supplier          LowCardinality(String) COMMENT 'The supplier; empty if it does not apply',
    account           LowCardinality(String) COMMENT 'Account name; empty if it does not apply',
    order_id          String                 COMMENT 'Our order; empty if it does not apply',
    supplier_order_id String                 COMMENT 'The order''s id at the supplier; empty if it does not apply',
    card              String                 COMMENT 'ICCID or EID; empty if it does not apply',
    task_id           String                 COMMENT 'The supplier''s task; empty if it does not apply',
    window            String                 COMMENT 'The period compared; empty if it does not apply',
    amount            Decimal(18, 6)         COMMENT 'Money at stake; add up within one currency only',
    currency          LowCardinality(String) COMMENT 'Currency of amount; empty if there is none',
    ours              String                 COMMENT 'What we have, as JSON',
    theirs            String                 COMMENT 'What they have, as JSON',
    evidence          String                 COMMENT 'What shows it',
    suggested_action  String                 COMMENT 'What a person could do'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Differences between us and the suppliers that are open now'
AS SELECT
    f.first_seen AS event_time, toDate(f.first_seen) AS event_date, f.last_seen AS last_seen,
    toUInt64(greatest(0, dateDiff('second', f.first_seen, now64(3, 'UTC')))) AS age_seconds,
    multiIf(age_seconds < 3600, 'under 1 h', age_seconds < 86400, '1 h to 1 day', age_seconds < 604800, '1 to 7 days', 'over 7 days') AS age,
    f.finding_id AS finding_id, f.kind AS kind, f.severity AS severity, f.supplier AS supplier, f.account AS account,
    f.order_id AS order_id, f.supplier_order_id AS supplier_order_id, if(f.iccid != '', f.iccid, f.eid) AS card, f.task_id AS task_id,
    f.window AS window, f.amount AS amount, f.currency AS currency, f.ours AS ours, f.theirs AS theirs,
    f.evidence AS evidence, f.suggested_action AS suggested_action
FROM
(
    SELECT * FROM simline.findings ORDER BY epoch DESC, sequence DESC LIMIT 1 BY finding_id
) AS f
WHERE f.status = 'open';
