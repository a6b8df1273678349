// Package eiotclub speaks EIOTCLUB's open platform (seed 002; in comments D marks
// what the document says and I what we infer).
//
// Input: a purchase, a question about an order, or a list to read. Output: what
// the supplier answered, in the vocabulary of internal/supplier. It signs calls
// and verifies the signatures of notifications. It must not repeat a call, wait,
// keep state about orders, or decide what an answer leads to: an error's kind is
// data (codes.go), and so is what the supplier allows (rules.go).
package eiotclub
