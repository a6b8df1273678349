-- The same word as in simline.cdr_files and on the wire: rows are good rows.
-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE simline.cdr_events
    COMMENT COLUMN IF EXISTS rows 'Good rows; the bad ones are in rejects';
