//go:build !race

package httprouter

const raceDetector = false
