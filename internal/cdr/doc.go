// Package cdr is the pure part of the CDR line: the grammar of EIOTCLUB's file
// names and a streaming decoder of what is inside (shared/suppliers.md, "CDR
// files over FTP").
//
// Input: a file name and a byte stream. Output: blocks of validated rows,
// sorted the way the warehouse stores them, and one Reject for every line that
// is not a good row, so that good rows + rejects + blank lines + header is
// always the number of lines.
//
// The package must not open files or connections, read the clock, or log.
package cdr
