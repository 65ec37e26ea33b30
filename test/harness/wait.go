package harness

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// Patience is how long Eventually and the builders wait for what should happen at once. It is long, since test machines are
// slow at times, and costs nothing where things work.
const Patience = 30 * time.Second

// pollInterval is how often a condition is looked at.
const pollInterval = 10 * time.Millisecond

// Eventually waits until the condition holds, and fails the test after Patience. The text says what was awaited.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	EventuallyNil(t, what, func() error {
		if condition() {
			return nil
		}
		return fmt.Errorf("it does not hold")
	})
}

// EventuallyNil is Eventually for a condition that can say why it does not hold yet.
func EventuallyNil(t testing.TB, what string, condition func() error) {
	t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("%s: not within %s: %v", what, Patience, err)
		case <-t.Context().Done():
			t.Fatalf("%s: the test ended: %v", what, err)
		case <-tick.C:
		}
	}
}

// Dir makes a directory that every user may look into, removed with the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "weir-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// WriteFile writes a file that every user may read, by renaming it into place as those do who mean it to be watched.
func WriteFile(t testing.TB, path, text string) {
	t.Helper()
	temp := path + ".new"
	if err := os.WriteFile(temp, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}
