//go:build race

package orderer

const raceEnabled = true
