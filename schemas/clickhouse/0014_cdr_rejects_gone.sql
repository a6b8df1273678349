-- A bad row that is good when its file is read again is not deleted, which costs
-- a mutation and which a Distributed table cannot do, but marked.
-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE simline.cdr_rejects
    ADD COLUMN IF NOT EXISTS gone UInt8 COMMENT '1: the file was read again since; what is bad still has a later row';
