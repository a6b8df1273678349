// Package order holds the facts of an order: what is asked for, the states it
// goes through, what we are certain of and what proved it. It is pure: it does
// no input or output, reads no clock, and imports nothing of ours.
package order
