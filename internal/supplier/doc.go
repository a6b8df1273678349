// Package supplier is the vocabulary in which orderer and reconciler speak with
// any supplier: what to buy, what came of it, the kinds of refusal, what a
// supplier allows, and one bounded HTTP call that knows whether it left. It decides
// nothing: what an error kind leads to stands in internal/orderer alone.
package supplier
