// Package bus is simline's use of NATS JetStream: one connection with settings
// that do not lie, the table of every stream, subject, bucket and consumer,
// publishing that waits for the PubAck, consuming with a verdict, purging what a
// durable has behind it, dead letters and leases. It knows no business: what a message means is its worker's.
package bus
