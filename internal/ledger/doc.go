// Package ledger keeps orders as an event stream moved by compare-and-set, and
// the index of those that are open.
//
// In: records of orders, each the whole order after one transition. Out: one
// durable event per transition on ORDER_EVENTS, whose last one per order is that
// order's state. Two workers cannot both move an order: each append names the
// event that it follows, and the server refuses it if another came between.
//
// It must not decide what a transition should be, and it talks to no supplier.
package ledger
