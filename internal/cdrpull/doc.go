// Package cdrpull is the worker that brings the supplier's CDR files from our
// FTP directory into ClickHouse, whole and exactly once in effect.
//
//	list directory → announce file → claim → stream → decode → drop known rows
//	→ insert → mark loaded → rollup
//
// Input: directories, and cdr.v1.file messages. Output: simline.cdr and the
// tables beside it, cdr.v1.loaded and cdr.v1.gap messages. Any number of
// replicas share the work: one lists a directory, one loads an account's files.
//
// What makes it exact: a row's version is its file's generation, the higher
// version wins, and loads of one account follow one another, so each load sees
// what was there. What makes it cheap: rows that are there already, unchanged,
// are recognised and not written again.
//
// The package must not order anything, call a supplier's API, or touch a file
// of an account that is not configured.
package cdrpull
