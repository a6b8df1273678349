// Package devstack is everything simline talks to, on one machine: NATS,
// ClickHouse, the FTP server that takes CDR files, and both suppliers.
//
// Input: which parts, and where data may lie. Output: running servers on
// loopback, and their addresses as the environment our binaries read. It starts
// none of our workers, makes no streams and no tables, and is not for
// production.
package devstack
