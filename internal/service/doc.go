// Package service is the life of a worker process: configuration from the
// environment, logs, signals, the admin server with health and metrics, and a
// drain that has an end. In: argv and environment. Out: an exit code. It knows
// nothing of what a worker does.
package service
