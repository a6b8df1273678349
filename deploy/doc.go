// Package deploy holds what runs simline elsewhere: manifests, servers'
// configurations, dashboards. Its tests hold them against the code: names of
// streams and settings, timings that belong together, queries. What needs
// Kubernetes' own schemas is in deploy/check.
package deploy
