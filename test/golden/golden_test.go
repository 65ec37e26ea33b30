package golden

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// noted takes failures down in place of the test's own.
type noted struct {
	testing.TB
	failure string
}

func (n *noted) Helper() {}

func (n *noted) Errorf(format string, args ...any) { n.failure = fmt.Sprintf(format, args...) }

func TestCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "text.golden")
	*update = true
	Check(t, file, "one\ntwo\n")
	*update = false
	Check(t, file, []byte("one\ntwo\n"))
	n := &noted{TB: t}
	Check(n, file, "one\nthree\n")
	if !strings.HasPrefix(n.failure, file) || !strings.Contains(n.failure, "three") {
		t.Errorf("another text fails with %q", n.failure)
	}
}
