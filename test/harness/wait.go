package harness

import (
	"os"
	"testing"

	"github.com/weir-proxy/weir/test/await"
)

// Patience is how long Eventually and the builders wait for what should happen at once.
const Patience = await.Patience

// Eventually is await.True.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	await.True(t, what, condition)
}

// EventuallyNil is await.Nil.
func EventuallyNil(t testing.TB, what string, condition func() error) {
	t.Helper()
	await.Nil(t, what, condition)
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
