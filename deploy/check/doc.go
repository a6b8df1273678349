// Package check holds deploy/ against what will read it, without a cluster:
// every overlay builds, every object fits the schemas of Kubernetes, KEDA and the
// Prometheus operator, every pod is "restricted", alert rules do what their tests
// say, and every query of the dashboards is one.
//
// It is a module of its own so that those projects stay out of simline's.
package check
