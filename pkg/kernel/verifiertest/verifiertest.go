// Package verifiertest compares what the verifier takes for the programs of a kernel package with a golden file, so that a
// change that brings a program nearer to the kernel's bound of a million instructions is seen before a user's kernel refuses it.
//
// It owns the golden file's form. It must not know any program. It has no state.
package verifiertest

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Golden is the file, below the directory of the package under test.
const Golden = "testdata/verifier.golden"

// Cost is how many instructions the verifier looked at for a program on kernels of a series.
type Cost struct {
	// Series is the first two numbers of the kernel's version, such as "6.12".
	Series  string
	Program string
	// Instructions is what bpf_prog_info.verified_insns says (Linux 5.16).
	Instructions uint32
}

// mark begins the lines from which tools/kmatrix learns what a program takes on another kernel.
const mark = "verifier: "

// Compare fails the test when a program takes half as many instructions again as the golden file has for this series of
// kernels, or for the nearest when it has none for this one, and when it has none for the program. Fewer are always let pass.
// With update it writes what it found instead.
func Compare(t *testing.T, update bool, programs ...*ebpf.Program) {
	t.Helper()
	series := series(t)
	var found []Cost
	for _, p := range programs {
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, known := info.VerifiedInstructions()
		if !known {
			t.Skip("this kernel does not tell (before 5.16)")
		}
		found = append(found, Cost{series, info.Name, n})
		t.Logf("%s%s %s %d", mark, series, info.Name, n)
	}
	if update {
		if err := Merge(Golden, found); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := Read(Golden)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range found {
		want, known := nearest(golden, c)
		switch {
		case !known:
			t.Errorf("%s: not in %s; write it with -update", c.Program, Golden)
		case c.Instructions > want.Instructions+want.Instructions/2:
			t.Errorf("%s: the verifier looked at %d instructions; %d in the golden file for Linux %s",
				c.Program, c.Instructions, want.Instructions, want.Series)
		}
	}
}

// nearest finds the program's cost on the same series, or else the greatest of all.
func nearest(golden []Cost, of Cost) (best Cost, known bool) {
	for _, g := range golden {
		switch {
		case g.Program != of.Program:
		case g.Series == of.Series:
			return g, true
		case g.Instructions >= best.Instructions:
			best, known = g, true
		}
	}
	return best, known
}

// Read parses a golden file: lines of series, program and instructions. A file that is not there is empty.
func Read(path string) ([]Cost, error) {
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var costs []Cost
	for line := range strings.Lines(string(data)) {
		var c Cost
		if _, err := fmt.Sscan(line, &c.Series, &c.Program, &c.Instructions); err != nil {
			return nil, fmt.Errorf("read %s: line %q: %w", path, line, err)
		}
		costs = append(costs, c)
	}
	return costs, nil
}

// Parse finds a cost in a line of a test's output.
func Parse(line string) (c Cost, ok bool) {
	_, text, ok := strings.Cut(line, mark)
	if !ok {
		return c, false
	}
	_, err := fmt.Sscan(text, &c.Series, &c.Program, &c.Instructions)
	return c, err == nil
}

// Merge replaces what the file has of the series in found, and keeps the others.
func Merge(path string, found []Cost) error {
	golden, err := Read(path)
	if err != nil {
		return err
	}
	all := slices.DeleteFunc(golden, func(g Cost) bool {
		return slices.ContainsFunc(found, func(f Cost) bool { return f.Series == g.Series })
	})
	all = append(all, found...)
	slices.SortFunc(all, func(a, b Cost) int {
		return cmp.Or(cmp.Compare(a.Program, b.Program), order(a.Series, b.Series))
	})
	var text bytes.Buffer
	for _, c := range all {
		fmt.Fprintf(&text, "%s %s %d\n", c.Series, c.Program, c.Instructions)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}

// order compares series by number: 6.1 comes before 6.12, and that before 6.2 would not.
func order(a, b string) int {
	return slices.Compare(numbers(a), numbers(b))
}

func numbers(series string) []int {
	var major, minor int
	if _, err := fmt.Sscanf(series, "%d.%d", &major, &minor); err != nil {
		return nil
	}
	return []int{major, minor}
}

// series is that of the running kernel.
func series(t *testing.T) string {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatalf("ask for the kernel's version: %v", err)
	}
	release := unix.ByteSliceToString(name.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		t.Fatalf("parse the kernel's version %q: %v", release, err)
	}
	return fmt.Sprintf("%d.%d", major, minor)
}
