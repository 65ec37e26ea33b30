package version

import (
	"regexp"
	"strings"
	"testing"
)

// TestLine reads the output of --version as kuma-dp does before it starts a proxy, and as scripts do.
func TestLine(t *testing.T) {
	m := regexp.MustCompile(`version:(.*)`).FindStringSubmatch(Line("weir"))
	if m == nil {
		t.Fatalf("no version in %q", Line("weir"))
	}
	parts := strings.Split(strings.TrimSpace(m[1]), "/")
	if len(parts) != 5 || parts[1] != Envoy || parts[2] != "Clean" || parts[3] != "RELEASE" {
		t.Errorf("parts %q", parts)
	}
	for _, p := range parts {
		if p == "" {
			t.Errorf("an empty part in %q", parts)
		}
	}
}
