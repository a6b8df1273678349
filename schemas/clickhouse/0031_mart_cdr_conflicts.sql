-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.cdr_conflicts
(
    event_time        DateTime64(3, 'UTC')   COMMENT 'When it was noted',
    event_date        Date                   COMMENT 'The day of event_time',
    account           LowCardinality(String) COMMENT 'Account name',
    id                Int64                  COMMENT 'The record''s id',
    kept_file         String                 COMMENT 'File of the version that counts',
    lost_file         String                 COMMENT 'File of the other',
    kept_generated_at DateTime64(3, 'UTC')   COMMENT 'Generation of the version that counts',
    lost_generated_at DateTime64(3, 'UTC')   COMMENT 'Generation of the other',
    kept_start_time   DateTime('UTC')        COMMENT 'start_time that counts',
    lost_start_time   DateTime('UTC')        COMMENT 'start_time of the other',
    kept_stop_time    DateTime('UTC')        COMMENT 'stop_time that counts',
    lost_stop_time    DateTime('UTC')        COMMENT 'stop_time of the other',
    kept_iccid        String                 COMMENT 'Card that counts',
    lost_iccid        String                 COMMENT 'Card of the other',
    kept_mccmnc       LowCardinality(String) COMMENT 'Network that counts',
    lost_mccmnc       LowCardinality(String) COMMENT 'Network of the other',
    kept_bytes        UInt64                 COMMENT 'Bytes that count',
    lost_bytes        UInt64                 COMMENT 'Bytes of the other'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'Records that came in two versions'
AS SELECT
    noted_at AS event_time, toDate(noted_at) AS event_date, account, id,
    kept_file, lost_file, kept_generated_at, lost_generated_at, kept_start_time, lost_start_time,
    kept_stop_time, lost_stop_time, kept_iccid, lost_iccid, kept_mccmnc, lost_mccmnc, kept_bytes, lost_bytes
FROM simline.cdr_conflicts FINAL;
