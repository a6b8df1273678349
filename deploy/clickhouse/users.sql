-- A user per worker. The hashes come from the environment, the passwords go into
-- the Secrets simline-clickhouse-<worker> as a DSN:
--   SETUP_SHA256=$(printf %s "$PASSWORD" | sha256sum | cut -d' ' -f1) … envsubst < users.sql | clickhouse-client --multiquery
CREATE USER IF NOT EXISTS simline_setup IDENTIFIED WITH sha256_hash BY '${SETUP_SHA256}' DEFAULT ROLE simline_setup;
CREATE USER IF NOT EXISTS simline_cdrpull IDENTIFIED WITH sha256_hash BY '${CDRPULL_SHA256}' DEFAULT ROLE simline_cdrpull;
CREATE USER IF NOT EXISTS simline_archiver IDENTIFIED WITH sha256_hash BY '${ARCHIVER_SHA256}' DEFAULT ROLE simline_archiver;
CREATE USER IF NOT EXISTS simline_reconciler IDENTIFIED WITH sha256_hash BY '${RECONCILER_SHA256}' DEFAULT ROLE simline_reconciler;
CREATE USER IF NOT EXISTS simline_operator IDENTIFIED WITH sha256_hash BY '${OPERATOR_SHA256}' DEFAULT ROLE simline_operator;
CREATE USER IF NOT EXISTS simline_console IDENTIFIED WITH sha256_hash BY '${CONSOLE_SHA256}' DEFAULT ROLE simline_console;
CREATE USER IF NOT EXISTS simline_bi IDENTIFIED WITH sha256_hash BY '${BI_SHA256}' DEFAULT ROLE simline_bi;
GRANT simline_setup TO simline_setup;
GRANT simline_cdrpull TO simline_cdrpull;
GRANT simline_archiver TO simline_archiver;
GRANT simline_reconciler TO simline_reconciler;
GRANT simline_operator TO simline_operator;
GRANT simline_console TO simline_console;
GRANT simline_bi TO simline_bi;
