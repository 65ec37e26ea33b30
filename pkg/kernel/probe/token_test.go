package probe

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestDelegationsIn(t *testing.T) {
	got := delegationsIn(strings.Join([]string{
		"22 1 0:21 / /sys rw,nosuid - sysfs sysfs rw",
		"30 22 0:27 / /sys/fs/bpf rw,nosuid shared:9 - bpf bpf rw,mode=700",
		"31 22 0:28 / /run/delegated rw,nosuid - bpf none rw,delegate_cmds=prog_load:map_create,delegate_maps=any",
		"32 22 0:29 / /tmp rw - tmpfs delegate rw,delegate_cmds=any",
		"short - bpf",
		"",
	}, "\n"))
	if diff := cmp.Diff([]string{"/run/delegated delegate_cmds=prog_load:map_create delegate_maps=any"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestDelegations mounts a BPF file system that delegates, where the kernel knows that.
func TestDelegations(t *testing.T) {
	if err := atLeast(6, 9); err != nil {
		t.Skipf("options that it does not know are ignored by this kernel: %v", err)
	}
	dir := t.TempDir()
	err := unix.Mount("bpf", dir, "bpf", 0, "delegate_cmds=prog_load")
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EPERM) {
		t.Skipf("this kernel has no BPF tokens, or this process may not delegate: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range delegations() {
		if strings.HasPrefix(d, real+" delegate_cmds=") {
			return
		}
	}
	t.Errorf("%q does not have %s", delegations(), real)
}
