-- What each worker may do in ClickHouse, and no more. Run by an administrator, once
-- and after each change; idempotent. users.sql gives the roles to users.
--   clickhouse-client --multiquery < roles.sql

-- simctl migrate: makes and changes the tables and views.
CREATE ROLE IF NOT EXISTS simline_setup;
GRANT CREATE DATABASE ON *.* TO simline_setup;
GRANT CREATE TABLE, CREATE VIEW, CREATE DICTIONARY, DROP TABLE, DROP VIEW, DROP DICTIONARY, ALTER, INSERT, SELECT, TRUNCATE, OPTIMIZE, dictGet ON simline.* TO simline_setup WITH GRANT OPTION;
GRANT CREATE VIEW, DROP VIEW, SELECT ON mart.* TO simline_setup;

-- cdrpull: CDR files into tables, and their rollup.
CREATE ROLE IF NOT EXISTS simline_cdrpull;
GRANT SELECT, INSERT ON simline.cdr TO simline_cdrpull;
GRANT SELECT, INSERT ON simline.cdr_files TO simline_cdrpull;
GRANT SELECT, INSERT ON simline.cdr_rejects TO simline_cdrpull;
GRANT SELECT, INSERT ON simline.cdr_conflicts TO simline_cdrpull;
GRANT SELECT, INSERT ON simline.cdr_terms TO simline_cdrpull;
GRANT SELECT, INSERT ON simline.cdr_confirmed TO simline_cdrpull;
GRANT SELECT, INSERT ON simline.usage_days TO simline_cdrpull;
GRANT SELECT, INSERT ON simline.usage_rollup TO simline_cdrpull;
-- A load's working set, dropped by partition when the load is done.
GRANT SELECT, INSERT, ALTER DELETE ON simline.cdr_probe TO simline_cdrpull;

-- archiver: what happens on the bus.
CREATE ROLE IF NOT EXISTS simline_archiver;
GRANT SELECT, INSERT ON simline.order_events TO simline_archiver;
GRANT SELECT, INSERT ON simline.webhooks TO simline_archiver;
GRANT SELECT, INSERT ON simline.findings TO simline_archiver;
GRANT SELECT, INSERT ON simline.cdr_events TO simline_archiver;
GRANT SELECT, INSERT ON simline.audit TO simline_archiver;
GRANT SELECT, INSERT ON simline.archive_skipped TO simline_archiver;

-- reconciler: reads usage and coverage, writes nothing.
CREATE ROLE IF NOT EXISTS simline_reconciler;
GRANT SELECT ON simline.cdr TO simline_reconciler;
GRANT SELECT ON simline.cdr_files TO simline_reconciler;
GRANT SELECT ON simline.order_events TO simline_reconciler;

-- A person with simctl: the list of networks, and looking.
CREATE ROLE IF NOT EXISTS simline_operator;
GRANT SELECT ON simline.* TO simline_operator;
GRANT SELECT ON mart.* TO simline_operator;
GRANT INSERT ON simline.networks TO simline_operator;
GRANT SYSTEM RELOAD DICTIONARY ON *.* TO simline_operator;

-- The page: reads what it shows, and nothing else.
CREATE ROLE IF NOT EXISTS simline_console;
GRANT SELECT ON simline.order_events TO simline_console;
GRANT SELECT ON simline.webhooks TO simline_console;
GRANT SELECT ON simline.audit TO simline_console;
GRANT SELECT ON mart.* TO simline_console;

-- BI: the views of mart, and nothing beneath them. The views run with the rights
-- of who made them.
CREATE ROLE IF NOT EXISTS simline_bi;
GRANT SELECT ON mart.* TO simline_bi;
GRANT SELECT ON system.one TO simline_bi;

-- Who sees all accounts. For one who shall see but one account, a role and a policy
-- of its own, as below; whoever has both roles sees the sum of both.
CREATE ROW POLICY IF NOT EXISTS simline_bi_all ON mart.* FOR SELECT USING 1 TO simline_bi, simline_operator, simline_console, simline_setup;

CREATE ROLE IF NOT EXISTS simline_bi_default;
GRANT SELECT ON mart.* TO simline_bi_default;
CREATE ROW POLICY IF NOT EXISTS simline_bi_default ON mart.* FOR SELECT USING account = 'default' TO simline_bi_default;

-- A dashboard cannot take the server away from the loads. readonly = 2 lets clients
-- set their own time-outs (drivers do), within the bounds.
CREATE SETTINGS PROFILE IF NOT EXISTS simline_bi SETTINGS
    readonly = 2,
    max_execution_time = 60 MIN 1 MAX 300,
    max_memory_usage = 4000000000 MAX 8000000000,
    max_result_rows = 1000000 MAX 10000000,
    max_threads = 4 MAX 8,
    priority = 5 MIN 5
    TO simline_bi, simline_bi_default;

-- Somebody waits for the page: no question of it runs long.
CREATE SETTINGS PROFILE IF NOT EXISTS simline_console SETTINGS
    readonly = 2,
    max_execution_time = 20 MIN 1 MAX 30,
    max_memory_usage = 1000000000 MAX 2000000000,
    max_threads = 2 MAX 4
    TO simline_console;

-- Loads sort and deduplicate in Go; their inserts are blocks, never buffered.
CREATE SETTINGS PROFILE IF NOT EXISTS simline_worker SETTINGS
    async_insert = 0,
    session_timezone = 'UTC',
    max_execution_time = 600
    TO simline_cdrpull, simline_archiver, simline_reconciler;

-- The views of mart run with the rights of who migrates.
CREATE SETTINGS PROFILE IF NOT EXISTS simline_setup SETTINGS
    default_normal_view_sql_security = 'DEFINER',
    default_view_definer = 'CURRENT_USER',
    session_timezone = 'UTC'
    TO simline_setup;
