-- What roles.sql needs besides on a cluster (simctl migrate --cluster NAME): each
-- table is Distributed over TABLE_local, which the nodes reach as the same user.
--   clickhouse-client --multiquery < roles.sql; clickhouse-client --multiquery < cluster.sql
-- on a node; users and roles in replicated access storage are then on all nodes.

GRANT CLUSTER ON *.* TO simline_setup;

GRANT SELECT, INSERT ON simline.cdr_local TO simline_cdrpull;
GRANT SELECT, INSERT ON simline.cdr_files_local TO simline_cdrpull;
GRANT SELECT, INSERT ON simline.cdr_rejects_local TO simline_cdrpull;
GRANT SELECT, INSERT ON simline.cdr_conflicts_local TO simline_cdrpull;
GRANT SELECT, INSERT ON simline.cdr_terms_local TO simline_cdrpull;
GRANT SELECT, INSERT ON simline.cdr_confirmed_local TO simline_cdrpull;
GRANT SELECT, INSERT ON simline.usage_days_local TO simline_cdrpull;
GRANT SELECT, INSERT ON simline.usage_rollup_local TO simline_cdrpull;
GRANT SELECT, INSERT, ALTER DELETE ON simline.cdr_probe_local TO simline_cdrpull;
GRANT SELECT, INSERT ON simline.order_events_local TO simline_archiver;
GRANT SELECT, INSERT ON simline.webhooks_local TO simline_archiver;
GRANT SELECT, INSERT ON simline.findings_local TO simline_archiver;
GRANT SELECT, INSERT ON simline.cdr_events_local TO simline_archiver;
GRANT SELECT, INSERT ON simline.audit_local TO simline_archiver;
GRANT SELECT, INSERT ON simline.archive_skipped_local TO simline_archiver;
GRANT SELECT ON simline.cdr_local TO simline_reconciler;
GRANT SELECT ON simline.cdr_files_local TO simline_reconciler;
GRANT SELECT ON simline.order_events_local TO simline_reconciler;
GRANT SELECT ON simline.order_events_local TO simline_console;
GRANT SELECT ON simline.webhooks_local TO simline_console;
GRANT SELECT ON simline.audit_local TO simline_console;
GRANT INSERT ON simline.networks_local TO simline_operator;

-- An insert has arrived when its shard has it, on most of its replicas; a read sees
-- what was inserted before, whichever replica answers. Subqueries over a
-- Distributed table (in views of mart) are asked once, not on every shard.
CREATE SETTINGS PROFILE IF NOT EXISTS simline_cluster SETTINGS
    distributed_foreground_insert = 1,
    insert_quorum = 'auto',
    insert_quorum_parallel = 0,
    select_sequential_consistency = 1,
    distributed_product_mode = 'global',
    load_balancing = 'in_order'
    TO simline_setup, simline_cdrpull, simline_archiver, simline_reconciler, simline_operator, simline_console;

CREATE SETTINGS PROFILE IF NOT EXISTS simline_cluster_bi SETTINGS
    distributed_product_mode = 'global'
    TO simline_bi, simline_bi_default;
