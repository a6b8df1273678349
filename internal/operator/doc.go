// Package operator is what a person may see and do, whether on a terminal
// (cmd/simctl) or on the page (internal/console).
//
// In: a connection to NATS and, for what lies there, ClickHouse. Out: orders with
// their whole story, dead letters, switches; and deeds: requests, evidence and
// cancels handed to orderer, dead letters replayed, switches set. Each deed names
// who and why and is on AUDIT before it is done. It must not write the ledger,
// buy, or decide what becomes of an order: that is orderer's.
package operator
