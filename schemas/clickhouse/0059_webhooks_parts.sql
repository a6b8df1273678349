-- As simline.order_events: what an insert brings stays in one file.
-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE simline.webhooks
    MODIFY SETTING min_bytes_for_wide_part = 67108864;
