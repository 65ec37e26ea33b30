package intercept

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/pkg/kernel/program"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

func TestUnavailable(t *testing.T) {
	cmd := spawn(t, "", "unprivileged", func(attr *syscall.SysProcAttr) {
		attr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	})
	cmd.Path = "/proc/self/exe"
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"interception is not available: needs CAP_BPF or CAP_SYS_ADMIN", "CAP_NET_ADMIN"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("error %q does not say %q", out, want)
		}
	}
}

// TestThreeCapabilitiesAreEnough loads and attaches as an ordinary user with what the documentation asks for.
func TestThreeCapabilitiesAreEnough(t *testing.T) {
	h := kerneltest.Hierarchy(t)
	name := fmt.Sprintf("weir-test-%d-caps", os.Getpid())
	kerneltest.Cgroup(t, h, name)
	cmd := spawn(t, "", "capabilities", func(attr *syscall.SysProcAttr) {
		attr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
		attr.AmbientCaps = []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON}
	})
	cmd.Path = "/proc/self/exe"
	cmd.Env = append(cmd.Env, "WEIR_TEST_CGROUP="+name)
	if out, err := cmd.Output(); err != nil || string(out) != "attached to 1 cgroup\n" {
		t.Errorf("%v, %s", err, out)
	}
}

// runWithCapabilities attaches to the cgroup and says so.
func runWithCapabilities(name string) error {
	i, err := New(Options{})
	if err != nil {
		return err
	}
	defer i.Close()
	err = i.Apply(&steer.Plan{Cgroups: []string{name}, Rules: []steer.Rule{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}})
	if err != nil {
		return err
	}
	fmt.Printf("attached to %d cgroup\n", len(i.cgroups.Dirs()))
	return nil
}

func TestVerifierLogIsInTheError(t *testing.T) {
	spec, err := loadSpec()
	if err != nil {
		t.Fatal(err)
	}
	connect := spec.Programs["weir_connect4"]
	connect.Instructions = connect.Instructions[:len(connect.Instructions)-1]
	_, err = ebpf.NewCollection(spec)
	var refused *ebpf.VerifierError
	if !errors.As(err, &refused) || len(refused.Log) < 2 {
		t.Fatalf("loading a program without an end: %v, want a verifier's log", err)
	}
	for _, line := range refused.Log {
		if text := program.Refusal(err).Error(); !strings.Contains(text, line) {
			t.Fatalf("line %q of the log is not in the error:\n%s", line, text)
		}
	}
}
