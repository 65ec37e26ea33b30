// Package leak has tests find what is left behind in their own process: goroutines and descriptors. Both are counted for the process
// as a whole, so that tests which use it must not run in parallel with others.
package leak

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/weir-proxy/weir/test/await"
)

// stacks is how much of the goroutines' stacks a failure shows, in bytes.
const stacks = 64 << 10

// Goroutines waits until there are no more goroutines than before, as runtime.NumGoroutine told then. The failure shows their stacks.
func Goroutines(t testing.TB, before int) {
	t.Helper()
	await.Nil(t, "the goroutines end", func() error {
		now := runtime.NumGoroutine()
		if now <= before {
			return nil
		}
		buf := make([]byte, stacks)
		return fmt.Errorf("%d goroutines, %d before:\n%s", now, before, buf[:runtime.Stack(buf, true)])
	})
}

// Files counts the open descriptors, the one that it needs for it included.
func Files(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
