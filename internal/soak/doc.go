// Package soak is simline on three NATS nodes: the servers' own configuration from
// deploy/nats, a user with the least rights for each worker, several replicas of
// each of the real binaries, steady business, and one misfortune after the other:
// a node killed, a worker of each kind killed, everything restarted in turn, a
// disk full. At the end all books must agree: no order doubled or lost, no
// notification lost, sums exact.
//
// In: how long. Out: the figures of e2e's books, and an error unless all agree.
// It must not reach into a worker; it knows what a cluster's owner can know.
package soak
