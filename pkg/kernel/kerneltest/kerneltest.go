// Package kerneltest is what tests of the kernel side need of the machine and of embedded objects: cgroups and BPF file systems of
// their own, and the comparison of Go's structs with the programs'.
//
// It must not know the packages that it serves, but for cgroup. It holds no state; what a test makes goes with the test.
package kerneltest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
)

// Hierarchy is the machine's cgroup v2.
func Hierarchy(t testing.TB) *cgroup.Hierarchy {
	t.Helper()
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// CgroupName is the name of a cgroup for this test, which no test of another process has.
func CgroupName(t testing.TB) string {
	return fmt.Sprintf("weir-test-%d-%s", os.Getpid(), strings.NewReplacer("/", "-", "#", "-").Replace(t.Name()))
}

// Cgroup makes a cgroup and gives its directory. It is removed with the test, and must be empty by then.
func Cgroup(t testing.TB, h *cgroup.Hierarchy, name string) (dir string) {
	t.Helper()
	dir, _, err := h.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// OwnCgroup is the directory of the cgroup that the test itself is in.
func OwnCgroup(t testing.TB) string {
	t.Helper()
	dir, err := Hierarchy(t).Of(0)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// BPFFS is a place where the code under test may mount a BPF file system, unmounted with the test.
func BPFFS(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bpf")
	t.Cleanup(func() {
		err := unix.Unmount(dir, 0)
		if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, os.ErrNotExist) { // nobody mounted one
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}
