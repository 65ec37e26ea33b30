package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// wantContains fails unless the text has each of the parts.
func wantContains(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %q:\n%s", what, part, text)
		}
	}
}

// wantOK fails unless a program succeeded with this output, white space around it aside.
func wantOK(t *testing.T, r harness.Result, out string) {
	t.Helper()
	if r.Status != 0 || strings.TrimSpace(r.Out) != out {
		t.Errorf("status %d, output %q, want 0 and %q\n%s", r.Status, r.Out, out, r.Err)
	}
}
