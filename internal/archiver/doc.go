// Package archiver keeps what happened: events from the bus → batches →
// ClickHouse, in the order of each stream and exactly once in effect.
//
// In: ORDER_EVENTS, WEBHOOKS, FINDINGS, CDR_EVENTS, AUDIT. Out: simline.order_events,
// webhooks, findings, cdr_events and audit; messages that cannot be read go to DEAD. It
// must not judge or change what happened, except for leaving out what installs
// an eSIM, and must not import another worker.
//
// Where a stream is to be gone on with is read from ClickHouse itself: batches
// go in whole and in order, so the highest sequence in the table says it. Hence
// no position can disagree with the rows, whatever dies and when.
package archiver
