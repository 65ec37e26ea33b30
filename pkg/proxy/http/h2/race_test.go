//go:build race

package h2

// raceEnabled tells that the race detector is on.
const raceEnabled = true
