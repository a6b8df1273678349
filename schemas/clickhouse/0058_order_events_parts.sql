-- What one insert brings, and the first merge of a few of those, stay in one file
-- each: a batch is more than the 10 MiB from which every column gets a file of its
-- own, and with more than thirty of them writing, syncing and merging those files would
-- cost more than the rows. Larger parts, which queries spend their time on, are by column.
-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE simline.order_events
    MODIFY SETTING min_bytes_for_wide_part = 67108864;
