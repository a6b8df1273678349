-- The ledger of CDR files: one row per content of a file (the supplier may send
-- other content under the same name, and a file may be seen cut). It is written
-- with state loading before the first row goes in, and replaced as it ends.
-- Small (a year of one account is 17,520 rows): one partition, no TTL.
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS simline.cdr_files
(
    account        LowCardinality(String) COMMENT 'The account''s name in our configuration',
    file           String                 COMMENT 'The file''s name',
    sha256         String                 COMMENT 'Of the file''s bytes, hex',
    content        UInt16                 COMMENT '0 for the first content seen under this name, then 1, 2, …; a later one wins',
    state          LowCardinality(String) COMMENT 'loading, loaded, with_rejects, or held (too many bad rows: nothing was loaded)',
    reason         String                 COMMENT 'Why it is held; empty otherwise',
    size           UInt64                 COMMENT 'Bytes of the file',
    window_start   DateTime('UTC')        COMMENT 'Start of the window that the name states',
    window_end     DateTime('UTC')        COMMENT 'End of that window; the file holds the records that ended in it',
    generated_at   DateTime('UTC')        COMMENT 'When the supplier wrote it, by its name',
    lines          UInt64                 COMMENT 'Lines, header included',
    rows           UInt64                 COMMENT 'Good rows',
    inserted       UInt64                 COMMENT 'Good rows that were new or newer than what was there',
    known          UInt64                 COMMENT 'Good rows that were there already',
    rejects        UInt64                 COMMENT 'Bad rows, set aside in simline.cdr_rejects',
    conflicts      UInt64                 COMMENT 'Good rows whose id was there with other content, kept in simline.cdr_conflicts',
    outside        UInt64                 COMMENT 'Good rows that began or ended outside the window: long sessions, loaded as usual',
    bytes          UInt64                 COMMENT 'Sum of data_usage over the good rows',
    first_hour     DateTime('UTC')        COMMENT 'Earliest hour among the good rows',
    last_hour      DateTime('UTC')        COMMENT 'Latest hour among the good rows',
    first_loaded   DateTime64(3, 'UTC')   COMMENT 'When this content was loaded for the first time; 1970 if never',
    loaded_at      DateTime64(3, 'UTC')   COMMENT 'When this content was loaded last; 1970 if never',
    updated_at     DateTime64(6, 'UTC')   COMMENT 'When this row was written; the latest counts'
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY (account, file, sha256)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'CDR files and what became of them. Read FINAL, or mart.cdr_files';
