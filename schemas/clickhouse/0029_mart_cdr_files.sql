-- +goose NO TRANSACTION
-- +goose Up
CREATE OR REPLACE VIEW mart.cdr_files
(
    event_time   DateTime64(3, 'UTC')   COMMENT 'When this content was loaded first; 1970 if it has not been',
    event_date   Date                   COMMENT 'The day of event_time',
    account      LowCardinality(String) COMMENT 'Account name',
    file         String                 COMMENT 'File name',
    sha256       String                 COMMENT 'Of the file''s bytes, hex',
    content      UInt16                 COMMENT '0 for the first content seen under this name; more means that it was replaced',
    state        LowCardinality(String) COMMENT 'loading, loaded, with_rejects or held',
    reason       String                 COMMENT 'Why it is held',
    size         UInt64                 COMMENT 'Bytes of the file',
    window_start DateTime('UTC')        COMMENT 'Start of its window',
    window_end   DateTime('UTC')        COMMENT 'End of its window',
    generated_at DateTime('UTC')        COMMENT 'When the supplier wrote it',
    rows         UInt64                 COMMENT 'Good rows',
    inserted     UInt64                 COMMENT 'Rows that were new or newer',
    known        UInt64                 COMMENT 'Rows that were there already',
    rejects      UInt64                 COMMENT 'Bad rows',
    conflicts    UInt64                 COMMENT 'Rows whose id was there with other content',
    outside      UInt64                 COMMENT 'Rows that began or ended outside the window',
    bytes        UInt64                 COMMENT 'Sum of data_usage over the file; files overlap, so do not add these up: use usage_hourly'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'CDR files and what became of them'
AS SELECT
    first_loaded AS event_time, toDate(first_loaded) AS event_date,
    account, file, sha256, content, state, reason, size, window_start, window_end, generated_at,
    rows, inserted, known, rejects, conflicts, outside, bytes
FROM simline.cdr_files FINAL;
