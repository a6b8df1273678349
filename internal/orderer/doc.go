// Package orderer buys from suppliers, exactly once, and is the only worker that
// spends money and the only one that writes the ledger.
//
// In: order requests and cancels (ORDERS), what others learnt about an order
// (EVIDENCE), the suppliers' verified notifications (WEBHOOKS), and the index of
// open orders. Out: order events (ORDER_EVENTS), one per transition, each the
// whole order; dead letters for what can never be an order.
//
//	message → decode → ledger: intent → supplier Place → ledger: outcome → ack
//
// An intent is durable before the call it announces. Whoever finds an intent left
// by a dead worker looks first and never sends blindly. What left the queue
// unsettled is guarded by the index of open orders, which a sweep goes through.
//
// ORDERS keeps what is acknowledged; what is done is purged each second behind the
// floor of each supplier's durable, and what a server gave up is found there.
//
// It must not report a guess as a fact: an outcome that nobody knows is unknown,
// and stays so until evidence or a person settles it.
package orderer
