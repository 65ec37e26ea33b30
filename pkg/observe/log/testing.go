package log

import (
	"log/slog"
	"strings"
	"sync"
)

// Discard gives a logger that writes nothing.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TB is the part of testing.TB that ForTest needs; it keeps package testing out of the program.
type TB interface {
	Helper()
	Log(args ...any)
	Cleanup(func())
}

// ForTest gives a logger that logs everything to the test. Lines after the test's end are dropped.
func ForTest(t TB) *slog.Logger { return ForTestRegistry(t).Logger("testing") }

// ForTestRegistry is ForTest for code that takes a registry.
func ForTestRegistry(t TB) *Registry {
	w := &testWriter{t: t}
	t.Cleanup(w.end)
	return New(Options{Level: LevelTrace, Output: w})
}

// testWriter's lock keeps a line from reaching the test after its end, which would be a panic.
type testWriter struct {
	mu sync.Mutex
	t  TB // nil after the end
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Helper()
		w.t.Log(strings.TrimSuffix(string(p), "\n"))
	}
	return len(p), nil
}

func (w *testWriter) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t = nil
}
