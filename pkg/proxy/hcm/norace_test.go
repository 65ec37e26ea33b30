//go:build !race

package hcm_test

const raceDetector = false
