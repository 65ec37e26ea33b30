// Package await has tests wait for what is going to hold. It is a leaf that the tests of any package may use; harness builds on it.
//
// It holds no state. Its functions are for the goroutine of the test, also in what that cleans up, and for bubbles of testing/synctest.
package await

import (
	"errors"
	"testing"
	"time"
)

// Patience is how long a condition may take to hold. It is long, since test machines are slow at times, and costs nothing where things work.
const Patience = 30 * time.Second

// A condition is looked at often in the beginning, so that what holds soon costs no time, and then less and less often.
const (
	firstPause = 50 * time.Microsecond
	lastPause  = 10 * time.Millisecond
)

// True waits until the condition holds, and fails the test after Patience. The text says what was awaited.
func True(t testing.TB, what string, holds func() bool) {
	t.Helper()
	Nil(t, what, func() error {
		if holds() {
			return nil
		}
		return errors.New("it does not hold")
	})
}

// Nil is True for a condition that can say why it does not hold yet.
func Nil(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, Patience, err)
		}
		time.Sleep(pause)
	}
}
