//go:build race

package harness

// raceEnabled builds weir with the race detector when the tests have it.
const raceEnabled = true
