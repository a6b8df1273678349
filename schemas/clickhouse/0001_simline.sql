-- The workers' tables. BI is granted nothing here: see 0002.
-- +goose NO TRANSACTION
-- +goose Up
CREATE DATABASE IF NOT EXISTS simline ENGINE = Atomic COMMENT 'Tables that simline''s workers write';
