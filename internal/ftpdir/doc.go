// Package ftpdir lists and streams one remote FTP directory.
//
// Input: a URL, ftp://user:password@host:port/directory, or ftps:// for
// explicit TLS. Output: entries, and byte streams that end without error only
// if the server said that it sent everything (226).
//
// Every step is under a deadline: dialling, each answer on the control
// connection, each read of a transfer. The package must not keep connections
// open between sessions, retry, or judge what a file is.
package ftpdir
