// Package console is the page: what internal/operator lets a person see and do, in
// a browser.
//
// In: HTTP requests of who knows the token; NATS and ClickHouse to read. Out: HTML
// that the server renders whole, charts included; and, if mutations are enabled,
// internal/operator's deeds, each with who and why. It must not write anything by
// itself, show card data that nobody asked for, or read a stream from its
// beginning: lists and searches come from ClickHouse, the truth about one order
// from its own subject, counts from what the server says of streams and consumers.
package console
