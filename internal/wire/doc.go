// Package wire holds the messages that cross a process: the CloudEvents
// envelope, the types of design and schemas/, and their strict decoding. In:
// bytes. Out: values that are whole and valid, or an *Error that says which
// dead-letter reason applies. It must not talk to anything.
package wire
