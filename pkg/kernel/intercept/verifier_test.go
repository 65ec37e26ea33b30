package intercept

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

var update = flag.Bool("update", false, "write the golden files")

// TestVerifierCost loads every program of the object and compares how many instructions the verifier looked at with the golden
// file, which Linux 6.18 wrote. Other kernels prune differently: half as many again are let pass, and fewer always are.
func TestVerifierCost(t *testing.T) {
	const golden = "testdata/verifier.golden"
	i, _, _ := newDecider(t)
	o := i.objects
	var text strings.Builder
	costs := make(map[string]uint32)
	for _, p := range []*ebpf.Program{o.Connect4, o.Connect6, o.Explain, o.Getpeername4, o.Getpeername6, o.Release, o.Sockops} {
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, known := info.VerifiedInstructions()
		if !known {
			t.Skip("this kernel does not tell (before 5.16)")
		}
		costs[info.Name] = n
		fmt.Fprintf(&text, "%s %d\n", info.Name, n)
	}
	t.Logf("\n%s", &text)
	if *update {
		if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(want)) {
		var name string
		var n uint32
		if _, err := fmt.Sscan(line, &name, &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if got := costs[name]; got > n+n/2 {
			t.Errorf("%s: the verifier looked at %d instructions, %d in the golden file", name, got, n)
		}
		delete(costs, name)
	}
	if len(costs) > 0 {
		t.Errorf("not in the golden file: %v", costs)
	}
}
