// Package esimfly speaks eSIMfly's Business API (seed 003; in comments D marks
// what that page says, P what the supplier's public pages say beside it, I what
// we infer).
//
// Input: a purchase of eSIMs, or a question about one. Output: what the supplier
// answered, in the vocabulary of internal/supplier. It must not repeat a call,
// wait, keep state about orders, or decide what an answer leads to.
package esimfly
