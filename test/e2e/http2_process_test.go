package e2e

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// resident is the memory of a process in bytes, and at its highest.
func resident(t *testing.T, pid int) (now, peak int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for name, into := range map[string]*int{"VmRSS": &now, "VmHWM": &peak} {
		line := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(text)
		if line == nil {
			t.Fatalf("no %s in\n%s", name, text)
		}
		n, err := strconv.Atoi(string(line[1]))
		if err != nil {
			t.Fatal(err)
		}
		*into = n << 10
	}
	return now, peak
}

// bounded fails when weir holds, or held, more bytes than that.
func bounded(t *testing.T, weir *harness.Weir, most int) {
	t.Helper()
	now, peak := resident(t, weir.Pid())
	t.Logf("weir holds %d MB, and held %d MB", now>>20, peak>>20)
	if peak > most && !harness.Raced() {
		t.Errorf("it may hold %d MB", most>>20)
	}
}

// statOr0 is a statistic that need not be there yet.
func statOr0(w *harness.Weir, name string) int {
	for line := range strings.Lines(w.Page("/stats?filter=" + url.QueryEscape("^"+regexp.QuoteMeta(name)+"$"))) {
		if value, found := strings.CutPrefix(line, name+": "); found {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err == nil {
				return n
			}
		}
	}
	return 0
}
