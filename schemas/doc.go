// Package schemas holds what others may rely on: the JSON Schema of every
// message, the AsyncAPI document of every subject, and the ClickHouse
// migrations, embedded. It imports nothing and decides nothing.
package schemas
