// Package chd gives make run and the tests a ClickHouse without installing one.
//
// Input: a data directory. Output: an address that speaks ClickHouse's HTTP
// interface on loopback. It takes, in this order, CLICKHOUSE_DSN; a clickhouse
// binary on PATH, started privately; the engine itself as a shared library,
// fetched once through npm and loaded in a child process of its own. It knows
// nothing of our tables, and nothing in production imports it.
//
// The child is this very program, started again: see child.go.
package chd
