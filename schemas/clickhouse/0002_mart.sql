-- The only database that BI is granted. It holds views alone, and a plain SUM
-- over any of them is right at any moment.
-- +goose NO TRANSACTION
-- +goose Up
CREATE DATABASE IF NOT EXISTS mart ENGINE = Atomic COMMENT 'Views for BI: a plain SUM over any of them is right at any moment';
