//go:build race

package httprouter

// raceDetector: sync.Pool drops what it is given at random under the race detector, which then shows as allocations.
const raceDetector = true
