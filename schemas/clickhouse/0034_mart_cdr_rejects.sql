-- 0030, without what is good by now.
-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.cdr_rejects
(
    event_time DateTime64(3, 'UTC')   COMMENT 'When it was set aside',
    event_date Date                   COMMENT 'The day of event_time',
    account    LowCardinality(String) COMMENT 'Account name',
    file       String                 COMMENT 'File name',
    line       UInt64                 COMMENT 'Line number, from 1, the header included',
    raw        String                 COMMENT 'The line as it stood',
    reason     LowCardinality(String) COMMENT 'What was wrong first',
    sha256     String                 COMMENT 'Which content of the file'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Bad rows of CDR files'
AS SELECT rejected_at AS event_time, toDate(rejected_at) AS event_date, account, file, line, raw, reason, sha256
FROM simline.cdr_rejects FINAL
WHERE gone = 0;
