// Package ingest takes in the suppliers' signed notifications: request → verify
// → name the event → publish (dedup by id) → stored durably → SUCCESS.
//
// In: POST /webhooks/<supplier>/<account>. Out: messages on WEBHOOKS, stale ones
// on DEAD. It must not answer SUCCESS before a durable copy stands, must not
// judge what a notification says, and reads neither orders nor tables.
package ingest
