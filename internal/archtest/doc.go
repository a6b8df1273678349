// Package archtest holds the rules of this code base that a compiler does not
// know, as tests: who may import whom, where names may stand, what may be logged.
// It has no code of its own. CONTRIBUTING.md gives the reasons.
package archtest
