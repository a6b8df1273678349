-- goose's own table, made before any migration ran.
-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE simline.schema_versions
    MODIFY COMMENT 'Which migrations are in; goose keeps it',
    COMMENT COLUMN version_id 'The migration''s number',
    COMMENT COLUMN is_applied '1: applied',
    COMMENT COLUMN date 'The day on which it was applied',
    COMMENT COLUMN tstamp 'When it was applied';
