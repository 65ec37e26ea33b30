package log

import (
	"bytes"
	"log/slog"
	"testing"
)

func TestDefaultLine(t *testing.T) {
	var buf bytes.Buffer
	r := New(Options{Output: &buf})
	r.Logger("main").Info("starting", "epoch", 0, "name", "a b", slog.Group("g", "x", true))
	t.Log(buf.String())
}
