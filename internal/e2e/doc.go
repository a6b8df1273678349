// Package e2e runs the real binaries, each a process of its own, on the
// development stack, feeds them a small business and compares the books of all
// parties at the end: simulators, ledger, order events, ClickHouse. It is what
// `make run` and `make demo` show, and the test that kills workers meanwhile.
// It must not reach into a worker: what it knows, it knows from outside.
package e2e
