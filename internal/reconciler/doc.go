// Package reconciler compares, period by period, what simline believes with what
// the suppliers say, and says precisely what differs.
//
// Input: the ledger stream and its index of open orders (read), the
// notifications, what orderer set aside and the loaded CDR windows (read), the
// suppliers' lists, and the batch tasks that upstream wants followed. Output:
// findings, evidence to orderer, files to be read again to cdrpull, and how tracked
// tasks ended.
//
// It must not spend: it never buys and never refunds, and it never writes the
// ledger. What it learns about an order it hands to orderer as evidence.
//
//	tick → period due? → lease → pass over that period → findings, evidence → period done
//
// A period is done once, whatever the clock, the replicas and the restarts do:
// the end of the last one is kept and moved by compare-and-set. A difference
// that is younger than the time both sides need to settle is not one yet.
package reconciler
