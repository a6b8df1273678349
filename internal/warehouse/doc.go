// Package warehouse is simline's side of ClickHouse: it opens the connection,
// migrates the schema, and writes and reads what the workers keep there.
//
// Input: a DSN, clickhouse:// (native TCP) or http://, and rows. Output: tables
// of which each statement may be repeated without harm. Both of the driver's
// protocols are supported everywhere.
//
// The package must not decide what a row means, talk to NATS, or hold on to
// what it was given after a call returns.
package warehouse
