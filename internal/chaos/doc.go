// Package chaos is the real orderer binary, several replicas of it, between a real
// NATS server and both suppliers' simulators, under whatever may happen to
// processes: killed, stopped past AckWait, restarted in turn, NATS gone for a while,
// suppliers that lose answers and lie.
//
// In: how many orders, and what shall happen meanwhile. Out: the books at the end,
// held against each other: the simulators', the ledger's whole history, and every
// call that arrived at the suppliers' doors. It must not reach into a worker.
package chaos
